"""CLAIM 2024 and TRIPOD+AI, item by item: which a model's card meets, where, and which it does not and why.

CLAIM: Checklist for Artificial Intelligence in Medical Imaging, 2024 update (Tejani et al. 2024, Radiology: Artificial
Intelligence 6:e240300); its items are listed by topic, in its order. TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378,
with its numbers; it is about prediction models, so a generator is not held to it. Both are made for articles. An item
counts as met only where the card itself, or a file it names, says what is asked; nothing is met by promise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CLAIM, TRIPOD = "CLAIM 2024", "TRIPOD+AI"


@dataclass(frozen=True)
class Facts:
    """What is known of a registered version.

    `metrics` are those of the run that trained it and of the run that last evaluated it, with `.ci_low` and `.ci_high`
    beside each that has an interval; `meta` is generator.json or classifier.json.
    """

    generator: bool
    meta: Mapping[str, Any]
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def phantom(self) -> bool:
        return self.meta.get("data_kind") == "phantom_not_clinical"

    def has(self, prefix: str, interval: bool = False) -> bool:
        """Whether a metric with this beginning was measured, if asked with an interval."""
        ending = ".ci_low" if interval else ""
        return any(name.startswith(prefix) and name.endswith(ending) for name in self.metrics)


@dataclass(frozen=True)
class Rule:
    """When an item is met: `where` tells where it is then found, `lack` what is missing otherwise."""

    holds: Callable[[Facts], bool]
    where: str = ""
    lack: str = ""


def _always(where: str) -> Rule:
    return Rule(lambda facts: True, where=where)


def _never(lack: str) -> Rule:
    return Rule(lambda facts: False, lack=lack)


def _described(key: str, where: str, lack: str) -> Rule:
    return Rule(lambda facts: bool(facts.meta.get(key)), where, lack)


RULES: dict[str, Rule] = {
    "title": _always("the title and first lines"),
    "abstract": _never("a card is no article and has no abstract"),
    "use": _always("Intended use"),
    "users": _never("no place in a care pathway is claimed: it is not for clinical use"),
    "inequalities": _never("no groups of people are described in these data"),
    "aims": _never("a card tests no hypothesis; a study's design.json declares one"),
    "design": _never("neither prospective nor retrospective collection is described"),
    "source": Rule(lambda facts: bool(facts.tags.get("data_digest")), "Data", "no digest of the data is known"),
    "data sharing": Rule(
        lambda facts: facts.meta.get("data_kind") in ("phantom_not_clinical", "clinical_frames"),
        "data/README.md: where the data come from, or that they are drawn again by the code",
        "it is not said whether others can have the data",
    ),
    "dates": _never("no dates of accrual"),
    "eligibility": _never("no criteria by which subjects were included or excluded"),
    "preparation": _described("preprocessing", "Data, the crop", "how images were cut is not recorded"),
    "subsets": _described("train_subjects", "Data, training subjects", "the training subjects are not recorded"),
    "people": Rule(lambda facts: facts.phantom, "Data: a phantom, nobody was imaged", "not described here"),
    "missing": _always("docs/errors.md: what lacks a label, an image or a subject is refused, never filled in"),
    "acquisition": Rule(
        lambda facts: facts.phantom,
        "src/mlproject/data/phantom/profiles.py: the simulated scanners",
        "scanners and settings are not described here",
    ),
    "reference": Rule(
        lambda facts: bool(facts.tags.get("label_rule") or facts.meta.get("label_rule")),
        "Data, the label",
        "the rule behind the labels is not recorded with the model",
    ),
    "rationale": _never("the label is a proxy, taken because it can be had"),
    "annotators": Rule(
        lambda facts: facts.phantom, "Data: the simulation knows the truth", "annotators are not described here"
    ),
    "raters": _never("no variability between or within raters was measured"),
    "partitions": _always("Data: by subject, before anything is trained"),
    "sample size": _never("no sample size was calculated"),
    "model": _described("config", "Model, and its description file", "the configuration is not recorded"),
    "libraries": _always("conda.yaml: every package with its version"),
    "selection": _always("Model: by validation or a fixed number of steps, never by test"),
    "no ensemble": _always("Model: a single network"),
    "metrics": Rule(lambda facts: bool(facts.metrics), "Metrics", "no metric was logged"),
    "uncertainty": Rule(lambda facts: facts.has("", True), "Metrics, intervals", "no interval was logged"),
    "robustness": Rule(
        lambda facts: facts.has("test.unseen_site_") or facts.has("shortcut."),
        "Metrics: shortcuts, and an unseen site where there is one",
        "neither shortcut baselines nor an unseen site were measured",
    ),
    "explained": _never("no explanation in the card; a study's report has Grad-CAM maps"),
    "internal test": Rule(
        lambda facts: facts.has("test.") or (facts.generator and facts.has("fidelity.")),
        "Metrics",
        "it was not evaluated on held-out subjects",
    ),
    "external test": _never("no data from elsewhere; a phantom's unseen site is simulated as well"),
    "registration": _never("no registration and no protocol was published beforehand"),
    "flow": _never("subjects are counted, exclusions are not"),
    "demographics": _never("nobody's demographic or clinical characteristics are known"),
    "performance": Rule(
        lambda facts: facts.has("test.", True) or (facts.generator and facts.has("fidelity.", True)),
        "Metrics",
        "no performance with an interval on held-out subjects",
    ),
    "failures": _never("no failure analysis in the card; a study's report shows wrong calls"),
    "limits": _always("Limits"),
    "availability": Rule(
        lambda facts: facts.tags.get("git_commit", "unknown") != "unknown",
        "Integrity and How to load: code, commit, weights and digests",
        "the commit of the code is not known",
    ),
    "funding": _never("no statement on funding or conflicts of interest"),
    "imbalance": Rule(
        lambda facts: "class_weighting" in facts.meta.get("config", {}),
        "Model: classes are weighted as its configuration says",
        "not recorded",
    ),
    "fairness": _never("nothing was done or measured for fairness between groups"),
    "output": _described("threshold", "Model, output and threshold", "no threshold is recorded"),
    "calibration": Rule(
        lambda facts: facts.has("test.brier", True), "Metrics, Brier score", "no calibration was measured on test"
    ),
    "train and test": _always("Data: both from one source, apart by subject"),
    "ethics": Rule(lambda facts: facts.phantom, "Data: a phantom, nobody was imaged", "no approval is stated here"),
    "public": _never("no patients or public took part"),
    "treatments": _never("no treatments are recorded"),
    "no updating": _always("Model: it was not updated after training"),
    "poor input": _always("docs/errors.md: unreadable or wrongly sized input is refused"),
    "interaction": _never("no interaction with users or needed expertise is described"),
}

CLAIM_ITEMS: tuple[tuple[str, str], ...] = (
    ("Title: an AI methodology is identified", "title"),
    ("Abstract", "abstract"),
    ("Background, intended use and role", "use"),
    ("Aims, objectives and hypotheses", "aims"),
    ("Prospective or retrospective study", "design"),
    ("Study goal", "use"),
    ("Data sources", "source"),
    ("Inclusion and exclusion criteria", "eligibility"),
    ("Data preprocessing", "preparation"),
    ("Selection of data subsets", "subsets"),
    ("De-identification", "people"),
    ("Missing data", "missing"),
    ("Image acquisition protocol", "acquisition"),
    ("Definition of the reference standard", "reference"),
    ("Rationale for the reference standard", "rationale"),
    ("Source of reference annotations", "annotators"),
    ("Annotation of the test set", "annotators"),
    ("Variability between and within raters", "raters"),
    ("Assignment to partitions", "partitions"),
    ("Level at which partitions are disjoint", "partitions"),
    ("Intended sample size", "sample size"),
    ("Description of the model", "model"),
    ("Software libraries and packages", "libraries"),
    ("Initialisation of parameters", "model"),
    ("Training", "model"),
    ("Selection of the final model", "selection"),
    ("Ensembling", "no ensemble"),
    ("Metrics of performance", "metrics"),
    ("Statistical significance and uncertainty", "uncertainty"),
    ("Robustness or sensitivity analysis", "robustness"),
    ("Explainability or interpretability", "explained"),
    ("Evaluation on internal data", "internal test"),
    ("Testing on external data", "external test"),
    ("Registration of a clinical trial", "registration"),
    ("Numbers included and excluded", "flow"),
    ("Demographic and clinical characteristics", "demographics"),
    ("Performance with uncertainty", "performance"),
    ("Estimates of performance and their precision", "performance"),
    ("Failure analysis", "failures"),
    ("Limitations", "limits"),
    ("Implications for practice", "use"),
    ("Protocol or further technical details", "registration"),
    ("Availability of software, model and data", "availability"),
    ("Funding", "funding"),
)
TRIPOD_ITEMS: tuple[tuple[str, str], ...] = (
    ("1 Title", "title"),
    ("2 Abstract", "abstract"),
    ("3a Context and rationale", "use"),
    ("3b Target population and intended users", "users"),
    ("3c Known health inequalities", "inequalities"),
    ("4 Objectives", "aims"),
    ("5a Sources of data", "source"),
    ("5b Dates", "dates"),
    ("6a Setting", "eligibility"),
    ("6b Eligibility", "eligibility"),
    ("6c Treatments", "treatments"),
    ("7 Data preparation", "preparation"),
    ("8a Outcome", "reference"),
    ("8b Outcome assessors", "annotators"),
    ("8c Blinding of outcome assessment", "raters"),
    ("9a Choice of predictors", "preparation"),
    ("9b Definition of predictors", "preparation"),
    ("9c Assessors of predictors", "annotators"),
    ("10 Sample size", "sample size"),
    ("11 Missing data", "missing"),
    ("12a Use of the data, partitions", "partitions"),
    ("12b Handling of predictors", "preparation"),
    ("12c Type of model and building steps", "model"),
    ("12d Heterogeneity between clusters", "robustness"),
    ("12e Performance measures", "metrics"),
    ("12f Model updating", "no updating"),
    ("12g Calculation of predictions", "availability"),
    ("13 Class imbalance", "imbalance"),
    ("14 Fairness", "fairness"),
    ("15 Model output and thresholds", "output"),
    ("16 Differences between development and evaluation data", "train and test"),
    ("17 Ethical approval", "ethics"),
    ("18a Funding", "funding"),
    ("18b Conflicts of interest", "funding"),
    ("18c Protocol", "registration"),
    ("18d Registration", "registration"),
    ("18e Data sharing", "data sharing"),
    ("18f Code sharing", "availability"),
    ("19 Patient and public involvement", "public"),
    ("20a Flow of participants", "flow"),
    ("20b Characteristics of participants", "demographics"),
    ("20c Comparison of development and evaluation data", "demographics"),
    ("21 Numbers in each analysis", "flow"),
    ("22 Full specification of the model", "availability"),
    ("23a Performance with intervals, calibration", "calibration"),
    ("23b Heterogeneity in performance", "robustness"),
    ("24 Results of updating", "no updating"),
    ("25 Interpretation", "aims"),
    ("26 Limitations", "limits"),
    ("27a Poor or missing input", "poor input"),
    ("27b User interaction and expertise", "interaction"),
    ("27c Next steps", "users"),
)


@dataclass(frozen=True)
class Verdict:
    """An item, whether the card meets it, and where it does or what is missing."""

    guideline: str
    item: str
    met: bool
    told: str


def judge_items(facts: Facts) -> list[Verdict]:
    """Every item of CLAIM, and for a classifier of TRIPOD+AI, in their order."""
    items = [(CLAIM, item, rule) for item, rule in CLAIM_ITEMS]
    if not facts.generator:
        items += [(TRIPOD, item, rule) for item, rule in TRIPOD_ITEMS]
    verdicts = []
    for guideline, item, name in items:
        rule = RULES[name]
        met = rule.holds(facts)
        verdicts.append(Verdict(guideline, item, met, rule.where if met else rule.lack))
    return verdicts
