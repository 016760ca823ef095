"""The configuration: what can be set, of which type, in which range.

The defaults stand in one place, `configs/default.yaml`; any other file names only what it changes. Each section
is a flat frozen dataclass whose fields carry their help and bounds; entry points build their options from them.
"""

import dataclasses
import difflib
import math
import re
import reprlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlproject.errors import UserError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG = PROJECT_ROOT / "configs" / "default.yaml"
# the project's own files are far below it; YAML of this size still reads in seconds
_MOST_BYTES = 256 * 1024
_PASSWORD_IN_URL = re.compile(r"://[^/@:\s]*:[^/@\s]+@")
# a value in a message: one that fills the file would fill the screen
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
_shown = _short.repr


def option(
    help: str, *, choices: tuple[str, ...] = (), minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field with its help text, its choices or its closed range."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(metadata=metadata)


@dataclass(frozen=True)
class RunConfig:
    """How a command runs; never part of what it computes."""

    experiment: str = option("MLflow experiment that new runs go to (ignored under `mlflow run`, which names its own)")
    outputs: str = option("folder for data sets, reports and unfinished work")
    device: str = option("where networks run", choices=("auto", "cpu", "cuda"))
    threads: int = option("threads of torch and BLAS; 0 takes every core", minimum=0, maximum=1024)
    workers: int = option(
        "processes that draw, decode or encode images, or train a study's cells; 0 takes every core",
        minimum=0,
        maximum=1024,
    )
    processes: int = option(
        "processes on this machine that train one generator or classifier together, one for each GPU where there are "
        "any; for several machines use torchrun",
        minimum=1,
        maximum=1024,
    )
    reuse: bool = option("take a finished run with the same key instead of repeating its work")
    aliases: bool = option("a trained model may take the aliases champion, real, synthetic and hybrid")
    public_key: str = option(
        "PEM file: models are loaded only if they are signed by its private key (the extra [sign]); empty: not asked"
    )
    signing_key: str = option("PEM file of the private key with which release signs; empty: unsigned")
    dry_run: bool = option("print the resolved configuration and stop before the work")


@dataclass(frozen=True)
class DataConfig:
    """Which images, their labels and split, and how a crop is cut."""

    source: str = option(
        "phantom (embedded), fetus (the clinical download), classes (a folder per class) or manifest (a manifest.csv)",
        choices=("phantom", "fetus", "classes", "manifest"),
    )
    path: str = option("folder or manifest.csv to import; unused for the phantom")
    seed: int = option("seed of the phantom's subjects and of every split", minimum=0, maximum=2**31 - 1)
    n_train: int = option("phantom: training subjects", minimum=2, maximum=1_000_000)
    n_val: int = option("phantom: validation subjects", minimum=2, maximum=1_000_000)
    n_test: int = option("phantom: test subjects", minimum=2, maximum=1_000_000)
    n_unseen_site: int = option(
        "phantom: further test subjects of site C, which training never sees", minimum=0, maximum=1_000_000
    )
    frames_per_subject: int = option("phantom: frames of each subject", minimum=1, maximum=100)
    prevalence: float = option("phantom: probability of an anomalous subject", minimum=0.05, maximum=0.95)
    crop: str = option(
        "square: a window of fixed scale around the box; box: the box stretched to a square, which leaks its height",
        choices=("square", "box"),
    )
    window_px: int = option("side of the square window in pixels of the frame", minimum=8, maximum=4096)
    size: int = option("side of a crop in pixels", minimum=16, maximum=512)
    clahe_clip: float = option("clip limit of CLAHE on the crop; 0 turns it off", minimum=0, maximum=40)
    clahe_tiles: int = option("CLAHE tiles along each side of the crop", minimum=1, maximum=32)
    label_rule: str = option(
        "fetus: what makes a frame anomalous",
        choices=("height_median", "height_quantile", "relative_height_quantile", "height_pixels", "plane"),
    )
    label_quantile: float = option("fetus: quantile of the two quantile rules", minimum=0.01, maximum=0.99)
    label_pixels: float = option("fetus: box height in pixels of the rule height_pixels", minimum=1, maximum=10_000)
    split: str = option(
        "of imported images: official (the release's test folders), kfold, or fractions; a manifest keeps its own",
        choices=("official", "kfold", "fractions"),
    )
    val_fraction: float = option("share of subjects in validation", minimum=0.01, maximum=0.9)
    test_fraction: float = option("share of subjects in test (split: fractions)", minimum=0.01, maximum=0.9)
    folds: int = option("kfold: number of folds", minimum=3, maximum=100)
    fold: int = option("kfold: the fold that is test", minimum=0, maximum=99)
    repeat: int = option("kfold: which reshuffling of the folds", minimum=0, maximum=10_000)


@dataclass(frozen=True)
class GanConfig:
    """The conditional WGAN-GP."""

    architecture: str = option(
        "dcgan: the seed's; compact: label planes, projection, noise inputs and bilinear upsampling, for a laptop",
        choices=("dcgan", "compact"),
    )
    seed: int = option("seed of weights, batches and noise", minimum=0, maximum=2**31 - 1)
    subjects: int = option("training subjects that are used; 0 takes all", minimum=0, maximum=1_000_000)
    anomalous_share: float = option(
        "largest share of anomalous subjects among those used, the others are left out; 0 leaves out none",
        minimum=0,
        maximum=0.5,
    )
    steps: int = option("generator steps", minimum=1, maximum=100_000_000)
    epochs: int = option(
        "passes of the critic over the images; above 0 it decides the number of steps", minimum=0, maximum=1_000_000
    )
    batch_size: int = option("images in a batch", minimum=2, maximum=4096)
    latent_dim: int = option("dimensions of the latent vector", minimum=1, maximum=4096)
    base_channels: int = option("channels at half the resolution, doubled at each halving", minimum=4, maximum=1024)
    label_scale: float = option(
        "compact: standard deviation of the label embedding at the start (latent vector: 1)",
        minimum=0,
        maximum=10,
    )
    conditioning: str = option(
        "compact: how the critic sees the label", choices=("planes_and_projection", "planes", "projection")
    )
    mismatched: float = option(
        "share of the critic's synthetic images that are real ones under the other label", minimum=0, maximum=0.5
    )
    feature_critic: float = option(
        "weight of a second critic, of frozen ImageNet features (EfficientNet-Lite0, packaged); 0 leaves it out",
        minimum=0,
        maximum=100,
    )
    auxiliary: float = option(
        "weight of an auxiliary classifier's loss on the generator; 0 leaves it out", minimum=0, maximum=100
    )
    minibatch_group: int = option(
        "compact: images whose spread the critic sees together; 0 turns it off", minimum=0, maximum=64
    )
    noise: bool = option("compact: noise planes in every stage of the generator")
    mirror: bool = option("real images are mirrored left to right half of the time")
    jitter_px: int = option("real images are moved by up to this many pixels each way", minimum=0, maximum=16)
    lambda_gp: float = option("weight of the gradient penalty", minimum=0, maximum=10_000)
    penalty_every: int = option("critic steps between penalties, each weighted by this number", minimum=1, maximum=64)
    critic_steps: int = option("critic steps for each generator step", minimum=1, maximum=100)
    learning_rate: float = option("Adam's rate of generator and critic", minimum=1e-8, maximum=1)
    schedule: str = option(
        "of the learning rate: constant, or linear: falls to a tenth in the second half",
        choices=("constant", "linear"),
    )
    beta1: float = option("Adam's first moment decay", minimum=0, maximum=0.999)
    beta2: float = option("Adam's second moment decay", minimum=0, maximum=0.99999)
    drift: float = option("weight of the squared critic output on real images", minimum=0, maximum=10)
    ema_images: float = option(
        "half-life, in images, of the averaged generator; 0 samples from the last weights", minimum=0, maximum=1e9
    )
    augment: str = option(
        "differentiable augmentation of real and synthetic images in front of the critic",
        choices=("none", "translation", "translation_brightness"),
    )
    precision: str = option("arithmetic of the networks; the penalty's norm is always fp32", choices=("fp32", "bf16"))
    log_every: int = option("generator steps between logged metrics", minimum=1, maximum=1_000_000)
    grid_every: int = option("generator steps between sample grids", minimum=1, maximum=100_000_000)
    checkpoint_every: int = option("generator steps between checkpoints", minimum=1, maximum=100_000_000)


@dataclass(frozen=True)
class SynthesisConfig:
    """How many synthetic images, and from which seed."""

    per_class: int = option("synthetic images of each class", minimum=1, maximum=10_000_000)
    class_name: str = option("the classes to draw", choices=("both", "normal", "anomalous"))
    seed: int = option("seed of the latent vectors", minimum=0, maximum=2**31 - 1)
    batch_size: int = option("images drawn at a time; the images do not depend on it", minimum=1, maximum=4096)


@dataclass(frozen=True)
class ClassifierConfig:
    """The classifier, its training data and its recipe."""

    mix: str = option("training images", choices=("real", "synthetic", "hybrid"))
    synthetic_fraction: float = option(
        "expected share of synthetic images in a hybrid batch (real is 0, synthetic is 1)", minimum=0, maximum=1
    )
    mix_mode: str = option(
        "hybrid: add (every real subject is used) or replace (real subjects shrink by the fraction)",
        choices=("add", "replace"),
    )
    synthetic_per_class: int = option("size of the synthetic pool: images of each class", minimum=1, maximum=10_000_000)
    backbone: str = option("a timm EfficientNet, such as efficientnet_b0 or tf_efficientnet_lite0")
    weights: str = option(
        "imagenet (from timm's hub), packaged (Lite0 weights from a Python package), none, or a .safetensors file"
    )
    stem_stride: int = option("stride of the first convolution", minimum=1, maximum=2)
    input_size: int = option("side that crops are resized to; 0 keeps the crop's", minimum=0, maximum=1024)
    zero_init_head: bool = option("start the head at zero, so that the first steps leave the backbone in place")
    dropout: float = option("dropout before the head", minimum=0, maximum=0.9)
    seed: int = option("seed of the head, batches and augmentation", minimum=0, maximum=2**31 - 1)
    subjects: int = option("real training subjects that are used; 0 takes all", minimum=0, maximum=1_000_000)
    anomalous_share: float = option(
        "largest share of anomalous subjects among those used, the others are left out; 0 leaves out none",
        minimum=0,
        maximum=0.5,
    )
    steps: int = option("optimiser steps, the same for every mix", minimum=1, maximum=10_000_000)
    batch_size: int = option("images in a batch", minimum=2, maximum=4096)
    learning_rate: float = option("peak rate of AdamW", minimum=1e-8, maximum=1)
    weight_decay: float = option("decoupled weight decay", minimum=0, maximum=10)
    schedule: str = option("of the learning rate", choices=("onecycle", "cosine", "constant"))
    freeze_steps: int = option(
        "first steps in which only the head learns, then stage by stage; 0 trains all from the start",
        minimum=0,
        maximum=10_000_000,
    )
    class_weighting: str = option("of the loss", choices=("none", "balanced"))
    oversample: str = option(
        "fill the smaller class up to the larger: by repeating real images (mix: real), or by synthetic images of "
        "that class alone (mix: hybrid, whose fraction follows)",
        choices=("none", "real", "synthetic"),
    )
    augment: str = option("training augmentation", choices=("none", "light", "medium", "strong", "seed"))
    precision: str = option("arithmetic of the network", choices=("fp32", "bf16"))
    eval_every: int = option("steps between validations", minimum=1, maximum=10_000_000)
    checkpoint_every: int = option("steps between checkpoints", minimum=1, maximum=10_000_000)


@dataclass(frozen=True)
class EvaluationConfig:
    """Intervals and decision threshold."""

    bootstrap: int = option("bootstrap draws by subject", minimum=100, maximum=1_000_000)
    level: float = option("confidence level of the intervals", minimum=0.5, maximum=0.999)
    threshold: float = option("probability from which an image is called anomalous", minimum=0, maximum=1)
    seed: int = option("seed of the bootstrap", minimum=0, maximum=2**31 - 1)


@dataclass(frozen=True)
class PredictConfig:
    """What predict writes beside its table."""

    gradcam: bool = option("write a Grad-CAM picture of each image: where the evidence for its called class lies")


@dataclass(frozen=True)
class FidelityConfig:
    """How a generator is evaluated: against which real images, by which judge, in which feature space."""

    features: str = option(
        "feature space of the distances: lite0 (packaged) or inception (torch-fidelity and its weights)",
        choices=("lite0", "inception"),
    )
    per_class: int = option("synthetic images of each class that are drawn", minimum=50, maximum=100_000)
    seed: int = option("seed of the synthetic images and of the judge", minimum=0, maximum=2**31 - 1)
    reference_seed: int = option(
        "phantom: seed of the further subjects that the generator never saw", minimum=0, maximum=2**31 - 1
    )
    judge_subjects: int = option("phantom: subjects that train the judge", minimum=20, maximum=1_000_000)
    judge_steps: int = option("optimiser steps of the judge", minimum=1, maximum=10_000_000)
    hold_out_subjects: int = option(
        "phantom: further subjects that synthetic images are compared with", minimum=20, maximum=1_000_000
    )
    floor_repeats: int = option("pairs of real sets behind every real-against-real figure", minimum=1, maximum=1000)
    while_training: int = option(
        "train_gan: synthetic images of each class at each sample grid, which choose the best step; 0 keeps the last",
        minimum=0,
        maximum=10_000,
    )


@dataclass(frozen=True)
class StudyConfig:
    """The study: which arms are compared, over which numbers of subjects and seeds. Its parts are the stages' own."""

    arms: str = option(
        "with commas: real, real_augmented (its augmentation tuned), synthetic, hybrid_<fraction>_add or _replace, "
        "hybrid_tuned (its fraction tuned), oversample_real, oversample_synthetic"
    )
    subjects: str = option("numbers of real training subjects, with commas; 0 stands for all")
    seeds: int = option(
        "seeds, each with subjects, generator and classifiers of its own; 6 at least for a comparison",
        minimum=1,
        maximum=1000,
    )
    first_seed: int = option("the first seed, the others follow it", minimum=0, maximum=2**30)
    primary: str = option("the one contrast declared beforehand: <arm> - <reference> @ <subjects> in <metric>")
    secondary: str = option(
        "further contrasts in the same form, with commas; all: every arm against the primary's reference at every "
        "number of subjects; none"
    )
    gan_steps: int = option("generator steps of each cell; 0 takes gan.steps", minimum=0, maximum=100_000_000)
    trials: int = option(
        "settings that an arm which is tuned tries, the best on validation is evaluated; 1 tunes nothing",
        minimum=1,
        maximum=4,
    )
    imbalance: float = option(
        "share of anomalous subjects that training keeps, such as 0.15; 0 imposes none", minimum=0, maximum=0.5
    )
    unseen_site_subjects: int = option(
        "phantom: further test subjects of site C, which training never sees", minimum=0, maximum=1_000_000
    )
    screening_prevalence: float = option(
        "share of anomalous subjects where predictive values are stated", minimum=0.0001, maximum=0.9999
    )
    fit_threads: int = option("threads of each fit, however many cells are trained at a time", minimum=1, maximum=1024)


@dataclass(frozen=True)
class TuneConfig:
    """The search over settings of the generator and the hybrid classifier. Its parts are the stages' own."""

    space: str = option(
        "what is searched, with semicolons: <section>.<key>: uniform|log|integer <low> <high>, grid|choice <values>, "
        "or log-grid <low> <high> <n>; generators of equal settings are trained once, so give theirs as grids"
    )
    objective: str = option(
        "auc: of the hybrid classifier on validation; auc_and_kid: that and the generator's kernel distance",
        choices=("auc", "auc_and_kid"),
    )
    trials: int = option("trials of the search, pruned ones among them", minimum=1, maximum=1_000_000)
    gan_steps: int = option("generator steps of a trial; 0 takes gan.steps", minimum=0, maximum=100_000_000)
    classifier_steps: int = option("classifier steps of a trial; 0 takes classifier.steps", minimum=0, maximum=10**7)
    checks: int = option(
        "times that a generator is measured while it trains; at each but the last it may be found hopeless",
        minimum=1,
        maximum=1000,
    )
    prune: bool = option("stop generators that are worse in both figures than the median of the others at that step")
    prune_after: int = option("other generators measured at a step before one is judged there", minimum=1, maximum=1000)
    confirm_seeds: int = option(
        "fresh seeds on which the best settings and the untuned ones are fitted again; 6 at least for an interval, "
        "0 leaves the confirmation out",
        minimum=0,
        maximum=1000,
    )
    first_confirm_seed: int = option("the first of the fresh seeds, the others follow it", minimum=0, maximum=2**30)
    storage: str = option("Optuna's database as a URL; empty: optuna.db beside the tracking store's file")
    name: str = option("of the search in that database, by which it is resumed; empty: from the data and settings")
    heartbeat_seconds: int = option(
        "time between signs of life of a trial; one without any for three times as long is tried again",
        minimum=1,
        maximum=86_400,
    )
    seed: int = option("seed of the search", minimum=0, maximum=2**31 - 1)
    workers: int = option(
        "trials at a time, each in a process of its own; 0: one for each GPU, or as many as the cores hold",
        minimum=0,
        maximum=1024,
    )
    fit_threads: int = option("threads of each fit, however many trials run at a time", minimum=1, maximum=1024)


@dataclass(frozen=True)
class Configuration:
    """Every section. A stage takes the one section that is its own."""

    run: RunConfig
    data: DataConfig
    gan: GanConfig
    synthesis: SynthesisConfig
    classifier: ClassifierConfig
    evaluation: EvaluationConfig
    predict: PredictConfig
    fidelity: FidelityConfig
    study: StudyConfig
    tune: TuneConfig


SECTIONS: dict[str, type] = {field.name: field.type for field in dataclasses.fields(Configuration)}  # type: ignore[misc]


def nearest(name: str, known: list[str]) -> str:
    """`", did you mean ...?"` for the closest known name, or the list of all when none is close."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"


def convert(where: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the field's type, checked against its choices and range.

    Raises:
        UserError: names `where`, the value and what was expected.
    """
    kind = field.type

    def refuse(expected: str) -> UserError:
        return UserError(f"{where}: {_shown(value)} is not {expected} ({field.metadata['help']})")

    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if not isinstance(value, bool):
            if str(value).strip().lower() not in words:
                raise refuse("true or false")
            value = words[str(value).strip().lower()]
    elif kind in (int, float):
        if isinstance(value, bool):
            raise refuse("a number")
        try:
            # YAML 1.1 reads 1e-3 as text, so numbers are converted from text as well
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise refuse("a whole number" if kind is int else "a number") from None
        if not math.isfinite(number) or (kind is int and not number.is_integer()):
            raise refuse("a whole number" if kind is int else "a finite number")
        value = kind(number)
        low, high = field.metadata["minimum"], field.metadata["maximum"]
        if (low is not None and value < low) or (high is not None and value > high):
            raise refuse(f"between {low:g} and {high:g}")
    else:
        if value is None or isinstance(value, (dict, list)):
            raise refuse("text")
        value = str(value)
        if _PASSWORD_IN_URL.search(value):
            raise UserError(
                f"{where}: a password in a URL would be printed and logged; leave it out, and give it as PGPASSWORD in "
                "the environment or in ~/.pgpass"
            )
        choices = field.metadata["choices"]
        if choices and value not in choices:
            close = difflib.get_close_matches(value, choices, n=1)
            raise refuse(f"one of {', '.join(choices)}" + (f", did you mean {close[0]}?" if close else ""))
    return value


class _PlainLoader(yaml.SafeLoader):
    """YAML without what a configuration has no use for: aliases, which can multiply without bound, and keys that stand
    twice, of which all but the last would be lost without a word."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "found an alias (*name); write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"found the key {_shown(key.value)} a second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, read without tags and aliases.

    Raises:
        UserError: no file, more than 256 KiB, no YAML, a key that stands twice, or no mapping at the top.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES // 1024} KiB")
        content = yaml.load(text.decode("utf-8"), _PlainLoader)
    except FileNotFoundError:
        raise UserError(f"configuration {path} does not exist; configs/ holds those of the project") from None
    except Exception as error:  # PyYAML lets out whatever a scalar's own conversion or a deep nesting raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"configuration {path} cannot be read as YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        expected = ", ".join(SECTIONS)
        raise UserError(f"configuration {path}: expected sections ({expected}), found {type(content).__name__}")
    return content


def _merge(known: dict[str, dict[str, Any]], changes: Mapping[str, Any], where: str) -> None:
    """Overlay `changes` (section -> key -> value) on `known`, refusing names that the sections do not have."""
    for section, values in changes.items():
        if section not in SECTIONS:
            raise UserError(f"{where}: unknown section {_shown(section)}; {nearest(str(section), list(SECTIONS))}")
        if not isinstance(values, dict):
            raise UserError(f"{where}: section {section} holds {_shown(values)} instead of keys with values")
        fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
        for key, value in values.items():
            if key not in fields:
                raise UserError(f"{where}: unknown key {section}.{str(key)[:100]}; {nearest(str(key), list(fields))}")
            known[section][key] = convert(f"{where}: {section}.{key}", fields[key], value)


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Configuration:
    """The default configuration, overlaid with the file at `path`, then with `overrides` under dotted keys.

    Example: `load_config("configs/smoke.yaml", {"gan.lambda_gp": 5})`.

    Raises:
        UserError: unreadable file, unknown section or key (the nearest known one is named), bad value.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    _merge(values, read_yaml(DEFAULT_CONFIG), DEFAULT_CONFIG.name)
    if path is not None and Path(path).resolve() != DEFAULT_CONFIG:
        _merge(values, read_yaml(path), str(path))
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        _merge(values, {section: {key: value}}, "option")
    for section, schema in SECTIONS.items():
        missing = [field.name for field in dataclasses.fields(schema) if field.name not in values[section]]
        if missing:
            raise UserError(f"{DEFAULT_CONFIG}: section {section} lacks {', '.join(missing)}")
    return Configuration(**{section: schema(**values[section]) for section, schema in SECTIONS.items()})


def as_nested(config: Configuration) -> dict[str, dict[str, Any]]:
    """The resolved configuration as plain dictionaries, as it is printed and logged."""
    return dataclasses.asdict(config)


def as_yaml(config: Configuration, sections: tuple[str, ...] = tuple(SECTIONS)) -> str:
    """The resolved configuration of some sections as YAML that `load_config` reads again."""
    nested = as_nested(config)
    return yaml.safe_dump({section: nested[section] for section in sections}, sort_keys=False, width=100)
