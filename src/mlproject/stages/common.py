"""What the stages share: what they say, how they name data and models, and the training images that they use."""

import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlproject.config import ClassifierConfig, GanConfig
from mlproject.data.crops import Crops, load_crops
from mlproject.data.manifest import DataSet
from mlproject.data.splits import training_subset
from mlproject.plain_text import escaped

# decoded splits of this process, the last used at the end: a study asks for the same ones fit after fit
_DECODED: OrderedDict[tuple[str, ...], Crops] = OrderedDict()
_DECODED_AT_MOST = 6


def say(text: str) -> None:
    """A line on stdout, at once, so that a log shows it in its place; names in it cannot move the cursor."""
    print("\n".join(escaped(line) for line in text.split("\n")), flush=True)


@contextlib.contextmanager
def said_to(log: Path) -> Iterator[None]:
    """What is printed in the block goes to the end of a file, whose folder is made."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "a", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        yield


def data_identity(dataset: DataSet) -> dict[str, Any]:
    """What decides the crops of a data set: content, labels, split (the digest) and how they are cut."""
    return {"digest": dataset.digest, "preprocessing": dataset.preprocessing}


def used_subjects(dataset: DataSet, settings: GanConfig | ClassifierConfig) -> list[str]:
    """The training subjects that a generator or classifier of these settings learns from, sorted.

    Raises:
        UserError: more subjects than there are.
    """
    seed = dataset.info["split"].get("seed", 0)
    return training_subset(dataset, settings.subjects, seed, settings.anomalous_share)


def decoded_crops(dataset: DataSet, split: str, workers: int) -> Crops:
    """`load_crops`, decoded once in a process; not to be changed in place."""
    key = (str(dataset.root.resolve()), dataset.digest, json.dumps(dataset.preprocessing, sort_keys=True), split)
    if key not in _DECODED:
        _DECODED[key] = load_crops(dataset, split, workers=workers)
    _DECODED.move_to_end(key)
    while len(_DECODED) > _DECODED_AT_MOST:
        _DECODED.popitem(last=False)
    return _DECODED[key]


def training_crops(dataset: DataSet, subjects: list[str], workers: int) -> Crops:
    """The training crops of some subjects."""
    crops = decoded_crops(dataset, "train", workers)
    return crops.select(np.isin(crops.subjects, subjects))


def describe_dataset(dataset: DataSet) -> str:
    """Name, kind, counts, digest and place on one line."""
    counts = ", ".join(
        f"{split} {count['subjects']} subjects / {count['images']} images"
        for split, count in dataset.info["counts"].items()
        if count["images"]
    )
    return f"{dataset.name} ({dataset.data_kind}): {counts}; digest {dataset.digest[:12]}; {dataset.root}"
