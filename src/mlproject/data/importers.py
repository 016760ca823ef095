"""Importers: a clinical download, a folder per class or a manifest.csv become one checked data set."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.config import DataConfig
from mlproject.data import fetus_framework
from mlproject.data.checks import BOX, SPLITS, Problems, check_paths, read_manifest
from mlproject.data.duplicates import ImageFacts, inspect_images, merge_groups, near_duplicates
from mlproject.data.images import SUFFIXES
from mlproject.data.manifest import DataSet, write_dataset
from mlproject.data.splits import split_by_fold, split_by_fractions, subject_labels
from mlproject.errors import UserError

PREPROCESSING = ("crop", "window_px", "size", "clahe_clip", "clahe_tiles")
_CLASSES = {"normal": 0, "0": 0, "anomalous": 1, "1": 1}
_LEAST_OFFICIAL_TEST = 10
_OWN_LABELS = {"rule": "given", "threshold": None, "pool": "none", "text": "labels as given with the images"}


def preprocessing_of(config: DataConfig) -> dict[str, Any]:
    """The keys of the configuration that say how crops are cut, as dataset.json holds them."""
    return {name: getattr(config, name) for name in PREPROCESSING}


def import_fetus(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import the Dataset for Fetus Framework (see `fetus_framework` and data/README.md).

    Frames without an NT box are left out, except by the rule `plane`: Non-standard frames have none at all, so under
    that rule no frame keeps its box and each crop is the centred square, lest the way of cutting tell the label.
    Of exact duplicates the lowest number stays; near-duplicates become one subject.

    Raises:
        UserError: see `find_frames`, `read_boxes`, `fix_rule`, `write_dataset`; official test folders with too little.
    """
    root = _folder(config.path)
    frames, foreign = fetus_framework.find_frames(root)
    plane = config.label_rule == "plane"
    boxes = {} if plane else fetus_framework.read_boxes(root)
    without_box = [] if plane else [frame.number for frame in frames if frame.number not in boxes]
    frames = [frame for frame in frames if plane or frame.number in boxes]
    if not frames:
        raise UserError(f"{root}: none of the images has an NT box in ObjectDetection.xlsx")
    inspected = _inspect([frame.path for frame in frames], [frame.path.name for frame in frames], root, workers)
    frames, facts, removed = _without_exact_copies(frames, inspected)
    heights = {frame.number: fact.height for frame, fact in zip(frames, facts, strict=True)}
    boxes, clipped = _clip(boxes, frames, facts, root)
    rule = fetus_framework.fix_rule(
        config.label_rule, frames, boxes, heights, quantile=config.label_quantile, pixels=config.label_pixels
    )
    pairs = near_duplicates(facts, [str(frame.number) for frame in frames])
    subjects = merge_groups([str(frame.number) for frame in frames], pairs)
    rows = [
        {
            "image_path": f"images/{frame.number}{frame.path.suffix.lower()}",
            "label": rule.label(frame, boxes.get(frame.number), heights[frame.number]),
            "subject_id": subject,
            "site": frame.folder,
            **({} if plane else {"structure": "NT", **dict(zip(BOX, boxes[frame.number], strict=True))}),
        }
        for frame, subject in zip(frames, subjects, strict=True)
    ]
    table = pd.DataFrame(rows)
    table["source"] = [str(frame.path) for frame in frames]
    dropped: list[int] = []
    if config.split == "official":
        table, dropped = _official_split(table, config)
    else:
        table["split"] = _split(table, config)
    info = {
        "name": "fetus-framework",
        "data_kind": "clinical_frames",
        "label_rule": rule.as_info(),
        "split": _split_info(config, config.split),
        "preprocessing": preprocessing_of(config),
        "source": {
            "doi": fetus_framework.DOI,
            "licence": "CC-BY-4.0",
            "exact_duplicates_removed": removed,
            "near_duplicates_merged": [
                {"images": [frames[one].number, frames[other].number], "correlation": round(value, 4)}
                for one, other, value in pairs
            ],
            "test_images_left_out_as_near_duplicates_of_training": dropped,
            "frames_without_box": without_box,
            "boxes_clipped_to_the_image": clipped,
            "files_not_of_the_release": len(foreign),
        },
    }
    return _write(out, table, info, workers)


def _without_exact_copies(
    frames: Sequence[fetus_framework.Frame], facts: Sequence[ImageFacts]
) -> tuple[list[fetus_framework.Frame], list[ImageFacts], list[dict[str, int]]]:
    kept: dict[str, int] = {}
    removed = []
    for position, (frame, fact) in enumerate(zip(frames, facts, strict=True)):
        first = kept.setdefault(fact.sha256, position)
        if first != position:
            removed.append({"kept": frames[first].number, "removed": frame.number})
    return [frames[place] for place in kept.values()], [facts[place] for place in kept.values()], removed


def _clip(
    boxes: dict[int, fetus_framework.Box],
    frames: Sequence[fetus_framework.Frame],
    facts: Sequence[ImageFacts],
    root: Path,
) -> tuple[dict[int, fetus_framework.Box], list[int]]:
    """Boxes cut to their image; one that lies outside altogether is refused."""
    problems = Problems(f"{root}: ObjectDetection.xlsx")
    inside, clipped = {}, []
    for frame, fact in zip(frames, facts, strict=True):
        if frame.number not in boxes:
            continue
        h_min, w_min, h_max, w_max = boxes[frame.number]
        box = (max(h_min, 0), max(w_min, 0), min(h_max, fact.height), min(w_max, fact.width))
        if box[2] <= box[0] or box[3] <= box[1]:
            size = f"{fact.height} high and {fact.width} wide"
            problems.add(f"{frame.path.name}: box {boxes[frame.number]} lies outside the image, {size}")
        if box != boxes[frame.number]:
            clipped.append(frame.number)
        inside[frame.number] = box
    problems.raise_any()
    return inside, clipped


def _official_split(table: pd.DataFrame, config: DataConfig) -> tuple[pd.DataFrame, list[int]]:
    """Set1 and Set2 to train and val, the test folders to test, less their near-duplicates of training frames."""
    training = table["site"].isin(fetus_framework.TRAINING_FOLDERS)
    leaking = ~training & table["subject_id"].isin(set(table.loc[training, "subject_id"]))
    dropped = [int(Path(path).stem) for path in table.loc[leaking, "image_path"]]
    table = table[~leaking].reset_index(drop=True)
    training = table["site"].isin(fetus_framework.TRAINING_FOLDERS)
    test = table[~training]
    labels = test["label"].tolist()
    if test["subject_id"].nunique() < _LEAST_OFFICIAL_TEST or len(set(labels)) < 2:
        raise UserError(
            f"split=official: the release's test folders hold {len(labels)} usable frames ({labels.count(0)} normal, "
            f"{labels.count(1)} anomalous) in this copy; at least {_LEAST_OFFICIAL_TEST} subjects of both classes are "
            "needed: use split=kfold"
        )
    rows = table[training]
    split = split_by_fractions(
        subject_labels(rows["subject_id"].tolist(), rows["label"].tolist()), config.val_fraction, 0, config.seed
    )
    table["split"] = [split.get(subject, "test") for subject in table["subject_id"]]
    return table, dropped


def import_classes(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import a folder per class: `normal` (or `0`) and `anomalous` (or `1`), in any casing.

    The subject of `class/subject/image.png` is the folder; of `class/P12_3.png` what stands before the first `_`,
    P12, in either class; a name without `_` is a subject of its own. Under `train`, `val` and `test` folders with
    the classes inside, `split=official` keeps these; without them it means fractions.

    Raises:
        UserError: folders that are no classes, no images, and all that `write_dataset` refuses.
    """
    root = _folder(config.path)
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
        facts = _inspect([Path(path) for path in table["source"]], table["image_path"].tolist(), where, workers)
        pairs = near_duplicates(facts, table["subject_id"].tolist())
        merged = [
            {"images": [table["image_path"][one], table["image_path"][other]], "correlation": round(value, 4)}
            for one, other, value in pairs
        ]
        table["subject_id"] = merge_groups(table["subject_id"].tolist(), pairs)
        try:
            table["split"] = _split(table, config)
        except UserError as error:
            hint = "subjects come from folders or names before the first _; a manifest.csv names them itself"
            raise UserError(f"{where}: {error}" + (f" ({hint})" if config.source == "classes" else "")) from None
    kind = "fractions" if config.split == "official" else config.split
    info = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", where.parent.name if where.is_file() else where.name) or "images",
        "data_kind": "user_images",
        "label_rule": dict(_OWN_LABELS),
        "split": {"kind": "given"} if keep_split else _split_info(config, kind),
        "preprocessing": preprocessing_of(config),
        "source": {"near_duplicates_merged": merged},
    }
    return _write(out, table, info, workers)


def _split(table: pd.DataFrame, config: DataConfig) -> list[str]:
    labels = subject_labels(table["subject_id"].tolist(), table["label"].tolist())
    if config.split == "kfold":
        split = split_by_fold(labels, config.folds, config.fold, config.repeat, config.seed)
    else:
        split = split_by_fractions(labels, config.val_fraction, config.test_fraction, config.seed)
    return [split[subject] for subject in table["subject_id"]]


def _split_info(config: DataConfig, kind: str) -> dict[str, Any]:
    keys = {
        "official": ("val_fraction", "seed"),
        "fractions": ("val_fraction", "test_fraction", "seed"),
        "kfold": ("folds", "fold", "repeat", "seed"),
    }[kind]
    return {"kind": kind, **{key: getattr(config, key) for key in keys}}


def _inspect(paths: Sequence[Path], names: Sequence[str], where: Path, workers: int) -> list[ImageFacts]:
    problems = Problems(str(where))
    facts = []
    for found in inspect_images(paths, names, workers):
        if isinstance(found, UserError):
            problems.add(str(found))
        else:
            facts.append(found)
    problems.raise_any()
    return facts


def _folder(path: str) -> Path:
    if not path or not Path(path).is_dir():
        raise UserError(f"data.path {path!r} is no folder; expected the one that holds the images")
    return Path(path)


def _write(out: Path, table: pd.DataFrame, info: dict[str, Any], workers: int) -> DataSet:
    sources = {path: Path(source) for path, source in zip(table["image_path"], table["source"], strict=True)}
    return write_dataset(out, table, info, copy_images=sources, workers=workers)
