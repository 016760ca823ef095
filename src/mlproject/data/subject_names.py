"""Who is who in folders of images: a person is told by the folder or by the file's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

_SHOWN = 3


@dataclass(frozen=True)
class Named:
    """An image of a class folder and the person it shows.

    Attributes:
        image: its path below the folder that was imported, for a person to read.
        subject: id of the person; one id is one person, in either class.
        told_by: "folder", "name" (what stands before the first `_`) or "" (nothing: a person of its own).
        label: 0 or 1.
    """

    image: str
    subject: str
    told_by: str
    label: int


def name_subject(relative: PurePath, inside: Sequence[str], label: int) -> Named:
    """The person of `<class>/<person>/<image>` or of `<class>/<person>_<anything>`.

    Args:
        relative: the image's path below the folder that was imported.
        inside: its folders from the class downwards, one or two.
        label: of the class folder.
    """
    if len(inside) == 2:
        return Named(str(relative), inside[1], "folder", label)
    head, separator, _ = relative.stem.partition("_")
    if separator and head:
        return Named(str(relative), head, "name", label)
    return Named(str(relative), f"{inside[0].lower()}/{relative.stem}", "", label)


def subjects_told(named: Sequence[Named]) -> str:
    """How many persons were found and by what, with an example of each, for who knows the truth to compare."""
    subjects = len({one.subject for one in named})
    lines = [f"subjects: {subjects} in {len(named)} files; each subject's images share a split"]
    by_folder, by_name, alone = ([one for one in named if one.told_by == how] for how in ("folder", "name", ""))
    if by_folder:
        lines.append(f"  told by folder in {len(by_folder)}: {_example(by_folder)}")
    if by_name:
        lines.append(f"  told by what stands before the first _ in {len(by_name)}: {_example(by_name)}")
    if alone:
        lines.append(
            f"  WARNING: {len(alone)} names have no _ and stand in no folder of a person, so each counts as a person "
            f"of its own ({_listed([one.image for one in alone])}). If a person has several of them, rename them "
            "<person>_<anything>, or put each person's into a folder: else one person is trained on and tested on"
        )
    if shared := _of_both_classes(named):
        lines.append(
            f"  WARNING: subjects with images in both classes: {len(shared)} ({_listed(shared)}). They count as "
            "anomalous; if these are different people, give them different ids"
        )
    return "\n".join(lines)


def _of_both_classes(named: Sequence[Named]) -> list[str]:
    classes: dict[str, set[int]] = {}
    for one in named:
        classes.setdefault(one.subject, set()).add(one.label)
    return sorted(subject for subject, labels in classes.items() if len(labels) == 2)


def _example(named: Sequence[Named]) -> str:
    return f"{named[0].image} shows {named[0].subject}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
