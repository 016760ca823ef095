"""From a configuration to a data set folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mlproject.config import DataConfig
from mlproject.data import kinds
from mlproject.data.crops import Crops, load_crops
from mlproject.data.fetus_import import import_fetus
from mlproject.data.images import grid
from mlproject.data.importing import preprocessing_of
from mlproject.data.manifest import DataSet, write_dataset
from mlproject.data.user_images import import_classes, import_manifest
from mlproject.errors import UserError
from mlproject.runtime import available_cores


def _silent(done: int, total: int) -> None:
    """No progress."""


def prepare(config: DataConfig, out: Path, workers: int = 0, progress: Callable[[int, int], None] = _silent) -> DataSet:
    """Draw the phantom or import images into the folder `out`, whole or not at all.

    Args:
        config: the section `data`.
        out: folder of the data set; replaced when it exists.
        workers: processes that draw, threads that read; 0 takes every core, 1 stays in this process.
        progress: called with (subjects drawn, all subjects) while the phantom is drawn.

    Raises:
        UserError: all that the importers and `write_dataset` refuse.
    """
    out = Path(out)
    workers = workers or available_cores()
    if config.source == "phantom":
        return _prepare_phantom(config, out, workers, progress)
    source = Path(config.path).resolve()
    if config.path and (source == out.resolve() or source.is_relative_to(out.resolve())):
        raise UserError(f"the data set {out} would replace its own source {config.path}; choose another output folder")
    importers = {"fetus": import_fetus, "classes": import_classes, "manifest": import_manifest}
    return importers[config.source](config, out, workers)


def _prepare_phantom(config: DataConfig, out: Path, workers: int, progress: Callable[[int, int], None]) -> DataSet:
    # importing images does not need the phantom's library
    from mlproject.data import phantom_set

    chosen = phantom_set.draw_splits(
        config.seed, config.n_train, config.n_val, config.n_test, config.n_unseen_site, config.prevalence
    )
    for split in ("train", "val", "test"):
        # told before minutes of drawing, not after
        if len({subject.label for name, subject in chosen if name == split}) < 2:
            raise UserError(
                f"phantom: the {split} subjects of seed {config.seed} are all of one class; raise n_{split} or take "
                "another seed"
            )
    info = {
        "name": "nt-phantom",
        "data_kind": kinds.PHANTOM,
        "label_rule": dict(phantom_set.LABEL_RULE),
        "split": {
            "kind": "phantom",
            "seed": config.seed,
            "n_train": config.n_train,
            "n_val": config.n_val,
            "n_test": config.n_test,
            "n_unseen_site": config.n_unseen_site,
        },
        "preprocessing": preprocessing_of(config),
        "source": {"prevalence": config.prevalence, "frames_per_subject": config.frames_per_subject},
    }

    def draw(folder: Path) -> pd.DataFrame:
        return phantom_set.write_phantom(folder, config.seed, chosen, config.frames_per_subject, workers, progress)

    return write_dataset(out, draw, info, workers=workers)


def preview(dataset: DataSet, n: int = 8) -> np.ndarray:
    """uint8 picture of the first `n` training crops of each class: normal above, anomalous below."""
    crops = load_crops(dataset, "train")
    chosen = [first_of(crops, label, n) for label in (0, 1)]
    columns = max(len(part) for part in chosen)
    size = crops.images.shape[1]
    rows = [np.concatenate([part, np.full((columns - len(part), size, size), 255, np.uint8)]) for part in chosen]
    return grid(np.concatenate(rows), columns)


def first_of(crops: Crops, label: int, n: int) -> np.ndarray:
    """The first crop of each of the first `n` subjects with this label, uint8 [<= n, size, size]."""
    rows = np.flatnonzero(crops.labels == label)
    _, first = np.unique(crops.subjects[rows], return_index=True)
    return crops.images[rows[np.sort(first)[:n]]]
