"""Who is who in folders of images, and what is said of it."""

from pathlib import PurePath

import pytest

from mlproject.data.subject_names import name_subject, subjects_told


def named(path: str, label: int = 0):
    relative = PurePath(path)
    return name_subject(relative, relative.parts[:-1], label)


@pytest.mark.parametrize(
    ("path", "subject", "told_by"),
    [
        ("normal/P7/frame_1.png", "P7", "folder"),
        ("normal/PAT0412_2021-03-04_2.png", "PAT0412", "name"),
        ("Normal/2021-0412.png", "normal/2021-0412", ""),
        ("0/_1.png", "0/_1", ""),
    ],
)
def test_a_person_is_told_by_folder_or_name(path, subject, told_by) -> None:
    found = named(path)
    assert (found.image, found.subject, found.told_by) == (path, subject, told_by)


def test_what_is_said_of_names_that_tell_people_apart() -> None:
    told = subjects_told([named("normal/P1_0.png"), named("normal/P1_1.png"), named("anomalous/Q2/a.png", 1)])
    assert told.splitlines() == [
        "subjects: 2 in 3 files; each subject's images share a split",
        "  told by folder in 1: anomalous/Q2/a.png shows Q2",
        "  told by what stands before the first _ in 2: normal/P1_0.png shows P1",
    ]


def test_names_that_tell_nothing_and_ids_of_both_classes_are_warned_of() -> None:
    hyphens = [named(f"normal/2021-{number}.png") for number in range(5)]
    told = subjects_told(hyphens)
    assert told.startswith("subjects: 5 in 5 files")
    assert "WARNING: 5 names have no _" in told
    assert "(normal/2021-0.png, normal/2021-1.png, normal/2021-2.png ...)" in told
    told = subjects_told([named("normal/001_1.png"), named("anomalous/001_1.png", 1), named("anomalous/002_1.png", 1)])
    assert "WARNING: subjects with images in both classes: 1 (001). They count as anomalous" in told
    assert "no _" not in told
