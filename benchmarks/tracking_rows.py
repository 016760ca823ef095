"""`tracking_overhead`: the share of a generator step that goes into telling MLflow about it."""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from gan_rows import random_images
from sizes import Sizes
from stores import StoredRun
from timing import Row

from mlproject.classifier.feature_space import lite0_maps
from mlproject.config import load_config
from mlproject.gan.training import train_gan


def tracking_overhead(sizes: Sizes, stored: StoredRun, folder: Path) -> Row:
    """Share of a step of the default generator's training: journal, buffer and flush against a call for each metric.

    Every report goes both ways, one after the other. What a way costs in all is shared out over the steps and set
    against the median step.
    """
    config = dataclasses.replace(
        load_config().gan, steps=sizes.tracked_steps, epochs=0, batch_size=sizes.gan_batch, checkpoint_every=1_000_000
    )
    spent = {"ours": 0.0, "reference": 0.0}
    step_s: list[float] = []
    with_logging = 0.0
    resumed = 0.0

    def both_ways(step: int, values: Mapping[str, float]) -> None:
        nonlocal with_logging
        start = time.perf_counter()
        report(step, values)
        between = time.perf_counter()
        spent["ours"] += between - start
        for name, value in values.items():
            stored.log_one(name, value, step)
        end = time.perf_counter()
        spent["reference"] += end - between
        with_logging += end - start

    def progress(done: int, _total: int) -> None:
        nonlocal resumed, with_logging
        now = time.perf_counter()
        if done:
            step_s.append(now - resumed - with_logging)
        resumed, with_logging = now, 0.0

    images, labels = random_images(sizes)
    with stored.journal(folder / "tracked") as report:
        train_gan(
            images,
            labels,
            config,
            work_dir=folder / "tracked" / "checkpoints",
            device="cpu",
            report=both_ways,
            report_image=lambda step, name, image: None,
            feature_maps=lite0_maps(load_config().classifier, torch.device("cpu")),
            progress=progress,
        )
        leaving = time.perf_counter()
    # leaving the journal flushes what is still buffered
    spent["ours"] += time.perf_counter() - leaving
    computing = statistics.median(step_s) * sizes.tracked_steps
    shares = {way: cost / (computing + cost) for way, cost in spent.items()}
    return Row(shares["ours"], shares["reference"], "share of a step", shares["reference"] / shares["ours"])
