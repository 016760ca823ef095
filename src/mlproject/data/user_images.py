"""A folder per class, or any manifest.csv of the contract, as a data set."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.config import DataConfig
from mlproject.data.checks import SPLITS, Problems, check_paths, read_manifest
from mlproject.data.duplicates import merge_groups, near_duplicates
from mlproject.data.images import SUFFIXES
from mlproject.data.importing import (
    inspect_all,
    preprocessing_of,
    source_folder,
    split_info,
    split_subjects,
    write_imported,
)
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError

_CLASSES = {"normal": 0, "0": 0, "anomalous": 1, "1": 1}
_OWN_LABELS = {"rule": "given", "threshold": None, "pool": "none", "text": "labels as given with the images"}


def import_classes(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import a folder per class: `normal` (or `0`) and `anomalous` (or `1`), in any casing.

    The subject of `class/subject/image.png` is the folder; of `class/P12_3.png` what stands before the first `_`,
    P12, in either class; a name without `_` is a subject of its own. Under `train`, `val` and `test` folders with
    the classes inside, `split=official` keeps these; without them it means fractions.

    Raises:
        UserError: folders that are no classes, no images, and all that `write_dataset` refuses.
    """
    root = source_folder(config.path)
    rows, problems = [], Problems(str(root))
    official = all((root / name).is_dir() for name in SPLITS)
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        folders = list(relative.parts[:-1])
        split = folders.pop(0) if official and folders[:1] and folders[0] in SPLITS else ""
        label = _CLASSES.get(folders[0].lower()) if folders else None
        if label is None or len(folders) > 2 or (official and not split):
            problems.add(f"{relative} is in no class folder; expected normal/ and anomalous/ (or 0/ and 1/)")
            continue
        if len(folders) == 2:
            subject = folders[1]
        else:
            head, separator, _ = path.stem.partition("_")
            subject = head if separator and head else f"{folders[0].lower()}/{path.stem}"
        rows.append(
            {
                "image_path": f"images/{relative.as_posix()}",
                "label": label,
                "subject_id": subject,
                "split": split,
                "source": str(path),
            }
        )
    if not rows:
        problems.add("no images in normal/ and anomalous/ (or 0/ and 1/)")
    problems.raise_any()
    return _import_images(pd.DataFrame(rows), config, out, workers, root, keep_split=official)


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
    table: pd.DataFrame, config: DataConfig, out: Path, workers: int, where: Path, *, keep_split: bool
) -> DataSet:
    """Split, unless the images bring their split, and write; near-duplicates are merged before splitting."""
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
            hint = "subjects come from folders or names before the first _; a manifest.csv names them itself"
            raise UserError(f"{where}: {error}" + (f" ({hint})" if config.source == "classes" else "")) from None
    kind = "fractions" if config.split == "official" else config.split
    info = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", where.parent.name if where.is_file() else where.name) or "images",
        "data_kind": "user_images",
        "label_rule": dict(_OWN_LABELS),
        "split": {"kind": "given"} if keep_split else split_info(config, kind),
        "preprocessing": preprocessing_of(config),
        "source": {"near_duplicates_merged": merged},
    }
    return write_imported(out, table, info, workers)
