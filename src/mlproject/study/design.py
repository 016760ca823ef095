"""What a study compares: its arms, the grid of seeds and sizes, and the contrasts declared beforehand.

Everything here follows from the configuration alone, so that a study is known in full before its first fit.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlproject.config import ClassifierConfig, Configuration, as_nested, nearest
from mlproject.errors import UserError
from mlproject.evaluation.metrics import METRICS
from mlproject.pipeline import chosen_by, stage_key

# what real_augmented tries after the configuration's own level, in this order
LEVELS = ("light", "none", "medium", "strong")
# the fractions that hybrid_tuned tries, in this order
FRACTIONS = (0.5, 0.25, 0.75, 0.1)
NAMED_ARMS = ("real", "real_augmented", "synthetic", "hybrid_tuned", "oversample_real", "oversample_synthetic")
_HYBRID = re.compile(r"hybrid_(0?\.\d+|1(?:\.0+)?|0)_(add|replace)")
_COMPARISON = re.compile(r"(\S+)\s+-\s+(\S+)(?:\s+@\s*(\w+))?(?:\s+in\s+(\w+))?")
# what decides the result; `run` says only how it is computed
_SECTIONS = ("data", "gan", "synthesis", "classifier", "evaluation")


@dataclass(frozen=True)
class Arm:
    """One way to choose the training images."""

    name: str
    mix: str  # real, synthetic or hybrid
    fraction: float | None = None  # of synthetic images; None: the configuration's, or tuned
    mode: str = "add"
    tuned: str = ""  # "augment" or "fraction": what is chosen on validation
    oversample: str = "none"

    @property
    def needs_generator(self) -> bool:
        """Whether it trains on synthetic images."""
        return self.mix != "real"


def parse_arm(name: str) -> Arm:
    """The arm of a name.

    `real` (no augmentation), `real_augmented` (its augmentation tuned), `synthetic`, `hybrid_<fraction>_add`,
    `hybrid_<fraction>_replace`, `hybrid_tuned` (its fraction tuned), `oversample_real`, `oversample_synthetic`.

    Raises:
        UserError: another name; the nearest one is named.
    """
    if name in ("real", "synthetic"):
        return Arm(name, name)
    if name == "real_augmented":
        return Arm(name, "real", tuned="augment")
    if name == "hybrid_tuned":
        return Arm(name, "hybrid", tuned="fraction")
    if name == "oversample_real":
        return Arm(name, "real", oversample="real")
    if name == "oversample_synthetic":
        return Arm(name, "hybrid", oversample="synthetic")
    if found := _HYBRID.fullmatch(name):
        fraction = float(found[1])
        if 0 < fraction < 1 and found[1] != f"{fraction:g}":
            # one spelling for one arm, so that no arm is compared with itself under another name
            raise UserError(f"study.arms: {name}: write it hybrid_{fraction:g}_{found[2]}")
        if 0 < fraction < 1:
            return Arm(name, "hybrid", fraction, found[2])
        raise UserError(f"study.arms: {name}: the fraction must lie between 0 and 1; use real or synthetic for those")
    raise UserError(
        f"study.arms: {name!r} is no arm; {nearest(name, [*NAMED_ARMS, 'hybrid_0.5_add', 'hybrid_0.5_replace'])}"
    )


@dataclass(frozen=True)
class Comparison:
    """A declared difference: arm minus reference in a test metric, at a number of real subjects."""

    arm: str
    reference: str
    subjects: int
    metric: str = "auc"


@dataclass(frozen=True)
class Design:
    """The whole study, in the order of its declaration."""

    arms: tuple[Arm, ...]
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]
    primary: Comparison
    secondary: tuple[Comparison, ...]

    def cells(self) -> list[tuple[int, int]]:
        """(seed, subjects) of every cell, the largest first, which leaves short ones to fill the end."""
        return [(seed, size) for size in sorted(self.subjects, key=_largest_first) for seed in self.seeds]

    @property
    def needs_generator(self) -> bool:
        """Whether any arm trains on synthetic images."""
        return any(arm.needs_generator for arm in self.arms)


def _largest_first(size: int) -> float:
    return -float("inf") if size == 0 else -size


def _listed(text: str, where: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{where}: {text!r} names nothing; expected names or numbers with commas between them")
    if twice := sorted({part for part in parts if parts.count(part) > 1}):
        raise UserError(f"{where}: {', '.join(twice)} stands twice; name each once")
    return parts


def parse_sizes(text: str) -> tuple[int, ...]:
    """Numbers of training subjects, ascending; 0 stands for all of them and comes last.

    Raises:
        UserError: no number, a single subject, or one named twice.
    """
    sizes = []
    for part in _listed(text, "study.subjects"):
        if not part.isdigit() or int(part) == 1:
            raise UserError(f"study.subjects: {part!r} is no number of subjects; expected 0 (all) or 2 and more")
        sizes.append(int(part))
    if len(set(sizes)) < len(sizes):
        raise UserError(f"study.subjects: {text!r} names a number twice; name each once")
    return tuple(sorted(sizes, key=_largest_first, reverse=True))


def parse_comparison(text: str, arms: Sequence[str], sizes: Sequence[int], where: str) -> Comparison:
    """`<arm> - <reference> [@ <subjects>] [in <metric>]`; the largest size and the AUC where they are not given.

    Raises:
        UserError: another form, or a name that the study does not have.
    """
    found = _COMPARISON.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{where}: {text!r}; expected '<arm> - <reference> @ <subjects> in <metric>'")
    arm, reference, size, metric = found.groups()
    for name in (arm, reference):
        if name not in arms:
            raise UserError(f"{where}: {name} is not among study.arms; {nearest(name, list(arms))}")
    if arm == reference:
        raise UserError(f"{where}: {arm} is compared with itself; name two arms")
    subjects = sizes[-1] if size is None else int(size) if size.isdigit() else -1
    if subjects not in sizes:
        listed = ", ".join(map(str, sizes))
        raise UserError(f"{where}: {size} subjects are not among study.subjects; known: {listed}")
    if (metric or "auc") not in METRICS:
        raise UserError(f"{where}: {metric} is no metric; {nearest(str(metric), list(METRICS))}")
    return Comparison(arm, reference, subjects, metric or "auc")


def design_of(config: Configuration) -> Design:
    """The study that a configuration declares.

    Raises:
        UserError: an unknown arm, size, metric or contrast; oversampling without an imbalance; more subjects than the
            phantom draws.
    """
    study = config.study
    arms = tuple(parse_arm(name) for name in _listed(study.arms, "study.arms"))
    names, sizes = [arm.name for arm in arms], parse_sizes(study.subjects)
    if study.imbalance == 0 and (alone := [arm.name for arm in arms if arm.oversample != "none"]):
        raise UserError(
            f"study.arms: {', '.join(alone)} without study.imbalance; there is no minority to fill up: give the share "
            "of anomalous images that training keeps, such as 0.15"
        )
    if config.data.source == "phantom" and sizes[-1] > config.data.n_train:
        raise UserError(
            f"study.subjects: {sizes[-1]} training subjects are more than the {config.data.n_train} that the phantom "
            "draws; raise data.n_train"
        )
    primary = parse_comparison(study.primary, names, sizes, "study.primary")
    if study.secondary.strip() == "all":
        secondary = tuple(
            Comparison(name, primary.reference, size, primary.metric)
            for size in sizes
            for name in names
            if name != primary.reference
        )
    elif study.secondary.strip() == "none":
        secondary = ()
    else:
        listed = _listed(study.secondary, "study.secondary")
        secondary = tuple(parse_comparison(text, names, sizes, "study.secondary") for text in listed)
    secondary = tuple(comparison for comparison in secondary if comparison != primary)
    seeds = tuple(range(study.first_seed, study.first_seed + study.seeds))
    return Design(arms, sizes, seeds, primary, secondary)


def cell_config(config: Configuration, seed: int, subjects: int) -> Configuration:
    """The configuration of one cell: its own data, generator, images and classifiers, all of the same subjects.

    k-fold walks through the folds, then reshuffles, so that the seeds' test sets cover all subjects; every other
    split is drawn anew from each seed. Fits of a study take no alias of the registry and always the same threads.
    """
    study, data = config.study, config.data
    if data.source == "phantom":
        data = dataclasses.replace(data, seed=seed, n_unseen_site=study.unseen_site_subjects)
    elif data.split == "kfold" and data.source != "manifest":
        data = dataclasses.replace(data, fold=seed % data.folds, repeat=seed // data.folds)
    else:
        data = dataclasses.replace(data, seed=seed)
    used: dict[str, Any] = {"subjects": subjects, "anomalous_share": study.imbalance, "seed": seed}
    gan_steps: dict[str, Any] = {"steps": study.gan_steps, "epochs": 0} if study.gan_steps else {}
    classifier_steps: dict[str, Any] = {"steps": study.classifier_steps} if study.classifier_steps else {}
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, threads=study.fit_threads, workers=1, aliases=False),
        data=data,
        gan=dataclasses.replace(config.gan, **used, **gan_steps),
        synthesis=dataclasses.replace(config.synthesis, seed=seed),
        classifier=dataclasses.replace(config.classifier, **used, **classifier_steps),
    )


def trials_of(arm: Arm, classifier: ClassifierConfig, trials: int) -> dict[str, ClassifierConfig]:
    """The settings that an arm trains, by what tells them apart; an arm that is not tuned has one, named "".

    The first trial is the configuration's own setting, so one trial tunes nothing. `real` takes no augmentation,
    every other arm `classifier.augment`.
    """
    settings = dataclasses.replace(classifier, mix=arm.mix, mix_mode=arm.mode, oversample=arm.oversample)
    if arm.fraction is not None:
        settings = dataclasses.replace(settings, synthetic_fraction=arm.fraction)
    if arm.tuned == "augment":
        levels = [classifier.augment, *(level for level in LEVELS if level != classifier.augment)]
        return {level: dataclasses.replace(settings, augment=level) for level in levels[:trials]}
    if arm.tuned == "fraction":
        return {f"{share:g}": dataclasses.replace(settings, synthetic_fraction=share) for share in FRACTIONS[:trials]}
    return {"": dataclasses.replace(settings, augment="none") if arm.name == "real" else settings}


@dataclass(frozen=True)
class Fit:
    """One piece of work of a cell: a stage under a configuration. `key` tells whether a store has it already."""

    stage: str
    arm: str
    trial: str
    key: str


def fits_of_cell(design: Design, config: Configuration) -> list[Fit]:
    """What a cell trains and evaluates, each piece once: arms that ask for the same fit share it.

    Args:
        config: of the cell.
    """
    nested = as_nested(config)
    generator = {"data": nested["data"], "gan": nested["gan"], "chosen_by": chosen_by(config)}
    inputs = {**generator, "synthesis": nested["synthesis"]}
    fits = []
    if design.needs_generator:
        fits.append(Fit("train_gan", "", "", stage_key("train_gan", **generator)))
    for arm in design.arms:
        upstream = inputs if arm.needs_generator else {"data": nested["data"]}
        judged = {**upstream, "evaluation": nested["evaluation"]}
        trials = trials_of(arm, config.classifier, config.study.trials)
        for label, settings in trials.items():
            key = stage_key("train_classifier", classifier=dataclasses.asdict(settings), **judged)
            fits.append(Fit("train_classifier", arm.name, label, key))
        # which trial is evaluated is not known yet: the key names all that are in question
        asked = [dataclasses.asdict(settings) for settings in trials.values()]
        fits.append(Fit("eval_classifier", arm.name, "", stage_key("eval_classifier", classifiers=asked, **judged)))
    unique: dict[str, Fit] = {}
    for fit in fits:
        unique.setdefault(fit.key, fit)
    return list(unique.values())


def all_fits(design: Design, config: Configuration) -> Iterator[tuple[int, int, list[Fit]]]:
    """(seed, subjects, fits) of every cell, in the order in which they are run."""
    for seed, size in design.cells():
        yield seed, size, fits_of_cell(design, cell_config(config, seed, size))


def study_key(design: Design, config: Configuration) -> str:
    """The key of the study: design and every setting that decides a result."""
    nested = as_nested(config)
    # of the study's own keys, those that the design has parsed: spaces between names do not make another study
    parsed = ("arms", "subjects", "seeds", "first_seed", "primary", "secondary")
    return stage_key(
        "study",
        design=dataclasses.asdict(design),
        study={name: value for name, value in nested["study"].items() if name not in parsed},
        chosen_by=chosen_by(config),
        **{name: nested[name] for name in _SECTIONS},
    )
