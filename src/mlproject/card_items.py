"""CLAIM 2024 and TRIPOD+AI, item by item: which a model's card meets, where, and which it does not and why.

CLAIM: Checklist for Artificial Intelligence in Medical Imaging, 2024 update (Tejani et al. 2024, Radiology: Artificial
Intelligence 6:e240300). Numbers, order and sections were compared with the checklist that its publisher keeps in the
repository RSNA/CLAIM (docs/checklist.md, with what each item asks in docs/item-01.md to item-44.md); the article itself
was not read. CLAIM lets an item be "not applicable".

TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378. Numbers, order and topics were compared with two transcriptions of the
checklist dated 11 January 2024 in public repositories, which agree in all 52 parts of its 27 items; the article itself
was not read. It is about prediction models, so a generator is not held to it. Parts that ask only of studies that
develop (D) or evaluate (E) a model are all kept, since a card tells of both.

The names here are short paraphrases: read the guidelines for what an item asks. Both are made for articles.
"""

from dataclasses import dataclass

from mlproject.card_facts import Facts
from mlproject.card_rules import RULES

CLAIM, TRIPOD = "CLAIM 2024", "TRIPOD+AI"

# (number, name, rule)
CLAIM_ITEMS: tuple[tuple[str, str, str], ...] = (
    # title and abstract
    ("1", "AI methodology identified", "title"),
    ("2", "Structured summary", "abstract"),
    # introduction
    ("3", "Background, intended use and role", "background"),
    ("4", "Aims, objectives, hypotheses", "aims"),
    # methods: study design
    ("5", "Prospective or retrospective", "design"),
    ("6", "Study goal", "goal"),
    # methods: data
    ("7", "Data sources", "source"),
    ("8", "Inclusion and exclusion criteria", "eligibility"),
    ("9", "Preprocessing", "preprocessing"),
    ("10", "Subsets of the raw data, such as crops", "cropping"),
    ("11", "De-identification", "de-identification"),
    ("12", "Missing data", "missing"),
    ("13", "Image acquisition", "acquisition"),
    # methods: reference standard
    ("14", "Reference standard, definition", "reference"),
    ("15", "Reference standard, rationale", "rationale"),
    ("16", "Reference standard, source of annotations", "annotators"),
    ("17", "Annotation of the test set", "test annotation"),
    ("18", "Variability between and within raters", "raters"),
    # methods: data partitions
    ("19", "Assignment to partitions", "partition"),
    ("20", "Level at which partitions are disjoint", "level"),
    # methods: testing data
    ("21", "Intended sample size", "test size"),
    # methods: model
    ("22", "Model, detailed description", "model"),
    ("23", "Software and versions", "libraries"),
    ("24", "Initialisation of parameters", "start"),
    # methods: training
    ("25", "Training approach", "training"),
    ("26", "Selection of the final model", "selection"),
    ("27", "Ensembling", "ensemble"),
    # methods: evaluation
    ("28", "Metrics of performance", "measures"),
    ("29", "Significance and uncertainty", "uncertainty"),
    ("30", "Robustness or sensitivity analysis", "robustness"),
    ("31", "Explainability or interpretability", "explained"),
    ("32", "Evaluation on internal data", "internal"),
    ("33", "Testing on external data", "external"),
    ("34", "Clinical trial registration", "trial"),
    # results: data
    ("35", "Numbers included and excluded", "flow"),
    ("36", "Demographic and clinical characteristics", "demographics"),
    # results: model performance
    ("37", "Performance and its uncertainty", "performance"),
    ("38", "Diagnostic performance and its precision", "diagnosis"),
    ("39", "Failure analysis", "failures"),
    # discussion
    ("40", "Limitations", "limits"),
    ("41", "Implications for practice", "implications"),
    # other information
    ("42", "Protocol or further technical details", "details"),
    ("43", "Availability of software, model, data", "availability"),
    ("44", "Funding", "funding"),
)
TRIPOD_ITEMS: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", "prediction title"),
    ("2", "Abstract", "abstract"),
    # introduction
    ("3a", "Background: context and rationale", "background"),
    ("3b", "Background: target population, purpose, users", "purpose"),
    ("3c", "Background: known health inequalities", "inequalities"),
    ("4", "Objectives", "aims"),
    # methods
    ("5a", "Data: sources, rationale, representativeness", "data sources"),
    ("5b", "Data: dates", "dates"),
    ("6a", "Participants: setting and centres", "setting"),
    ("6b", "Participants: eligibility", "eligibility"),
    ("6c", "Participants: treatments", "treatments"),
    ("7", "Data preparation", "preparation"),
    ("8a", "Outcome: definition and rationale", "outcome"),
    ("8b", "Outcome: assessors", "assessors"),
    ("8c", "Outcome: blinding", "blinding"),
    ("9a", "Predictors: initial choice", "predictor choice"),
    ("9b", "Predictors: definition and measurement", "predictors"),
    ("9c", "Predictors: assessors", "assessors"),
    ("10", "Sample size", "sample size"),
    ("11", "Missing data", "missing"),
    ("12a", "Analysis: use of the data, partitions", "data use"),
    ("12b", "Analysis: handling of predictors", "preprocessing"),
    ("12c", "Analysis: type of model, building, tuning", "training"),
    ("12d", "Analysis: heterogeneity between clusters", "clusters"),
    ("12e", "Analysis: measures and plots", "measures"),
    ("12f", "Analysis: model updating", "updating"),
    ("12g", "Analysis: how predictions were calculated", "calculation"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", "fairness"),
    ("15", "Model output and thresholds", "output"),
    ("16", "Training versus evaluation data", "same data"),
    ("17", "Ethical approval", "ethics"),
    # open science
    ("18a", "Funding", "funding"),
    ("18b", "Conflicts of interest", "interests"),
    ("18c", "Protocol", "protocol"),
    ("18d", "Registration", "registration"),
    ("18e", "Data sharing", "data sharing"),
    ("18f", "Code sharing", "code"),
    ("19", "Patient and public involvement", "public"),
    # results
    ("20a", "Participants: flow", "flow"),
    ("20b", "Participants: characteristics", "demographics"),
    ("20c", "Participants: comparison with development data", "comparison"),
    ("21", "Model development: numbers in each analysis", "numbers"),
    ("22", "Model specification", "specification"),
    ("23a", "Model performance with intervals", "prediction performance"),
    ("23b", "Model performance between clusters", "clusters"),
    ("24", "Model updating, results", "updating"),
    # discussion
    ("25", "Interpretation", "interpretation"),
    ("26", "Limitations", "limits"),
    ("27a", "Usability: poor or unavailable input", "poor input"),
    ("27b", "Usability: interaction and expertise", "interaction"),
    ("27c", "Usability: next steps", "next steps"),
)


@dataclass(frozen=True)
class Verdict:
    """An item, the answer to it, and where it is told or what is missing."""

    guideline: str
    item: str  # number and name
    answer: str  # one of YES, PART, NO and NOT_APPLICABLE
    told: str


def judge_items(facts: Facts) -> list[Verdict]:
    """Every item of CLAIM, and for a classifier of TRIPOD+AI, in their order."""
    guidelines = [(CLAIM, CLAIM_ITEMS)] if facts.generator else [(CLAIM, CLAIM_ITEMS), (TRIPOD, TRIPOD_ITEMS)]
    return [
        Verdict(guideline, f"{number} {name}", *RULES[rule](facts))
        for guideline, items in guidelines
        for number, name, rule in items
    ]
