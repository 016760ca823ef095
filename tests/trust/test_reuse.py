"""A repeated command takes the finished run; whatever decides its result makes it work anew."""

import pytest

from mlproject import pipeline

REUSED = "reused from run"


@pytest.fixture(scope="module")
def workshop(new_workshop):
    """Two data sets of the same pictures under different splits, and one finished run of each training stage."""
    workshop = new_workshop("reuse")
    pictures = ("--data.path", str(workshop.folder / "pictures"))
    workshop.succeed("prepare_data", *pictures, "--out", str(workshop.folder / "set"))
    workshop.succeed("prepare_data", *pictures, "--out", str(workshop.folder / "other"), "--seed", "1")
    for stage in STAGES:
        assert REUSED not in workshop.succeed(stage, "--data", str(workshop.folder / "set"), *STAGES[stage])
    return workshop


STAGES = {"train_gan": (), "train_classifier": ("--mix", "real")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_repeat_hits_also_under_settings_that_decide_nothing(workshop, stage):
    again = (stage, "--data", str(workshop.folder / "set"), *STAGES[stage])
    for free in ((), ("--threads", "1"), ("--outputs", str(workshop.folder / "elsewhere"))):
        assert REUSED in workshop.succeed(*again, *free)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("folder", "change"),
    [("set", ("--seed", "1")), ("set", ("--subjects", "6")), ("other", ()), ("set", ("--reuse", "false"))],
    ids=["seed", "subjects", "split", "reuse off"],
)
def test_a_change_of_what_decides_the_result_misses(workshop, stage, folder, change):
    out = workshop.succeed(stage, "--data", str(workshop.folder / folder), *STAGES[stage], *change)
    assert REUSED not in out
    assert "registered nt-" in out


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_version_of_the_stage_misses(workshop, stage, monkeypatch):
    monkeypatch.setitem(pipeline.STAGE_VERSIONS, stage, pipeline.STAGE_VERSIONS[stage] + 1)
    assert REUSED not in workshop.succeed(stage, "--data", str(workshop.folder / "set"), *STAGES[stage])
