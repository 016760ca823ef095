"""The stages of the work, one for each entry point: resolve what is missing, reuse what is finished, do the rest."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlproject import tracking
from mlproject.config import Configuration
from mlproject.signing import refuse_key
from mlproject.stages.classifier import eval_classifier, resolve_classifier, train_classifier
from mlproject.stages.data import prepare_data, resolve_data
from mlproject.stages.eval_gan import eval_gan
from mlproject.stages.gan import generate_synthetic, resolve_generator, resolve_synthetic, train_gan
from mlproject.stages.predict import predict


@contextmanager
def entry_run(config: Configuration, stage: str) -> Iterator[tracking.Run]:
    """The run of an entry point in the store of this folder."""
    refuse_key(config, stage)
    with tracking.entry_run(tracking.open_store(config.run.experiment), stage, config) as run:
        yield run


__all__ = [
    "entry_run",
    "eval_classifier",
    "eval_gan",
    "generate_synthetic",
    "predict",
    "prepare_data",
    "resolve_classifier",
    "resolve_data",
    "resolve_generator",
    "resolve_synthetic",
    "train_classifier",
    "train_gan",
]
