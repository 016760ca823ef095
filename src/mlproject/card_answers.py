"""The answers of a model's card that depend on what was recorded of the version, one function for each item."""

from collections.abc import Mapping

from mlproject.card_facts import NO, NOT_APPLICABLE, PART, YES, Answer, Facts


def preparation(facts: Facts) -> Answer:
    if not facts.meta.get("preprocessing"):
        return NO, "how images were cut is not recorded"
    if facts.phantom:
        return YES, "Data, the crop; data/README.md: checks"
    return PART, "Data, the crop; data/README.md: checks; whether alike in all groups of people is not known"


def cropping(facts: Facts) -> Answer:
    if not facts.meta.get("preprocessing"):
        return NO, "how images were cut is not recorded"
    if facts.phantom:
        return YES, "Data, the crop, around the box that was drawn: src/mlproject/data/crops.py"
    return PART, "Data, the crop, around the box that came with the image; who placed the boxes is not told"


def _given_rule(facts: Facts) -> bool:
    """Whether the labels came with the images, so that their definition is not known."""
    rule = facts.meta.get("label_rule")
    return isinstance(rule, Mapping) and rule.get("rule") == "given"


def reference(facts: Facts) -> Answer:
    if _given_rule(facts):
        return NO, "the labels came with the images, by which rule is not recorded"
    return (YES, "Data, the label") if facts.meta.get("label_rule") else (NO, "the rule is not recorded with the model")


def outcome(facts: Facts) -> Answer:
    word, told = reference(facts)
    if word == NO or facts.clinical:
        return (word, told) if word == NO else (YES, "Data, the label; why it is a proxy: data/README.md")
    return PART, f"{told}; why this outcome was chosen is not told"


def partition(facts: Facts) -> Answer:
    if not facts.counts:
        return NO, "the sizes of the splits are not known"
    return PART, "Data: each split with its size; the proportions are not justified"


def data_use(facts: Facts) -> Answer:
    if not facts.counts:
        return PART, "Data: by subject; the sizes of the splits are not known"
    return YES, "Data: each split with its size, and what it was used for"


def level(facts: Facts) -> Answer:
    if facts.clinical:
        return PART, "Data: by image number, near-copies joined; the release has no patient ids"
    return YES, "Data: by subject"


def test_size(facts: Facts) -> Answer:
    if facts.generator or not facts.counts:
        return NO, "the number of real images that it was measured on is not told here"
    return PART, "Data: the size of the test split; how it was decided is not told"


def model(facts: Facts) -> Answer:
    if not facts.meta.get("config"):
        return NO, "the configuration is not recorded"
    if facts.generator:
        return YES, f"Model, its description file, and src/mlproject/gan/{_architecture(facts)}.py for its layers"
    return YES, "Model, its description file, and src/mlproject/classifier/network.py for its layers"


def _architecture(facts: Facts) -> str:
    return str(facts.meta.get("config", {}).get("architecture", "networks"))


def start(facts: Facts) -> Answer:
    config = facts.meta.get("config", {})
    if not config:
        return NO, "the configuration is not recorded"
    if facts.generator:
        return YES, f"Model, the seed; src/mlproject/gan/{_architecture(facts)}.py: the distributions"
    if config.get("weights") == "none":
        return PART, "Model: random weights from its seed; their distributions are those of the timm library"
    return YES, "Model, the starting weights; src/mlproject/classifier/network.py: the head"


def training(facts: Facts) -> Answer:
    if not facts.meta.get("config"):
        return NO, "the configuration is not recorded"
    return PART, "its description file: every hyperparameter; which of them were searched, and over what, is not told"


def selection(facts: Facts) -> Answer:
    known = "fidelity.while_training" in facts.params if facts.generator else facts.meta.get("best_step") is not None
    return (YES, "Model: how its step was chosen") if known else (NO, "how its step was chosen is not recorded")


def measures(facts: Facts) -> Answer:
    if not facts.metrics:
        return NO, "no metric was logged"
    return PART, "Metrics; why these is not told, and published models are not beside them"


def uncertainty(facts: Facts) -> Answer:
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


def robustness(facts: Facts) -> Answer:
    if facts.has("test.unseen_site_"):
        return YES, "Metrics: a site that training never saw, by itself"
    return NO, "no shift of its input was tried; shortcut baselines are other models"


def internal(facts: Facts) -> Answer:
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


def external(facts: Facts) -> Answer:
    if facts.elsewhere and facts.has("test."):
        return PART, "Metrics, on the data set named there; how it differs from the training data is not told"
    return NO, "no data from elsewhere; a phantom's unseen site is simulated as well"


def performance(facts: Facts) -> Answer:
    if facts.generator:
        measured = facts.has("fidelity.", True)
        return (PART, "Metrics; some figures have no interval") if measured else (NO, "no figure with an interval")
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    return PART, "Metrics, intervals: validation and test, not the training images and no groups of people"


def diagnosis(facts: Facts) -> Answer:
    if facts.generator:
        return NOT_APPLICABLE, "it makes no diagnosis"
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    return PART, "Metrics, intervals; where it works best and worst is not told"


def prediction_performance(facts: Facts) -> Answer:
    if not facts.has("test.", True):
        return NO, "no performance with an interval on held-out subjects"
    if facts.phantom:
        return YES, "Metrics, intervals; a phantom has no groups of people"
    return PART, "Metrics, intervals; not by group of people"


def clusters(facts: Facts) -> Answer:
    if facts.has("test.unseen_site_"):
        return PART, "Metrics: an unseen site by itself, the others together"
    return NO, "sites were not looked at one by one"


def availability(facts: Facts) -> Answer:
    if not _commit_known(facts):
        return NO, "the commit of the code is not known"
    if facts.phantom or facts.clinical:
        return YES, "Integrity, How to load, and data/README.md: code, weights, and where the data come from"
    return PART, "Integrity and How to load: code and weights; whether others can have the data is not told"


def _commit_known(facts: Facts) -> bool:
    return facts.tags.get("git_commit", "unknown") not in ("", "unknown")


def code(facts: Facts) -> Answer:
    return (YES, "Integrity: the commit") if _commit_known(facts) else (NO, "the commit of the code is not known")


def details(facts: Facts) -> Answer:
    if not _commit_known(facts):
        return NO, "the commit of the code, where the details lie, is not known"
    return YES, f"Integrity: the commit; {'docs/generator.md' if facts.generator else 'README.md'} and data/README.md"


def imbalance(facts: Facts) -> Answer:
    config = facts.meta.get("config", {})
    if "class_weighting" not in config:
        return NO, "not recorded"
    if config["class_weighting"] == "none" and config.get("oversample", "none") == "none":
        return NOT_APPLICABLE, "Model: classes were neither weighted nor oversampled"
    return PART, "Model: how; why is not told"


def output(facts: Facts) -> Answer:
    if facts.meta.get("operating_point"):
        return YES, "Model: a probability, and how the threshold of its decision was found"
    return (PART, "Model: a threshold, without its reason") if "threshold" in facts.meta else (NO, "not recorded")


def same_data(facts: Facts) -> Answer:
    if not facts.has("test."):
        return NO, "it was not evaluated on test"
    if facts.elsewhere:
        return NO, "it was evaluated on another data set, how that differs is not told"
    return YES, "Data: both from one data set with one label rule and one crop; an unseen site stands by itself"
