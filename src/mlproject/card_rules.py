"""What a model's card answers to the items of reporting guidelines: met, in part, not, or not applicable, and why.

A rule looks at what was recorded of one version, never at what the project could do. It says "yes" only where the card
itself, or a file that it names, tells all that the item asks of a single model; "in part" names what is missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

YES, PART, NO, NOT_APPLICABLE = "yes", "in part", "no", "not applicable"
Answer = tuple[str, str]  # one of the four words, and where it is told or what is missing

PHANTOM, CLINICAL = "phantom_not_clinical", "clinical_frames"
_NOBODY = "a phantom: nobody was imaged"
_DRAWN = "a phantom: the label is drawn with the image, nobody annotated it"


@dataclass(frozen=True)
class Facts:
    """What is known of a registered version.

    Attributes:
        meta: generator.json or classifier.json.
        tags: of the version.
        metrics: of the run that trained it and of the run that last evaluated it, with `.ci_low` and `.ci_high` beside
            each that has an interval.
        params: configuration of the run that trained it, under dotted keys.
        counts: of the data set it was trained on, by split: `images`, `subjects`, and images by class; {} if unknown.
        levels: confidence levels of the intervals, each once.
        evaluated_on: digest of the data set of its last evaluation; "" if there was none.
        generator_tags: of a classifier with synthetic images: the verdicts on the generator that drew them.
    """

    generator: bool
    meta: Mapping[str, Any]
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    evaluated_on: str = ""
    generator_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def phantom(self) -> bool:
        return self.meta.get("data_kind") == PHANTOM

    @property
    def clinical(self) -> bool:
        return self.meta.get("data_kind") == CLINICAL

    @property
    def elsewhere(self) -> bool:
        """Whether it was evaluated on another data set than the one it was trained on."""
        return bool(self.evaluated_on) and self.evaluated_on != self.meta.get("data_digest")

    def has(self, prefix: str, interval: bool = False) -> bool:
        """Whether a metric with this beginning was measured, if asked with an interval."""
        ending = ".ci_low" if interval else ""
        return any(name.startswith(prefix) and name.endswith(ending) for name in self.metrics)


def _by_kind(phantom: Answer, clinical: Answer, other: Answer) -> Callable[[Facts], Answer]:
    """The answer of the phantom, of the clinical frames, and of any other data."""
    return lambda facts: phantom if facts.phantom else clinical if facts.clinical else other


def _where_recorded(key: str, answer: Answer, lack: str) -> Callable[[Facts], Answer]:
    return lambda facts: answer if facts.meta.get(key) else (NO, lack)


def _always(word: str, told: str) -> Callable[[Facts], Answer]:
    return lambda facts: (word, told)


def _given_rule(facts: Facts) -> bool:
    """Whether the labels came with the images, so that their definition is not known."""
    rule = facts.meta.get("label_rule")
    return isinstance(rule, Mapping) and rule.get("rule") == "given"


def _reference(facts: Facts) -> Answer:
    if _given_rule(facts):
        return NO, "the labels came with the images, by which rule is not recorded"
    return (YES, "Data, the label") if facts.meta.get("label_rule") else (NO, "the rule is not recorded with the model")


def _outcome(facts: Facts) -> Answer:
    word, told = _reference(facts)
    if word == NO or facts.clinical:
        return (word, told) if word == NO else (YES, "Data, the label; why it is a proxy: data/README.md")
    return PART, f"{told}; why this outcome was chosen is not told"


def _partition(facts: Facts) -> Answer:
    if not facts.counts:
        return NO, "the sizes of the splits are not known"
    return PART, "Data: each split with its size; the proportions are not justified"


def _data_use(facts: Facts) -> Answer:
    if not facts.counts:
        return PART, "Data: by subject; the sizes of the splits are not known"
    return YES, "Data: each split with its size, and what it was used for"


def _level(facts: Facts) -> Answer:
    if facts.clinical:
        return PART, "Data: by image number, near-copies joined; the release has no patient ids"
    return YES, "Data: by subject"


def _test_size(facts: Facts) -> Answer:
    if facts.generator or not facts.counts:
        return NO, "the number of real images that it was measured on is not told here"
    return PART, "Data: the size of the test split; how it was decided is not told"


def _model(facts: Facts) -> Answer:
    if not facts.meta.get("config"):
        return NO, "the configuration is not recorded"
    if facts.generator:
        return YES, f"Model, its description file, and src/mlproject/gan/{_architecture(facts)}.py for its layers"
    return YES, "Model, its description file, and src/mlproject/classifier/network.py for its layers"


def _architecture(facts: Facts) -> str:
    return str(facts.meta.get("config", {}).get("architecture", "networks"))


def _start(facts: Facts) -> Answer:
    config = facts.meta.get("config", {})
    if not config:
        return NO, "the configuration is not recorded"
    if facts.generator:
        return YES, f"Model, the seed; src/mlproject/gan/{_architecture(facts)}.py: the distributions"
    if config.get("weights") == "none":
        return PART, "Model: random weights from its seed; their distributions are those of the timm library"
    return YES, "Model, the starting weights; src/mlproject/classifier/network.py: the head"


def _training(facts: Facts) -> Answer:
    if not facts.meta.get("config"):
        return NO, "the configuration is not recorded"
    return PART, "its description file: every hyperparameter; which of them were searched, and over what, is not told"


def _selection(facts: Facts) -> Answer:
    known = "fidelity.while_training" in facts.params if facts.generator else facts.meta.get("best_step") is not None
    return (YES, "Model: how its step was chosen") if known else (NO, "how its step was chosen is not recorded")


def _measures(facts: Facts) -> Answer:
    if not facts.metrics:
        return NO, "no metric was logged"
    return PART, "Metrics; why these is not told, and published models are not beside them"


def _uncertainty(facts: Facts) -> Answer:
    if not facts.has("", True):
        return NO, "no interval was logged"
    own = ("fidelity.", "audit.") if facts.generator else ("val.", "test.")
    bare = any(
        name.startswith(own)
        and not name.endswith((".ci_low", ".ci_high", ".readings", ".floor", ".copies"))
        and f"{name}.ci_low" not in facts.metrics
        for name in facts.metrics
    )
    return (PART, "Metrics; some figures have no interval") if bare else (YES, "Metrics, intervals")


def _robustness(facts: Facts) -> Answer:
    if facts.has("test.unseen_site_"):
        return YES, "Metrics: a site that training never saw, by itself"
    return NO, "no shift of its input was tried; shortcut baselines are other models"


def _internal(facts: Facts) -> Answer:
    if facts.generator:
        if not facts.has("fidelity."):
            return NO, "it was not evaluated"
        beside = (
            "a further phantom of other subjects" if facts.phantom else "validation, which may have chosen its step"
        )
        return PART, f"Metrics: beside real images of {beside}"
    if not facts.has("test.") or facts.elsewhere:
        return NO, "it was not measured on the test split of its own data"
    return PART, "Metrics: validation and test; performance on the training images is not told"


def _external(facts: Facts) -> Answer:
    if facts.elsewhere and facts.has("test."):
        return PART, "Metrics, on the data set named there; how it differs from the training data is not told"
    return NO, "no data from elsewhere; a phantom's unseen site is simulated as well"


def _performance(facts: Facts) -> Answer:
    if facts.generator:
        measured = facts.has("fidelity.", True)
        return (PART, "Metrics; some figures have no interval") if measured else (NO, "no figure with an interval")
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    return PART, "Metrics, intervals: validation and test, not the training images and no groups of people"


def _diagnosis(facts: Facts) -> Answer:
    if facts.generator:
        return NOT_APPLICABLE, "it makes no diagnosis"
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    return PART, "Metrics, intervals; where it works best and worst is not told"


def _prediction_performance(facts: Facts) -> Answer:
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    if facts.phantom:
        return YES, "Metrics, intervals; a phantom has no groups of people"
    return PART, "Metrics, intervals; not by group of people"


def _clusters(facts: Facts) -> Answer:
    if facts.has("test.unseen_site_"):
        return PART, "Metrics: an unseen site by itself, the others together"
    return NO, "sites were not looked at one by one"


def _availability(facts: Facts) -> Answer:
    if not _commit_known(facts):
        return NO, "the commit of the code is not known"
    if facts.phantom or facts.clinical:
        return YES, "Integrity, How to load, and data/README.md: code, weights, and where the data come from"
    return PART, "Integrity and How to load: code and weights; whether others can have the data is not told"


def _commit_known(facts: Facts) -> bool:
    return facts.tags.get("git_commit", "unknown") not in ("", "unknown")


def _code(facts: Facts) -> Answer:
    return (YES, "Integrity: the commit") if _commit_known(facts) else (NO, "the commit of the code is not known")


def _details(facts: Facts) -> Answer:
    if not _commit_known(facts):
        return NO, "the commit of the code, where the details lie, is not known"
    return YES, f"Integrity: the commit; {'docs/generator.md' if facts.generator else 'README.md'} and data/README.md"


def _imbalance(facts: Facts) -> Answer:
    config = facts.meta.get("config", {})
    if "class_weighting" not in config:
        return NO, "not recorded"
    if config["class_weighting"] == "none" and config.get("oversample", "none") == "none":
        return NOT_APPLICABLE, "Model: classes were neither weighted nor oversampled"
    return PART, "Model: how; why is not told"


def _output(facts: Facts) -> Answer:
    if facts.meta.get("operating_point"):
        return YES, "Model: a probability, and how the threshold of its decision was found"
    return (PART, "Model: a threshold, without its reason") if "threshold" in facts.meta else (NO, "not recorded")


def _same_data(facts: Facts) -> Answer:
    if not facts.has("test."):
        return NO, "it was not evaluated on test"
    if facts.elsewhere:
        return NO, "it was evaluated on another data set, how that differs is not told"
    return YES, "Data: both from one data set with one label rule and one crop; an unseen site stands by itself"


def _person(phantom_word: str, lack: str) -> Callable[[Facts], Answer]:
    """An item about people: a phantom has none."""
    return lambda facts: (phantom_word, _NOBODY) if facts.phantom else (NO, lack)


def _annotation(clinical: Answer, lack: str) -> Callable[[Facts], Answer]:
    return _by_kind((NOT_APPLICABLE, _DRAWN), clinical, (NO, lack))


RULES: dict[str, Callable[[Facts], Answer]] = {
    "title": _always(YES, "the title and first lines"),
    "prediction title": _always(PART, "the first lines name model, outcome and data; no target population"),
    "abstract": _always(NO, "no structured abstract; the first lines say what it is and how good"),
    "background": _always(PART, "Intended use: why it was made; no clinical background and no existing models"),
    "purpose": _always(PART, "Intended use: research, no place in care; no target population"),
    "goal": _always(PART, "Intended use and Model; the design of a study is in its own report"),
    "implications": _always(PART, "Intended use: none in practice; next steps are not told"),
    "inequalities": _always(NO, "nothing is told of groups of people"),
    "aims": _always(NO, "a card states no objective; a study's design.json declares one"),
    "design": _person(NOT_APPLICABLE, "how the images were collected is not described"),
    "source": _by_kind(
        (YES, "Data and data/README.md: drawn by the code; Limits: it stands for no population"),
        (YES, "Data and data/README.md: the collection and its DOI; Limits: other populations may differ"),
        (NO, "a digest is known, where the images come from is not"),
    ),
    "data sources": _by_kind(
        (PART, "Data and data/README.md: drawn by the code; Limits; the rationale is not told"),
        (PART, "Data and data/README.md: the collection and its DOI; whom it represents is not told"),
        (NO, "a digest is known, where the images come from is not"),
    ),
    "data sharing": _by_kind(
        (YES, "data/README.md: drawn again by the code"),
        (YES, "data/README.md: the public collection and its DOI"),
        (NO, "whether others can have the data is not told"),
    ),
    "dates": _person(NOT_APPLICABLE, "no dates of accrual"),
    "setting": _person(NOT_APPLICABLE, "no setting and no centres are described"),
    "eligibility": _by_kind(
        (NOT_APPLICABLE, _NOBODY),
        (PART, "data/README.md: which frames were used; which people were imaged is not known"),
        (NO, "no criteria by which subjects were included or excluded"),
    ),
    "treatments": _person(NOT_APPLICABLE, "no treatments are recorded"),
    "preprocessing": _where_recorded(
        "preprocessing", (YES, "Data, the crop, and src/mlproject/data/crops.py"), "how images were cut is not recorded"
    ),
    "preparation": lambda facts: (
        (NO, "how images were cut is not recorded")
        if not facts.meta.get("preprocessing")
        else (
            YES if facts.phantom else PART,
            "Data, the crop; data/README.md: checks"
            + ("" if facts.phantom else "; whether alike in all groups of people is not known"),
        )
    ),
    "cropping": lambda facts: (
        (NO, "how images were cut is not recorded")
        if not facts.meta.get("preprocessing")
        else (YES, "Data, the crop, around the box that was drawn: src/mlproject/data/crops.py")
        if facts.phantom
        else (PART, "Data, the crop, around the box that came with the image; who placed the boxes is not told")
    ),
    "de-identification": _person(NOT_APPLICABLE, "how the images were de-identified is not described"),
    "missing": _always(YES, "data/README.md: what is incomplete is refused or left out, nothing is filled in"),
    "acquisition": lambda facts: (
        (YES, "src/mlproject/data/phantom/sites.py: the simulated scanners")
        if facts.phantom
        else (NO, "scanners and settings are not described")
    ),
    "reference": _reference,
    "outcome": _outcome,
    "rationale": _by_kind(
        (NOT_APPLICABLE, _DRAWN),
        (YES, "data/README.md: why the label is a proxy, and how it can be guessed without anatomy"),
        (NO, "why these labels is not told"),
    ),
    "annotators": _annotation(
        (PART, "data/README.md: the release; who annotated it is not told"), "annotators are not described"
    ),
    "test annotation": _annotation(
        (PART, "data/README.md: by the rule of the training images; how the boxes were placed is not told"),
        "annotation is not described",
    ),
    "raters": _annotation((NO, "variability between and within raters is not known"), "not known"),
    "assessors": _annotation((NO, "assessors are not described"), "assessors are not described"),
    "blinding": _annotation((NO, "not described"), "not described"),
    "partition": _partition,
    "data use": _data_use,
    "level": _level,
    "test size": _test_size,
    "sample size": _always(NO, "no sample size was calculated"),
    "predictor choice": _where_recorded(
        "preprocessing",
        (YES, "Model, the input: the whole crop, nothing in it is selected"),
        "the input is not recorded",
    ),
    "predictors": lambda facts: (
        (YES, "Data, the crop; src/mlproject/data/phantom/sites.py: how it was imaged")
        if facts.phantom
        else (PART, "Data, the crop; how and when it was imaged is not told")
    ),
    "model": _model,
    "libraries": _always(YES, "conda.yaml: every package with its version"),
    "start": _start,
    "training": _training,
    "selection": _selection,
    "ensemble": _always(NOT_APPLICABLE, "Model: a single network"),
    "measures": _measures,
    "uncertainty": _uncertainty,
    "robustness": _robustness,
    "explained": _always(NOT_APPLICABLE, "no explanation of its outputs is part of it"),
    "internal": _internal,
    "external": _external,
    "trial": _always(NOT_APPLICABLE, "not a clinical trial"),
    "flow": lambda facts: (
        (PART, "Data: what each split holds; what was excluded is not counted") if facts.counts else (NO, "not counted")
    ),
    "demographics": _person(NOT_APPLICABLE, "demographic and clinical characteristics are not known"),
    "comparison": _always(NO, "training and test data are not compared figure by figure"),
    "numbers": lambda facts: (
        (PART, "Data: images of each class by split, and subjects; not of each analysis")
        if facts.counts
        else (NO, "not counted")
    ),
    "performance": _performance,
    "diagnosis": _diagnosis,
    "prediction performance": _prediction_performance,
    "clusters": _clusters,
    "failures": _always(NO, "no confusion matrix and no wrong call in the card; its runs hold them"),
    "limits": _always(YES, "Limits"),
    "details": _details,
    "availability": _availability,
    "code": _code,
    "specification": _always(YES, "How to load, under the terms of LICENSE"),
    "funding": _always(NO, "nothing is stated on funding"),
    "interests": _always(NO, "nothing is stated on conflicts of interest"),
    "protocol": _always(NO, "neither a protocol nor that there is none is stated"),
    "registration": _always(NO, "neither a registration nor that there is none is stated"),
    "ethics": _person(NOT_APPLICABLE, "no approval and no consent is stated"),
    "public": _always(NO, "whether patients or the public took part is not stated"),
    "imbalance": _imbalance,
    "fairness": _always(NO, "nothing was done or measured for fairness between groups"),
    "output": _output,
    "same data": _same_data,
    "updating": _always(NOT_APPLICABLE, "Model: it was not updated after training"),
    "calculation": _always(YES, "How to load, and src/mlproject/classifier/judging.py"),
    "interpretation": _always(NO, "a card interprets no result; a study's report does"),
    "poor input": _always(PART, "docs/errors.md: what is refused; poor image quality is not noticed"),
    "interaction": _always(NO, "what a user has to do, and to know, is not told"),
    "next steps": _always(NO, "next steps are not told"),
}
