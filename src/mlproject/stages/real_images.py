"""The real images that a generator is evaluated with: what it saw, and what it never saw."""

import dataclasses
from typing import Any

import numpy as np

from mlproject.config import Configuration
from mlproject.data.crops import PREPROCESSING, Crops, load_crops
from mlproject.data.manifest import DataSet
from mlproject.stages.data import resolve_data
from mlproject.tracking import Run


@dataclasses.dataclass(frozen=True)
class RealImages:
    """The real images of an evaluation, by what they are for. Test is in none of them."""

    train: Crops  # what the generator saw
    hold_out: Crops  # other subjects: what its images are compared with
    judge_train: Crops
    judge_choice: Crops
    pool: Crops  # for figures between real sets
    source: DataSet  # of all but `train`

    def described(self) -> dict[str, Any]:
        """Numbers of images and subjects, and where they come from."""
        counts = {
            name: {"images": len(crops), "subjects": len(set(crops.subjects.tolist()))}
            for name, crops in vars(self).items()
            if isinstance(crops, Crops)
        }
        return {"counts": counts, "source": self.source.name, "source_digest": self.source.digest}


def reference_phantom(run: Run, config: Configuration, dataset: DataSet) -> DataSet:
    """A phantom of other subjects, cut as `dataset` is: for the judge, its choice of a step, and as hold-out."""
    settings = config.fidelity
    own_seed = int(dataset.info["split"].get("seed", config.data.seed))
    # a seed that the data set itself cannot have: its subjects would be the generator's
    seed = settings.reference_seed + (settings.reference_seed == own_seed)
    data = dataclasses.replace(
        config.data,
        **{name: dataset.preprocessing[name] for name in PREPROCESSING},
        source="phantom",
        path="",
        seed=seed,
        n_train=settings.judge_subjects,
        n_val=max(20, settings.judge_subjects // 8),
        n_test=settings.hold_out_subjects,
        n_unseen_site=0,
    )
    return resolve_data(run, dataclasses.replace(config, data=data), "")


def real_images(dataset: DataSet, source: DataSet, train_subjects: list[str], config: Configuration) -> RealImages:
    """Load them: from a phantom of other subjects, or, where `source` is the data set itself, from validation.

    Args:
        dataset: what the generator was trained on.
        source: the reference phantom, or `dataset`.
        train_subjects: those that the generator saw.
    """
    workers = config.run.workers
    train_crops = load_crops(dataset, "train", workers=workers)
    train_crops = train_crops.select(np.isin(train_crops.subjects, train_subjects))
    if source is dataset:
        validation = load_crops(dataset, "val", workers=workers)
        pool = _joined(train_crops, validation)
        return RealImages(train_crops, validation, validation, train_crops, pool, source)
    parts = {split: load_crops(source, split, workers=workers) for split in ("train", "val", "test")}
    pool = _joined(parts["train"], parts["test"])
    return RealImages(train_crops, parts["test"], parts["train"], parts["val"], pool, source)


def _joined(first: Crops, second: Crops) -> Crops:
    names = [field.name for field in dataclasses.fields(Crops)]
    return Crops(**{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def as_crops(images: np.ndarray, labels: np.ndarray) -> Crops:
    """Synthetic images as crops: each is a subject of its own."""
    names = np.array([f"synthetic-{index}" for index in range(len(images))])
    boxes = np.full((len(images), 4), np.nan, dtype=np.float32)
    return Crops(images, labels, names, names, np.full(len(images), ""), boxes)
