"""What a model's card answers to the items of reporting guidelines: met, in part, not, or not applicable, and why.

A rule looks at what was recorded of one version, never at what the project could do. It says "yes" only where the card
itself, or a file that it names, tells all that the item asks of a single model; "in part" names what is missing.
"""

from collections.abc import Callable

from mlproject import card_answers as answers
from mlproject.card_facts import NO, NOT_APPLICABLE, PART, YES, Answer, Facts

_NOBODY = "a phantom: nobody was imaged"
_DRAWN = "a phantom: the label is drawn with the image, nobody annotated it"


def _by_kind(phantom: Answer, clinical: Answer, other: Answer) -> Callable[[Facts], Answer]:
    """The answer of the phantom, of the clinical frames, and of any other data."""
    return lambda facts: phantom if facts.phantom else clinical if facts.clinical else other


def _where_recorded(key: str, answer: Answer, lack: str) -> Callable[[Facts], Answer]:
    return lambda facts: answer if facts.meta.get(key) else (NO, lack)


def _always(word: str, told: str) -> Callable[[Facts], Answer]:
    return lambda facts: (word, told)


def _person(lack: str) -> Callable[[Facts], Answer]:
    """An item about people: a phantom has none."""
    return lambda facts: (NOT_APPLICABLE, _NOBODY) if facts.phantom else (NO, lack)


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
    "design": _person("how the images were collected is not described"),
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
    "dates": _person("no dates of accrual"),
    "setting": _person("no setting and no centres are described"),
    "eligibility": _by_kind(
        (NOT_APPLICABLE, _NOBODY),
        (PART, "data/README.md: which frames were used; which people were imaged is not known"),
        (NO, "no criteria by which subjects were included or excluded"),
    ),
    "treatments": _person("no treatments are recorded"),
    "preprocessing": _where_recorded(
        "preprocessing", (YES, "Data, the crop, and src/mlproject/data/crops.py"), "how images were cut is not recorded"
    ),
    "preparation": answers.preparation,
    "cropping": answers.cropping,
    "de-identification": _person("how the images were de-identified is not described"),
    "missing": _always(YES, "data/README.md: what is incomplete is refused or left out, nothing is filled in"),
    "acquisition": lambda facts: (
        (YES, "src/mlproject/data/phantom/sites.py: the simulated scanners")
        if facts.phantom
        else (NO, "scanners and settings are not described")
    ),
    "reference": answers.reference,
    "outcome": answers.outcome,
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
    "partition": answers.partition,
    "data use": answers.data_use,
    "level": answers.level,
    "test size": answers.test_size,
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
    "model": answers.model,
    "libraries": _always(YES, "conda.yaml: every package with its version"),
    "start": answers.start,
    "training": answers.training,
    "selection": answers.selection,
    "ensemble": _always(NOT_APPLICABLE, "Model: a single network"),
    "measures": answers.measures,
    "uncertainty": answers.uncertainty,
    "robustness": answers.robustness,
    "explained": _always(NOT_APPLICABLE, "no explanation of its outputs is part of it"),
    "internal": answers.internal,
    "external": answers.external,
    "trial": _always(NOT_APPLICABLE, "not a clinical trial"),
    "flow": lambda facts: (
        (PART, "Data: what each split holds; what was excluded is not counted") if facts.counts else (NO, "not counted")
    ),
    "demographics": _person("demographic and clinical characteristics are not known"),
    "comparison": _always(NO, "training and test data are not compared figure by figure"),
    "numbers": lambda facts: (
        (PART, "Data: images of each class by split, and subjects; not of each analysis")
        if facts.counts
        else (NO, "not counted")
    ),
    "performance": answers.performance,
    "diagnosis": answers.diagnosis,
    "prediction performance": answers.prediction_performance,
    "clusters": answers.clusters,
    "failures": _always(NO, "no confusion matrix and no wrong call in the card; its runs hold them"),
    "limits": _always(YES, "Limits"),
    "details": answers.details,
    "availability": answers.availability,
    "code": answers.code,
    "specification": _always(YES, "How to load, under the terms of LICENSE"),
    "funding": _always(NO, "nothing is stated on funding"),
    "interests": _always(NO, "nothing is stated on conflicts of interest"),
    "protocol": _always(NO, "neither a protocol nor that there is none is stated"),
    "registration": _always(NO, "neither a registration nor that there is none is stated"),
    "ethics": _person("no approval and no consent is stated"),
    "public": _always(NO, "whether patients or the public took part is not stated"),
    "imbalance": answers.imbalance,
    "fairness": _always(NO, "nothing was done or measured for fairness between groups"),
    "output": answers.output,
    "same data": answers.same_data,
    "updating": _always(NOT_APPLICABLE, "Model: it was not updated after training"),
    "calculation": _always(YES, "How to load, and src/mlproject/classifier/judging.py"),
    "interpretation": _always(NO, "a card interprets no result; a study's report does"),
    "poor input": _always(PART, "docs/errors.md: what is refused; poor image quality is not noticed"),
    "interaction": _always(NO, "what a user has to do, and to know, is not told"),
    "next steps": _always(NO, "next steps are not told"),
}
