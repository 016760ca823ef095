"""`make gpu-smoke`: does the chain work on a GPU? Two passes with the same seeds, compared, and images a second.

Exit codes: 0 everything agrees, 1 something does not, 2 there is no such device.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from mlproject import chain, registry, runtime, stages, tracking
from mlproject.classifier.inference import load_classifier
from mlproject.config import PROJECT_ROOT, Configuration, load_config
from mlproject.data.crops import load_crops
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.gan.sampling import load_generator

CONFIG = PROJECT_ROOT / "configs" / "gpu_smoke.yaml"
_SHOWN_PER_CLASS = 32


@dataclass(frozen=True)
class Pass:
    """What one pass of the chain left behind.

    Attributes:
        critic_loss: at the first step that was logged.
        images: uint8 [n, size, size], drawn on the CPU from the trained generator with one seed.
        probabilities: float64 [m], of the real-trained classifier on the validation crops, on the device.
        on_cpu: the same network's on the CPU.
        rates: {stage: images a second}.
        seconds: of the whole pass.
    """

    critic_loss: float
    images: np.ndarray
    probabilities: np.ndarray
    on_cpu: np.ndarray
    rates: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Check:
    """A difference that should not be larger than its limit; one that is not a number is."""

    name: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.found <= self.limit


def compare(first: Pass, second: Pass) -> list[Check]:
    """What two passes with the same seeds must agree in, and a pass with the CPU.

    A GPU adds numbers in an order of its own, and a GAN's steps multiply the difference: the first step is held
    tightly, the end loosely.
    """
    scale = max(abs(first.critic_loss), abs(second.critic_loss), 1e-12)
    grey = np.abs(first.images.astype(float) - second.images.astype(float)).mean()
    between = np.abs(first.probabilities - second.probabilities).mean()
    against_cpu = max(np.abs(found.probabilities - found.on_cpu).max() for found in (first, second))
    return [
        Check("critic loss at the first log, relative", abs(first.critic_loss - second.critic_loss) / scale, 0.02),
        Check("images of the two generators, mean grey levels", float(grey), 8.0),
        Check("probabilities of the two classifiers, mean", float(between), 0.05),
        Check("probabilities of device and CPU, largest", float(against_cpu), 0.01),
    ]


def one_pass(store: tracking.Store, config: Configuration, data: str, out: Path) -> Pass:
    """The chain once, into the store: generator, three classifiers and their evaluation."""
    start = time.perf_counter()
    with tracking.entry_run(store, "main", config) as run:
        chain.compare_mixes(run, config, data=data, out=str(out))
        dataset = stages.resolve_data(run, config, data)
    seconds = time.perf_counter() - start
    children = {
        child.info.run_name: child
        for child in store.client.search_runs([store.experiment_id], f"tags.`mlflow.parentRunId` = '{run.id}'")
    }
    trained = children["train_gan"]
    losses = store.history_of(trained.info.run_id, "gan.critic_loss")
    generator = load_generator(registry.of_run(store, trained.info.run_id, registry.GENERATOR).folder)
    model = registry.of_run(store, children["train_classifier real"].info.run_id, registry.CLASSIFIER)
    crops, rates = load_crops(dataset, "val").images, {"train_gan": trained.data.metrics["gan.images_per_second"]}
    answers = {}
    for device in (runtime.resolve_device(config.run.device), torch.device("cpu")):
        classifier = load_classifier(model.folder, model.digest, device)
        classifier.probabilities(crops)  # the first call chooses kernels
        start = time.perf_counter()
        answers[device.type] = classifier.probabilities(crops)
        rates[f"predict, {device.type}"] = len(crops) / (time.perf_counter() - start)
    return Pass(
        critic_loss=losses[min(losses)],
        images=generator.sample(np.repeat([0, 1], _SHOWN_PER_CLASS), seed=0),
        probabilities=answers[runtime.resolve_device(config.run.device).type],
        on_cpu=answers["cpu"],
        rates=rates,
        seconds=seconds,
    )


def smoke(config: Configuration, folder: Path) -> tuple[list[Pass], list[Check]]:
    """Two passes over one data set, in a store of their own in `folder`, and what they agree in."""
    with _store_in(folder) as store:
        with tracking.entry_run(store, "prepare_data", config) as run:
            dataset: DataSet = stages.prepare_data(run, config)
        passes = [one_pass(store, config, str(dataset.root), folder / f"pass-{number}") for number in (1, 2)]
    return passes, compare(*passes)


@contextlib.contextmanager
def _store_in(folder: Path) -> Iterator[tracking.Store]:
    earlier = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    try:
        yield tracking.open_store("gpu-smoke")
    finally:
        if earlier is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = earlier


@click.command()
@click.option("--device", default="cuda", help="where networks run: cuda, or cpu to try this script itself")
@click.option("--config", default=str(CONFIG), metavar="FILE", help="configuration of the chain")
@click.option("--verbose", is_flag=True, help="show what the chain prints")
def main(device: str, config: str, verbose: bool) -> None:
    """Run the chain twice on a GPU with the same seeds, compare the two, and say how many images a second it takes."""
    try:
        runtime.resolve_device(device)
        with tempfile.TemporaryDirectory() as temporary:
            given = {"run.device": device, "run.reuse": False, "run.outputs": f"{temporary}/outputs"}
            settings = load_config(config, given)
            with contextlib.nullcontext() if verbose else contextlib.redirect_stdout(io.StringIO()):
                passes, checks = smoke(settings, Path(temporary))
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    click.echo(f"{name}, torch {torch.__version__}, {settings.gan.precision}")
    for number, found in enumerate(passes, start=1):
        rates = ", ".join(f"{stage} {rate:.0f}" for stage, rate in found.rates.items())
        click.echo(f"pass {number}: {found.seconds:.0f} s; images a second: {rates}")
    for check in checks:
        click.echo(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.found:.4g}, at most {check.limit:g}")
    sys.exit(0 if all(check.passed for check in checks) else 1)


if __name__ == "__main__":
    main()
