"""The doors: options from the configuration, one line for a mistake, nothing done on a dry run."""

import subprocess
import sys

import pytest

from mlproject.config import PROJECT_ROOT


def door(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
    script, *rest = arguments
    return subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "src" / f"{script}.py"), *rest], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize("spelling", ["--lambda_gp", "--lambda-gp", "--gan.lambda_gp"])
def test_underscores_hyphens_and_dotted_names(spelling, tmp_path) -> None:
    done = door("train_gan", spelling, "3.5", "--dry_run", "true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lambda_gp: 3.5" in done.stdout
    assert done.stdout.rstrip().endswith("dry run: nothing was done")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_option_means_what_the_configuration_says(tmp_path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("gan: {lambda_gp: 4}")
    done = door("train_gan", "--config", str(config), "--lambda_gp", "", "--data", "", "--dry_run", "true")
    assert "lambda_gp: 4.0" in done.stdout


def test_seed_of_the_chain_reaches_every_stage() -> None:
    done = door("main", "--seed", "11", "--dry_run", "true")
    assert done.stdout.count("seed: 11") == 4  # data, gan, synthesis, classifier; the bootstrap keeps its own


def test_spellings_of_the_seed_project() -> None:
    line = "--num 64 --class anomalous --checkpoint somewhere --out elsewhere --dry_run true"
    done = door("generate_synthetic", *line.split())
    for words in ("per_class: 64", "class_name: anomalous", "generator: somewhere", "out: elsewhere"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train_gan", "--lamda_gp", "3"), ("--lamda_gp", "--lambda_gp")),
        (("train_gan", "--lambda_gp", "three"), ("gan.lambda_gp", "'three'", "number")),
        (("train_classifier", "--mix", "both"), ("classifier.mix", "'both'", "hybrid")),
        (("train_classifier", "--synthetic_fraction", "1.5"), ("1.5", "between 0 and 1")),
        (("train_gan", "--config", "absent.yaml"), ("absent.yaml", "does not exist")),
        (("train_gan", "extra"), ("extra",)),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, tmp_path) -> None:
    done = door(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_option_of_the_section() -> None:
    done = door("train_gan", "--help")
    assert done.returncode == 0
    for option in ("--lambda_gp", "--critic_steps", "--data.n_train", "--reuse", "--config"):
        assert option in done.stdout
