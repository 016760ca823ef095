"""The sections of what trains many models: the study and the search."""

from dataclasses import dataclass

from mlproject.config.values import option


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
    classifier_steps: int = option("classifier steps of every arm; 0 takes classifier.steps", minimum=0, maximum=10**7)
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
