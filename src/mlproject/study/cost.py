"""What a study costs: the time of its fits, from the time of their parts on this machine."""

import heapq
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mlproject.config import Configuration
from mlproject.study.design import Design, Fit, all_fits, cell_config

# gathering, comparing and writing the report at the end
REPORT_SECONDS = 20.0


@dataclass(frozen=True)
class Timings:
    """Seconds on this machine, with as many processes at work as the study will have."""

    start: float  # of a process, until its libraries are imported
    gan_step: float
    classifier_step: float
    image: float  # one image through a classifier without learning
    frame: float  # one frame of the phantom drawn and written
    generator_extra: float  # around the steps of a generator: loading, registering, drawing its images
    fit_extra: float  # around the steps of a classifier: intervals, shortcuts, figures, registering
    evaluation_extra: float


def fit_seconds(fit: Fit, config: Configuration, timings: Timings, val_images: int, test_images: int) -> float:
    """Expected seconds of one fit."""
    classifier = config.classifier
    if fit.stage == "train_gan":
        chosen_by, grids = config.fidelity.while_training, -(-config.gan.steps // config.gan.grid_every)
        # at each grid as many images of both classes are drawn, which takes about as long as looking at them
        looked_at = val_images + grids * 2 * 2 * chosen_by if chosen_by else 0
        return config.gan.steps * timings.gan_step + looked_at * timings.image + timings.generator_extra
    if fit.stage == "train_classifier":
        validations = -(-classifier.steps // classifier.eval_every)
        learning = classifier.steps * timings.classifier_step
        return learning + validations * val_images * timings.image + timings.fit_extra
    return test_images * timings.image + timings.evaluation_extra


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of these jobs ends if each goes, in this order, to the worker that is free first."""
    free = [0.0] * workers
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def images_of(config: Configuration) -> tuple[int, int]:
    """Validation and test images of a phantom cell; for imports a guess of 300 each, as they are not read yet."""
    data = config.data
    if data.source != "phantom":
        return 300, 300
    test = data.n_test + config.study.unseen_site_subjects
    return data.n_val * data.frames_per_subject, test * data.frames_per_subject


def expected_seconds(
    design: Design, config: Configuration, timings: Timings, workers: int, done: AbstractSet[str]
) -> float:
    """Expected wall time of the study from here.

    Args:
        workers: cells at work at a time.
        done: keys of the fits that the store has finished.
    """
    images = images_of(config)
    cells, fresh_seeds = [], set()
    for seed, size, fits in all_fits(design, config):
        left = [fit for fit in fits if fit.key not in done]
        own = cell_config(config, seed, size)
        cells.append(timings.start + sum(fit_seconds(fit, own, timings, *images) for fit in left))
        if len(left) == len(fits):
            fresh_seeds.add(seed)
    drawing = 0.0
    if config.data.source == "phantom":
        subjects = config.data.n_train + config.data.n_val + config.data.n_test + config.study.unseen_site_subjects
        drawing = len(fresh_seeds) * subjects * config.data.frames_per_subject * timings.frame / workers
    return drawing + makespan(cells, workers) + REPORT_SECONDS
