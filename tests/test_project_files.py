"""The files that say the same thing in two places say the same thing."""

import re
import tomllib

import pytest
import yaml
from reference import MLPROJECT, command_of

from mlproject.config import PROJECT_ROOT

ENTRY_POINTS = sorted(MLPROJECT["entry_points"])


def test_pins_of_conda_and_pyproject_are_the_same() -> None:
    conda = yaml.safe_load((PROJECT_ROOT / "conda.yaml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert pip == project
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pip)


def test_every_script_is_an_entry_point_and_the_other_way_round() -> None:
    scripts = {path.stem for path in (PROJECT_ROOT / "src").glob("*.py")}
    assert scripts == set(ENTRY_POINTS)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_declared_parameters_are_options_and_all_reach_the_command(name) -> None:
    declared = MLPROJECT["entry_points"][name]
    command = command_of(name)
    options = {spelling for parameter in command.params for spelling in parameter.opts}
    used = re.findall(r"--(\w+) \{(\w+)\}", declared["command"])
    assert {key for key, _ in used} == set(declared["parameters"])
    assert all(key == value for key, value in used)
    assert {f"--{key}" for key in declared["parameters"]} <= options
    assert declared["command"].startswith(f"python src/{name}.py ")


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_declared_defaults_leave_the_configuration_its_say(name) -> None:
    """A default other than "" would override the file that --config names; the file's own default must exist."""
    for key, parameter in MLPROJECT["entry_points"][name]["parameters"].items():
        if key == "config":
            assert (PROJECT_ROOT / parameter["default"]).is_file()
        else:
            assert parameter["default"] == ""


def test_no_folder_is_called_like_the_mlproject_file() -> None:
    """MLflow looks MLproject up without regard to case and does not check that it is a file."""
    same = [path.name for path in PROJECT_ROOT.iterdir() if path.name.lower() == "mlproject"]
    assert same == ["MLproject"]


def test_makefile_helps_by_default_and_lists_its_targets() -> None:
    text = (PROJECT_ROOT / "Makefile").read_text()
    assert ".DEFAULT_GOAL := help" in text
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.M))
    documented = set(re.findall(r"^([a-z-]+):.*## ", text, flags=re.M))
    assert targets == documented


def test_hooks_before_a_commit_need_no_network() -> None:
    """Only local hooks, whose programs are those of .venv."""
    hooks = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_extras_are_pinned_and_name_each_other_rightly() -> None:
    extras = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for pin in (pin for pins in extras.values() for pin in pins):
        pin = pin.partition(";")[0]  # a marker may follow: wheels for some platforms only
        own = re.fullmatch(r"mlproject\[(\w+)\]", pin)
        assert own.group(1) in extras if own else re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", pin), pin
