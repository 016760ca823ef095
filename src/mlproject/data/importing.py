"""What all importers share: reading, splitting and writing images that someone else made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.config import DataConfig
from mlproject.data.checks import Problems
from mlproject.data.crops import PREPROCESSING
from mlproject.data.duplicates import ImageFacts, inspect_images
from mlproject.data.manifest import DataSet, write_dataset
from mlproject.data.splits import split_by_fold, split_by_fractions, subject_labels
from mlproject.errors import UserError


def preprocessing_of(config: DataConfig) -> dict[str, Any]:
    """The keys of the configuration that say how crops are cut, as dataset.json holds them."""
    return {name: getattr(config, name) for name in PREPROCESSING}


def split_subjects(table: pd.DataFrame, config: DataConfig) -> list[str]:
    """The split of each row, by subject: k-fold, or shares (which `official` means where there is none)."""
    labels = subject_labels(table["subject_id"].tolist(), table["label"].tolist())
    if config.split == "kfold":
        split = split_by_fold(labels, config.folds, config.fold, config.repeat, config.seed)
    else:
        split = split_by_fractions(labels, config.val_fraction, config.test_fraction, config.seed)
    return [split[subject] for subject in table["subject_id"]]


def split_info(config: DataConfig, kind: str) -> dict[str, Any]:
    """How the split was made, as dataset.json holds it."""
    keys = {
        "official": ("val_fraction", "seed"),
        "fractions": ("val_fraction", "test_fraction", "seed"),
        "kfold": ("folds", "fold", "repeat", "seed"),
    }[kind]
    return {"kind": kind, **{key: getattr(config, key) for key in keys}}


def inspect_all(paths: Sequence[Path], names: Sequence[str], where: Path, workers: int) -> list[ImageFacts]:
    """Read every image once.

    Raises:
        UserError: lists all that cannot be read.
    """
    problems = Problems(str(where))
    facts = []
    for found in inspect_images(paths, names, workers):
        if isinstance(found, UserError):
            problems.add(str(found))
        else:
            facts.append(found)
    problems.raise_any()
    return facts


def source_folder(path: str) -> Path:
    """`data.path` as a folder.

    Raises:
        UserError: it is none.
    """
    if not path or not Path(path).is_dir():
        raise UserError(f"data.path {path!r} is no folder; expected the one that holds the images")
    return Path(path)


def write_imported(out: Path, table: pd.DataFrame, info: dict[str, Any], workers: int) -> DataSet:
    """Write the data set, copying each row's file from its column `source`."""
    sources = {path: Path(source) for path, source in zip(table["image_path"], table["source"], strict=True)}
    return write_dataset(out, table, info, copy_images=sources, workers=workers)
