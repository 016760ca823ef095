"""How a study takes the images of a data set that was prepared before: as options, for the command to type next."""

import dataclasses
import re
from pathlib import Path

from mlproject.config import Configuration, load_config
from mlproject.data.manifest import load_dataset
from mlproject.errors import UserError
from mlproject.study.design import parse_sizes
from mlproject.terminal import default_of
from mlproject.tracking import Store

# a study has its own seed and fold for each of its data sets
_OF_ONE_DRAW = ("seed", "fold", "repeat")
_IMPORTED = ("classes", "fetus")


def study_options(store: Store, config: Configuration, folder: str) -> dict[str, str]:
    """Options of `study` for the images of a prepared data set, under dotted names.

    A study splits the subjects anew for each seed. It therefore imports what prepare_data imported, where this store
    has that run and the images still lie there; otherwise it reads the folder's own manifest, which keeps its one
    split. Where the study that `config` declares asks for more subjects than there are, all are taken.

    Args:
        folder: of the data set.
    """
    dataset = load_dataset(folder)
    options = {"data.source": "manifest", "data.path": str(Path(folder) / "manifest.csv")}
    usual = {key: default_of(value) for key, value in dataclasses.asdict(load_config(None).data).items()}
    for run_id in store.find("prepare_data", {"data_digest": dataset.digest}):
        params = store.params_of(run_id)
        given = {key: params.get(f"data.{key}", value) for key, value in usual.items() if key not in _OF_ONE_DRAW}
        if given["source"] in _IMPORTED and Path(given["path"]).is_dir():
            options = {f"data.{key}": value for key, value in given.items() if not _same(value, usual[key])}
            break
    return options | _sizes(config, len(dataset.subjects("train")))


def _same(value: str, usual: str) -> bool:
    """Whether two settings are the same: a store has `0.0` for `0`."""
    try:
        return float(value) == float(usual)
    except ValueError:
        return value.lower() == usual.lower()


def _sizes(config: Configuration, subjects: int) -> dict[str, str]:
    try:
        fits = max(parse_sizes(config.study.subjects)) <= subjects
    except UserError:
        return {}  # the study says it itself
    if fits:
        return {}
    return {"study.subjects": "0", "study.primary": re.sub(r"\s*@\s*\w+", "", config.study.primary)}
