"""What a terminal shows of a study is what the analysis says."""

from study_folder import write_study_folder

from mlproject.study.statistics import analyse
from mlproject.study.text import study_text


def test_answer_contrasts_and_arms_are_all_there(tmp_path) -> None:
    analysis = analyse(write_study_folder(tmp_path / "study", seeds=6, sizes=(20, 40)))
    lines = study_text(analysis).splitlines()
    assert lines[0] == analysis.answer
    contrasts = [line for line in lines if " - real_augmented" in line]
    assert len(contrasts) == len(analysis.contrasts)
    assert contrasts[0].startswith("hybrid_0.5_add - real_augmented (primary)")
    primary = analysis.primary.contrast
    assert f"{primary.interval.value:.3f} [{primary.interval.low:.3f}, {primary.interval.high:.3f}]" in contrasts[0]
    assert contrasts[0].endswith(analysis.verdict)
    arms = [line.split()[:3] for line in lines if line.split()[:1] in (["20"], ["40"])]
    # each size in the order of the declaration
    assert arms == [[size, arm, "6"] for size in ("20", "40") for arm in analysis.design["arms"]]


def test_too_few_seeds_are_said_and_not_compared(tmp_path) -> None:
    text = study_text(analyse(write_study_folder(tmp_path / "study", seeds=2, sizes=(20,))))
    assert "too few seeds" in text
    assert "undecided" in text
