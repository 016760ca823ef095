"""Every command that README and docs show: its parts exist for all of them, and the way of a new user is walked."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documented import PLACEHOLDER, Documented, commands, pages, problem

from mlproject.config import PROJECT_ROOT

PAGES = {path.relative_to(PROJECT_ROOT).as_posix(): path for path in pages()}


@pytest.mark.parametrize("page", PAGES)
def test_every_documented_command_has_its_parts(page) -> None:
    told = {str(command): problem(command) for command in commands(PAGES[page])}
    assert {command: text for command, text in told.items() if text} == {}


def test_the_pages_show_commands_at_all() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/first-steps.md", "docs/own-data.md", "docs/report.md"):
        assert list(commands(PAGES[page])), page


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("make dmeo", "no target dmeo"),
        ("make release NMAE=x", "no variable NMAE"),
        ("mlflow run . -e train_gna", "no entry point train_gna"),
        ("mlflow run . --env-manger local", "No such option"),
        ("mlflow run . -e train_gan -P lamda_gp=5", "No such option"),
        ("mlflow run . -e train_gan -P config=configs/none.yaml", "configs/none.yaml does not exist"),
        ("mlflow run . -e train_gan -P lambda_gp=five", "not a number"),
        ("mlflow modles serve", "no command modles"),
        ("python src/train_gan.py --step 5", "No such option"),
        ("python src/nothing.py", "does not exist"),
        ("python -m src.nothing", "no entry point nothing"),
        ("python benchmarks/run.py --rwo x", "no option --rwo"),
        ("torchrun --nproc-per-node 2 src/train_gan.py --step 5", "No such option"),
        ("pip install -e '.[dcm]'", "no extra dcm"),
        ("nothing --at all", "nothing is known"),
    ],
)
def test_a_command_that_would_not_work_is_found(line, told) -> None:
    assert told in problem(Documented("page", tuple(shlex.split(line))))


def test_comments_continuations_substitutions_and_pipes_are_read_as_a_shell_reads_them(tmp_path, monkeypatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nmake a \\\n  b  # says\nX=1 printf '%s' \"$(base64 < f | tr -d x)\" | curl <url>\n```\n"
        "```\nmake c\n```\n"
    )
    monkeypatch.setattr("documented.PROJECT_ROOT", tmp_path)
    assert [command.words for command in commands(page)] == [
        ("make", "a", "b"),
        ("printf", "%s", "X"),
        ("curl", PLACEHOLDER),
    ]


@pytest.mark.slow
def test_the_way_from_two_folders_of_pictures_to_the_comparison(tmp_path) -> None:
    """The first block of docs/own-data.md as it stands, on configs/smoke.yaml, then what each says comes next."""
    from workshops import write_classes

    write_classes(tmp_path / "pictures", subjects=12)
    (tmp_path / "src").symlink_to(PROJECT_ROOT / "src")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "OMP_NUM_THREADS": "1",
    }

    def run(words: list[str]) -> str:
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    smoke = ["--config", str(PROJECT_ROOT / "configs" / "smoke.yaml")]
    block = (PROJECT_ROOT / "docs" / "own-data.md").read_text(encoding="utf-8").partition("```bash\n")[2]
    block = block.partition("```")[0]
    assert f"```bash\n{block}```" in (PROJECT_ROOT / "README.md").read_text(encoding="utf-8"), "README shows the same"
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.startswith("python ")]
    assert [shlex.split(line)[1] for line in lines] == ["src/prepare_data.py", "src/main.py", "src/study.py"]
    told = [run([*shlex.split(line.replace("<folder>", "pictures")), *smoke]) for line in lines]
    assert "subjects: 24 in 48 files" in told[0]
    assert (tmp_path / "outputs" / "main" / "summary.json").is_file()
    for mix in ("real", "synthetic", "hybrid"):
        assert f"\n{mix}" in told[1]
    # main says the study that README shows, and the report is where the study says
    assert "--data.source classes --data.path pictures" in told[1]
    (page,) = (tmp_path / "outputs" / "study").glob("*/report.html")
    assert str(page.relative_to(tmp_path)) in told[2]
    assert "draws its own subjects" in page.read_text(encoding="utf-8")
    told.append(run(["python", "src/train_gan.py", "--data", "outputs/mine", *smoke]))
    told.append(run(["python", "src/train_classifier.py", "--data", "outputs/mine", "--mix", "hybrid", *smoke]))
    told.append(run(["python", "src/predict.py", "--images", "pictures", *smoke]))
    told.append(run(["python", "src/compare.py", *smoke]))
    told.append(run(["python", "src/verify_models.py", *smoke]))
    following = [line.strip() for text in told for line in text.partition("\nnext:\n")[2].splitlines()]
    following = [line for line in following if line.startswith("python ")]
    named = {Path(shlex.split(line)[1]).stem for line in following}
    assert {"main", "train_gan", "study", "eval_gan", "train_classifier", "eval_classifier", "predict"} <= named
    for line in following:
        assert "dry run: nothing was done" in run([*shlex.split(line, comments=True), "--dry_run", "true"])
