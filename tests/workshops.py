"""A workshop: a folder with a store, a small data set, a generator and a classifier, made by the real entry points.

Its fixtures are imported by the conftest.py of the folders whose tests use them.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
from reference import command_of

from mlproject.config import PROJECT_ROOT

CONFIG = """
run: {workers: 1, threads: 1, device: cpu}
data: {source: classes, size: 32, val_fraction: 0.3, test_fraction: 0.3, split: fractions, clahe_clip: 0}
gan: {steps: 2, batch_size: 4, base_channels: 4, latent_dim: 8, log_every: 1, grid_every: 2, checkpoint_every: 1,
      precision: fp32, critic_steps: 1}
synthesis: {per_class: 4, batch_size: 8}
classifier: {backbone: test_efficientnet, weights: none, steps: 2, batch_size: 4, eval_every: 1, checkpoint_every: 1,
             synthetic_per_class: 4}
evaluation: {bootstrap: 100}
"""


def picture(label: int, number: int, side: int = 48) -> np.ndarray:
    """uint8 [side, side], different for every number; label 1 is dark in the middle."""
    generator = np.random.default_rng((label, number))
    coarse = generator.integers(40, 250, (6, 6), dtype=np.uint8)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    image = np.clip(image + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    if label:
        image[side // 3 : side // 2] //= 3
    return image


def write_classes(folder: Path, subjects: int = 10) -> Path:
    """`folder/normal/N0_0.png` and so on: two images of each of `subjects` subjects of each class."""
    for label, name in enumerate(("normal", "anomalous")):
        (folder / name).mkdir(parents=True)
        for subject in range(subjects):
            for frame in range(2):
                path = folder / name / f"{name[0].upper()}{subject}_{frame}.png"
                cv2.imwrite(str(path), picture(label, 2 * subject + frame))
    return folder


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Workshop:
    """A user's folder; `run` calls an entry point in this process, `script` in a process of its own."""

    folder: Path

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.store, self.store)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.store,
            "NT_PROJECT_ROOT": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def arguments(self, options: tuple[str, ...]) -> list[str]:
        given = [*options]
        for name, value in (("--config", self.folder / "config.yaml"), ("--outputs", self.folder / "outputs")):
            if name not in given:
                given += [name, str(value)]
        return given

    def run(self, entry_point: str, *options: str, **environment: str) -> Ended:
        command = command_of(entry_point)
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(self.folder)
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            code: object = None
            try:
                command(self.arguments(options))
            except SystemExit as ended:
                code = ended.code
        assert isinstance(code, int), f"{entry_point} ended with {code!r}"
        return Ended(code, out.getvalue(), err.getvalue())

    def command(self, entry_point: str, *options: str) -> list[str]:
        return [sys.executable, str(PROJECT_ROOT / f"src/{entry_point}.py"), *self.arguments(options)]

    def script(self, entry_point: str, *options: str, **environment: str) -> Ended:
        command = self.command(entry_point, *options)
        variables = os.environ | self.environment | environment
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=variables)
        return Ended(done.returncode, done.stdout, done.stderr)

    def succeed(self, entry_point: str, *options: str) -> str:
        done = self.run(entry_point, *options)
        assert done.code == 0, done.err
        return done.out

    def model_folder(self, name: str, version: str = "1") -> Path:
        """The files of a version in the artifact store."""
        uri = self.client.get_model_version_download_uri(name, version)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=self.store))

    def files(self) -> set[str]:
        """Every file that commands left in the folder, without the store and the empty files that serve as locks."""
        found = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith(("mlflow.db", "mlruns")) and not name.endswith(".lock")}


def set_up(folder: Path) -> Workshop:
    workshop = Workshop(folder)
    (folder / "registry").mkdir(parents=True)
    (folder / "registry" / "released.json").write_text("{}\n")
    write_classes(folder / "pictures")
    (folder / "config.yaml").write_text(CONFIG)
    return workshop


@pytest.fixture(scope="session")
def finished_workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Data set, nt-gan version 1 and nt-classifier version 1; tests that change these take `pristine`."""
    workshop = set_up(tmp_path_factory.mktemp("workshop") / "desk")
    data = ("--data.path", str(workshop.folder / "pictures"))
    workshop.succeed("prepare_data", *data, "--out", str(workshop.folder / "set"))
    workshop.succeed("train_gan", "--data", str(workshop.folder / "set"))
    workshop.succeed("train_classifier", "--data", str(workshop.folder / "set"), "--mix", "real")
    return workshop


@pytest.fixture
def pristine(finished_workshop: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """The finished workshop for tests that change models, tags or released digests: these are put back afterwards."""
    workshop, kept = finished_workshop, {}
    for name in ("nt-gan", "nt-classifier"):
        folder = workshop.model_folder(name)
        kept[name] = (folder, dict(workshop.client.get_model_version(name, "1").tags))
        shutil.copytree(folder, tmp_path / name)
    try:
        yield workshop
    finally:
        for name, (folder, tags) in kept.items():
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / name, folder)
            for key, value in tags.items():
                workshop.client.set_model_version_tag(name, "1", key, value)
        (workshop.folder / "registry" / "released.json").write_text("{}\n")
        shutil.rmtree(workshop.folder / "shelf", ignore_errors=True)


@pytest.fixture(scope="session")
def new_workshop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workshop]:
    """A workshop with images and configuration, and an empty store."""

    def make(name: str) -> Workshop:
        return set_up(tmp_path_factory.mktemp(name) / "desk")

    return make


def unfinished_runs(workshop: Workshop) -> list[str]:
    """Names of the runs that say RUNNING."""
    experiments = [experiment.experiment_id for experiment in workshop.client.search_experiments()]
    runs = workshop.client.search_runs(experiments, "attributes.status = 'RUNNING'")
    return [run.info.run_name for run in runs]


def wait_until(reached: Callable[[], object], process: subprocess.Popen, seconds: float = 300) -> bool:
    """Until `reached()` is true, the process has ended or the time is over; whether it was reached."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if reached():
            return True
        if process.poll() is not None:
            break
        time.sleep(0.005)
    return bool(reached())
