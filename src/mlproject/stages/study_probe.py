"""How long the parts of a fit take on this machine, tried on noise for a few seconds before a study begins."""

import dataclasses
import functools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlproject import runtime
from mlproject.classifier.feature_space import lite0_maps
from mlproject.classifier.inference import predict_logits
from mlproject.classifier.training import train_classifier
from mlproject.config import Configuration
from mlproject.data.crops import Crops
from mlproject.files import atomic_write_json
from mlproject.gan.training import train_gan
from mlproject.processes import run_each
from mlproject.stages.classifier import evaluation_pictures, measure, shortcut_figures
from mlproject.study.cost import Timings, images_of
from mlproject.study.design import cell_config

_WARM_UP, _STEPS = 3, 7
_TIMED_IMAGES, _IMAGES_OF_A_PASS = 256, 256
# loading, registering, reading back and tracking, in seconds; small beside what is measured
_BOOKKEEPING = {"generator": 5.0, "fit": 2.0, "evaluation": 1.0}


class _Clock:
    """Remembers when each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    def seconds_per_step(self) -> float:
        """The median over the steps after the first ones, which allocate and compile."""
        return float(np.median(np.diff(self.times)[_WARM_UP:]))


def probe(config: Configuration, workers: int, subjects: int) -> Timings:
    """Time the parts of a fit, with as many processes at work as the study will have.

    Args:
        config: of the study.
        workers: cells at a time.
        subjects: training subjects of a typical cell.
    """
    own = cell_config(config, config.study.first_seed, subjects)
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{number}.json" for number in range(workers)]
        if workers == 1:
            probe_process(own, str(outs[0]), time.time())
        else:
            jobs: Sequence[tuple[Any, ...]] = [(own, str(out), time.time()) for out in outs]
            codes = [code for _, code in run_each(probe_process, jobs, workers, config.study.fit_threads)]
            assert not any(codes), "a probe failed"
        found = [json.loads(out.read_text(encoding="utf-8")) for out in outs]
    return Timings(**{name: float(np.mean([one[name] for one in found])) for name in found[0]})


def probe_process(config: Configuration, out: str, asked: float) -> None:
    """Time everything once in this process and write `Timings` as JSON.

    Args:
        config: of a cell.
        asked: when the process was asked for, in seconds since 1970.
    """
    start = time.time() - asked
    runtime.set_threads(config.run.threads)
    device = runtime.resolve_device(config.run.device)
    n_val, n_test = images_of(config)
    training, validation = _noise(4 * _WARM_UP, config.data.size), _noise(n_val, config.data.size)
    test = _noise(n_test, config.data.size)

    generator = _Clock()
    gan = dataclasses.replace(config.gan, steps=_WARM_UP + _STEPS, epochs=0, log_every=10**6, grid_every=10**6)
    classifier = _Clock()
    few: dict[str, Any] = {"steps": _WARM_UP + _STEPS, "eval_every": 10**6, "checkpoint_every": 10**6}
    settings = dataclasses.replace(config.classifier, mix="real", oversample="none", **few)
    silent: dict[str, Any] = {
        "device": device,
        "report": lambda step, values: None,
        "report_image": lambda step, name, image: None,
    }
    with tempfile.TemporaryDirectory() as work:
        train_gan(
            training.images, training.labels, dataclasses.replace(gan, checkpoint_every=10**6),
            work_dir=Path(work) / "gan", progress=generator, **silent,
            feature_maps=lite0_maps(config.classifier, device) if gan.feature_critic > 0 else None,
        )  # fmt: skip
        trained = train_classifier(
            training, None, _noise(8, config.data.size), settings,
            work_dir=Path(work) / "classifier", progress=classifier, **silent,
        )  # fmt: skip
    images = _noise(_TIMED_IMAGES, config.data.size).images
    image = _seconds(lambda: predict_logits(trained.module, images, device, _IMAGES_OF_A_PASS)) / _TIMED_IMAGES

    def judge(split: str, crops: Crops) -> None:
        probabilities = np.random.default_rng(0).random(len(crops))
        measure(crops, probabilities, config.evaluation)
        shortcut_figures(_noise(600, config.data.size, "train"), crops, config.evaluation)
        evaluation_pictures(split, crops, probabilities, config.evaluation)

    timings = Timings(
        start=start,
        gan_step=generator.seconds_per_step(),
        classifier_step=classifier.seconds_per_step(),
        image=image,
        frame=_frame_seconds() if config.data.source == "phantom" else 0.0,
        generator_extra=_BOOKKEEPING["generator"],
        fit_extra=_seconds(lambda: judge("val", validation)) + _BOOKKEEPING["fit"],
        evaluation_extra=_seconds(lambda: judge("test", test)) + _BOOKKEEPING["evaluation"],
    )
    atomic_write_json(out, dataclasses.asdict(timings))


def _frame_seconds() -> float:
    from mlproject.data.images import encode_png
    from mlproject.data.phantom import draw_subjects, render_subject

    subjects = draw_subjects(0, 3)
    render_subject(0, subjects[0], 1)
    drawn = [functools.partial(render_subject, 0, subject, 2) for subject in subjects[1:]]
    return _seconds(lambda: [encode_png(frame.image) for draw in drawn for frame in draw()]) / 4


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _noise(n: int, size: int, name: str = "held-out") -> Crops:
    """`n` crops of noise of two classes, three to a subject."""
    draw = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, size, size), generator=draw, dtype=torch.uint8).numpy()
    subjects = np.array([f"{name}-{number // 6}-{number % 2}" for number in range(n)])
    boxes = np.full((n, 4), np.nan, dtype=np.float32)
    return Crops(images, np.arange(n) % 2, subjects, subjects, np.full(n, "A"), boxes)
