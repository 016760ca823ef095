"""A folder per class, or any manifest.csv of the contract, as a data set."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from mlproject.config import DataConfig
from mlproject.data import kinds
from mlproject.data.checks import SPLITS, Problems, check_paths, files_below, read_manifest
from mlproject.data.dicom import burned_in_text_warning, is_dicom, read_dicom
from mlproject.data.duplicates import merge_groups, near_duplicates
from mlproject.data.images import SUFFIXES, encode_png
from mlproject.data.importing import (
    inspect_all,
    preprocessing_of,
    source_folder,
    split_info,
    split_subjects,
    write_imported,
)
from mlproject.data.manifest import DataSet
from mlproject.data.subject_names import Named, name_subject, subjects_told
from mlproject.errors import UserError
from mlproject.files import atomic_write_bytes
from mlproject.plain_text import is_fit

_CLASSES = {"normal": 0, "0": 0, "anomalous": 1, "1": 1}
_OWN_LABELS = {"rule": "given", "threshold": None, "pool": "none", "text": "labels as given with the images"}


def import_classes(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import a folder per class: `normal` (or `0`) and `anomalous` (or `1`), in any casing.

    The subject of `class/subject/image.png` is the folder; of `class/P12_3.png` what stands before the first `_`,
    P12, in either class; a name without `_` is a subject of its own. Under `train`, `val` and `test` folders with
    the classes inside, `split=official` keeps these; without them it means fractions.

    The frames of a DICOM file are written as PNGs beside one another and belong to one subject. Of dataset.json,
    `source.subjects` says how subjects were told, `source.dicom` what the files told of burned-in text.

    Raises:
        UserError: folders that are no classes, no images, a link that leads out of the folder, a name that is no plain
            text, a DICOM file that `read_dicom` refuses, and all that `write_dataset` refuses.
    """
    with tempfile.TemporaryDirectory() as temporary:
        return _import_classes(config, out, workers, Path(temporary))


def _import_classes(config: DataConfig, out: Path, workers: int, temporary: Path) -> DataSet:
    root = source_folder(config.path)
    burned_in: list[str] = []
    rows, problems, named = [], Problems(str(root)), list[Named]()
    lost: dict[str, list[str]] = {}
    official = all((root / name).is_dir() for name in SPLITS)
    for path in files_below(root, lambda found: found.suffix.lower() in SUFFIXES or is_dicom(found), problems):
        relative = path.relative_to(root)
        dicom = path.suffix.lower() not in SUFFIXES
        if not is_fit(str(relative)):
            problems.add(f"{relative}: a name with control characters, or that is no UTF-8; rename it")
            continue
        folders = list(relative.parts[:-1])
        split = folders.pop(0) if official and folders[:1] and folders[0] in SPLITS else ""
        label = _CLASSES.get(folders[0].lower()) if folders else None
        if label is None or len(folders) > 2 or (official and not split):
            lost.setdefault("/".join(folders[:1]), []).append(str(relative))
            continue
        found = name_subject(relative, folders, label)
        named.append(found)
        sources = {relative.as_posix(): path}
        if dicom:
            try:
                sources = _frames_as_png(path, relative, temporary, burned_in)
            except UserError as error:
                problems.add(str(error))
                continue
        rows += [
            {
                "image_path": f"images/{name}",
                "label": label,
                "subject_id": found.subject,
                "split": split,
                "source": str(source),
            }
            for name, source in sources.items()
        ]
    for folder, images in lost.items():
        problems.add(_lost(folder, images))
    if not rows and not problems.found:
        problems.add("no images in normal/ and anomalous/ (or 0/ and 1/)")
    problems.raise_any()
    told = {"subjects": subjects_told(named)}
    if burned_in:
        told["dicom"] = burned_in_text_warning(burned_in)
    return _import_images(pd.DataFrame(rows), config, out, workers, root, keep_split=official, told=told)


def _lost(folder: str, images: list[str]) -> str:
    """What is wrong with the images of a folder that is no class, or too deep in one; "" is the root itself."""
    which = images[0] + (f" and {len(images) - 1} more are" if len(images) > 1 else " is")
    if folder.lower() in _CLASSES:
        return f"{which} not at {folder}/<picture> or {folder}/<person>/<picture>, below train, val and test if there"
    rename = f": rename {folder}/" if folder else ""
    return f"{which} in no class folder; expected normal/ and anomalous/ (or 0/ and 1/){rename}"


def _frames_as_png(path: Path, relative: Path, folder: Path, burned_in: list[str]) -> dict[str, Path]:
    """The frames of a DICOM file as {name in the data set: PNG below `folder`}; notes its `burned_in`.

    The file itself is never copied: its header names the patient.
    """
    found = read_dicom(path, str(relative))
    burned_in.append(found.burned_in)
    several = len(found.images) > 1
    sources = {}
    for number, image in enumerate(found.images, start=1):
        # the whole name stays in front, so that scan.dcm and scan.png do not meet
        name = f"{relative.as_posix()}{f'-frame{number:04d}' if several else ''}.png"
        sources[name] = folder / name
        atomic_write_bytes(sources[name], encode_png(image))
    return sources


def import_manifest(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import a manifest.csv of the contract (or the folder that holds one); it keeps its `split` if it has one.

    Raises:
        UserError: problems with their lines, and all that `write_dataset` refuses.
    """
    path = Path(config.path)
    if not config.path or not path.exists():
        raise UserError(f"data.path {config.path!r} does not exist; expected a manifest.csv or its folder")
    path = path / "manifest.csv" if path.is_dir() else path
    table = read_manifest(path, need_split=False)
    problems = Problems(str(path))
    check_paths(table, path.parent, problems)
    problems.raise_any()
    table["source"] = [str(path.parent / name) for name in table["image_path"]]
    table["image_path"] = [f"images/{name}" for name in table["image_path"]]
    keep = "split" in table
    return _import_images(table, config, out, workers, path, keep_split=keep)


def _import_images(
    table: pd.DataFrame,
    config: DataConfig,
    out: Path,
    workers: int,
    where: Path,
    *,
    keep_split: bool,
    told: Mapping[str, str] = MappingProxyType({}),
) -> DataSet:
    """Split, unless the images bring their split, and write; near-duplicates are merged before splitting.

    Args:
        told: what else `source` of dataset.json should say.
    """
    merged: list[dict[str, Any]] = []
    if not keep_split:
        facts = inspect_all([Path(path) for path in table["source"]], table["image_path"].tolist(), where, workers)
        pairs = near_duplicates(facts, table["subject_id"].tolist())
        merged = [
            {"images": [table["image_path"][one], table["image_path"][other]], "correlation": round(value, 4)}
            for one, other, value in pairs
        ]
        table["subject_id"] = merge_groups(table["subject_id"].tolist(), pairs)
        try:
            table["split"] = split_subjects(table, config)
        except UserError as error:
            hint = f"; a manifest.csv can name subjects itself\n{told['subjects']}" if "subjects" in told else ""
            raise UserError(f"{where}: {error}{hint}") from None
    kind = "fractions" if config.split == "official" else config.split
    info = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", where.parent.name if where.is_file() else where.name) or "images",
        "data_kind": kinds.USER,
        "label_rule": dict(_OWN_LABELS),
        "split": {"kind": "given"} if keep_split else split_info(config, kind),
        "preprocessing": preprocessing_of(config),
        "source": {"near_duplicates_merged": merged, **told},
    }
    return write_imported(out, table, info, workers)
