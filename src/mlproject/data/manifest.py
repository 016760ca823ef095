"""A data set: a folder with manifest.csv, dataset.json and images, checked on entry and named by a digest."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.data import kinds
from mlproject.data.checks import (
    BOX,
    CLASS_NAMES,
    COLUMNS,
    SPLITS,
    Problems,
    check_boxes,
    check_duplicates,
    check_paths,
    check_splits,
    manifest_text,
    read_manifest,
)
from mlproject.data.duplicates import ImageFacts, inspect_images
from mlproject.errors import IntegrityError, UserError, one_line
from mlproject.files import atomic_folder, atomic_write_json, atomic_write_text

SCHEMA_VERSION = 1
_NEEDED = ("schema_version", "name", "data_kind", "digest", "label_rule", "split", "preprocessing", "counts")


@dataclass(frozen=True)
class DataSet:
    """A checked data set folder.

    Attributes:
        root: folder with manifest.csv, dataset.json and the images.
        table: the manifest's rows, index 0..n-1: image_path, label, subject_id, split, sha256 and, where known,
            site, structure, h_min, w_min, h_max, w_max (Int64 pixels, maximum exclusive) and the columns of a
            synthetic set.
        info: dataset.json.
    """

    root: Path
    table: pd.DataFrame
    info: dict[str, Any]

    @property
    def digest(self) -> str:
        """64 hexadecimal digits over content, labels, subjects, splits and boxes."""
        return self.info["digest"]

    @property
    def name(self) -> str:
        return self.info["name"]

    @property
    def data_kind(self) -> str:
        """phantom_not_clinical, clinical_frames, user_images or synthetic."""
        return self.info["data_kind"]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How crops are cut: crop, window_px, size, clahe_clip, clahe_tiles; `applied` when the images are crops."""
        return self.info["preprocessing"]

    @property
    def label_rule(self) -> dict[str, Any]:
        """Where the labels come from: rule, threshold, pool, text."""
        return self.info["label_rule"]

    def subjects(self, split: str) -> list[str]:
        """Subjects of one split, sorted."""
        return sorted(set(self.table.loc[self.table["split"] == split, "subject_id"]))

    def rows(self, split: str) -> pd.DataFrame:
        """The table's rows of one split."""
        return self.table[self.table["split"] == split]


def dataset_digest(table: pd.DataFrame) -> str:
    """SHA-256 over the sorted rows (content hash, label, subject, split, box); paths and row order do not count."""
    boxes = table[list(BOX)] if BOX[0] in table else pd.DataFrame(pd.NA, index=table.index, columns=list(BOX))
    sides = boxes.itertuples(index=False)
    rows = [
        [content, int(label), str(subject), split, *(None if pd.isna(side) else int(side) for side in box)]
        for content, label, subject, split, box in zip(
            table["sha256"], table["label"], table["subject_id"], table["split"], sides, strict=True
        )
    ]
    lines = sorted(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def load_dataset(root: str | Path) -> DataSet:
    """Read a data set folder, check its manifest and verify every image against the digest.

    Images were decoded and compared when the folder was written; here their content hashes stand for that.

    Raises:
        IntegrityError: an image, the manifest or dataset.json changed since the folder was written.
        UserError: no data set, or a manifest that breaks the contract; all problems are listed with their lines.
    """
    root = Path(root)
    info = _read_info(root)
    manifest = root / "manifest.csv"
    table = read_manifest(manifest)
    problems = Problems(str(manifest))
    if "sha256" not in table:
        problems.add("column sha256 is missing; prepare_data with source=manifest writes it")
    check_splits(table, problems, synthetic=info["data_kind"] == kinds.SYNTHETIC)
    check_paths(table, root, problems)
    problems.raise_any()
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_content_hash, [root / path for path in table["image_path"]]))
    changed = [
        path for path, known, now in zip(table["image_path"], table["sha256"], found, strict=True) if known != now
    ]
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise IntegrityError(f"{root}: changed since the data set was written: {shown}; prepare the data set again")
    digest = dataset_digest(table)
    if digest != info["digest"]:
        raise IntegrityError(
            f"{root}: manifest.csv has digest {digest[:12]}, dataset.json says {str(info['digest'])[:12]}; one of them "
            "was changed by hand: prepare the data set again"
        )
    return DataSet(root, table, info)


def _read_info(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{root} is no data set: dataset.json is missing; make one with prepare_data "
            "(source=manifest takes a manifest.csv)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {one_line(error)}") from None
    lacking = [key for key in _NEEDED if not isinstance(info, dict) or key not in info]
    if lacking:
        raise UserError(f"{path}: {', '.join(lacking)} missing; prepare the data set again")
    if info["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version {info['schema_version']!r}, this project reads {SCHEMA_VERSION}; prepare the data "
            "set again"
        )
    if info["data_kind"] not in kinds.DATA_KINDS:
        raise UserError(f"{path}: data_kind {info['data_kind']!r} is none of {', '.join(kinds.DATA_KINDS)}")
    return info


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def write_dataset(
    root: str | Path,
    table: pd.DataFrame | Callable[[Path], pd.DataFrame],
    info: Mapping[str, Any],
    *,
    copy_images: Mapping[str, Path] | None = None,
    workers: int = 1,
) -> DataSet:
    """Write a data set folder, whole or not at all, and read it back.

    Args:
        root: the folder; an existing one is replaced when all is well.
        table: the manifest, or a function that gets the unfinished folder, writes the images (and what else belongs
            beside the manifest) there and returns the manifest. Columns outside the contract are left out; `sha256`
            is filled in here.
        info: name, data_kind, label_rule, split, preprocessing and what else dataset.json should say; schema_version,
            digest, counts and class_names are filled in here.
        copy_images: image_path -> file to copy there, byte for byte.
        workers: threads that read and compare the images.

    Raises:
        UserError: any breach of the contract (see `checks`), all listed with the manifest's lines; nothing is left.
    """
    root = Path(root)
    assert info["data_kind"] in kinds.DATA_KINDS
    synthetic = info["data_kind"] == kinds.SYNTHETIC
    with atomic_folder(root) as folder:
        rows = table(folder) if callable(table) else table
        for image_path, source in (copy_images or {}).items():
            _copy(source, folder / image_path)
        rows = rows[[name for name in COLUMNS if name in rows.columns and name != "sha256"]].reset_index(drop=True)
        manifest = folder / "manifest.csv"
        atomic_write_text(manifest, manifest_text(rows))
        problems = Problems(f"{root.name}/manifest.csv")
        try:
            rows = read_manifest(manifest)
        except UserError as error:
            # the user knows the finished folder, not the temporary one
            raise UserError(str(error).replace(str(folder), str(root))) from None
        check_splits(rows, problems, synthetic=synthetic)
        check_paths(rows, folder, problems)
        problems.raise_any()
        facts = check_images(rows, folder, problems, workers)
        rows["sha256"] = [fact.sha256 for fact in facts]
        rows = rows[[name for name in COLUMNS if name in rows.columns]]
        atomic_write_text(manifest, manifest_text(rows))
        complete = {
            "schema_version": SCHEMA_VERSION,
            **info,
            "class_names": list(CLASS_NAMES),
            "digest": dataset_digest(rows),
            "counts": _counts(rows),
        }
        atomic_write_json(folder / "dataset.json", complete)
    return load_dataset(root)


def check_images(table: pd.DataFrame, root: Path, problems: Problems, workers: int) -> list[ImageFacts]:
    """Decode every image, then check boxes and duplicates across splits; raises what was found."""
    inspected = inspect_images([root / path for path in table["image_path"]], table["image_path"].tolist(), workers)
    facts = []
    for row, found in enumerate(inspected):
        if isinstance(found, UserError):
            problems.add(str(found), row)
        else:
            facts.append(found)
    problems.raise_any()
    check_boxes(table, facts, problems)
    check_duplicates(table, facts, problems)
    problems.raise_any()
    return facts


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{source}: cannot be copied ({error.strerror or error})") from None


def _counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = {}
    for split in SPLITS:
        rows = table[table["split"] == split]
        counts[split] = {
            "images": len(rows),
            "subjects": int(rows["subject_id"].nunique()),
            **{name: int((rows["label"] == label).sum()) for label, name in enumerate(CLASS_NAMES)},
        }
    return counts
