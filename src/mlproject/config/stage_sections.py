"""The sections that the stages take, each a flat frozen dataclass whose fields carry their help and bounds."""

from dataclasses import dataclass

from mlproject.config.values import option


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
        "dcgan: as the thesis; compact: label planes, projection, noise inputs and bilinear upsampling, for a laptop",
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
    auxiliary_kind: str = option(
        "pixels: it sees images; twins: it sees the feature critic's maps, and a twin that learns from synthetic "
        "images keeps the generator from showing the class more clearly, or by other marks, than real images do",
        choices=("pixels", "twins"),
    )
    minibatch_group: int = option(
        "compact: images whose spread the critic sees together; 0 turns it off", minimum=0, maximum=64
    )
    noise: bool = option("compact: noise planes in every stage of the generator")
    mirror: bool = option("real images are mirrored left to right half of the time")
    jitter_px: int = option("real images are moved by up to this many pixels each way", minimum=0, maximum=16)
    cut_anew: bool = option(
        "moved images are cut anew from their frames where the crop allows it (square, a whole number of the frame's "
        "pixels in one of its own, grey levels as they are); otherwise their own edges are mirrored"
    )
    turn_deg: float = option("real images are turned by up to this many degrees each way", minimum=0, maximum=45)
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
    batch_size: int = option(
        "images drawn before any is written; the images do not depend on it", minimum=1, maximum=4096
    )


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
    judge_steps: int = option(
        "optimiser steps of the judge, and of the classifiers that learn from synthetic and from training images",
        minimum=1,
        maximum=10_000_000,
    )
    hold_out_subjects: int = option(
        "phantom: further subjects that synthetic images are compared with", minimum=20, maximum=1_000_000
    )
    floor_repeats: int = option("pairs of real sets behind every real-against-real figure", minimum=1, maximum=1000)
    while_training: int = option(
        "train_gan: synthetic images of each class at each sample grid, which choose the best step; 0 keeps the last",
        minimum=0,
        maximum=10_000,
    )
