"""What the classifiers would be worth in use: calibration, operating points, predictive values, net benefit.

Everything is taken for each fit on subject averages, what is chosen being chosen on validation, and averaged over
seeds with a t interval, as everything else in the study.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject.evaluation.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    logits_of,
    reliability,
)
from mlproject.evaluation.decision_curve import decision_curve, predictive_values
from mlproject.evaluation.metrics import binary_metrics
from mlproject.evaluation.operating_point import point_at_specificity, youden_point
from mlproject.study.report_tables import Fits, per_arm

SPECIFICITY = 0.95
RULES = {"youden": "Youden", "specificity_95": "95 % specificity"}


def screening_prevalence(design: Mapping[str, Any]) -> float | None:
    """The share of anomalous subjects that the user expects where the classifier would be used; None if not given."""
    given = design.get("config", {}).get("study", {}).get("screening_prevalence")
    return float(given) if given and 0 < float(given) < 1 else None


def scaled(validation: Fits, test: Fits) -> dict[tuple[str, int], tuple[pd.DataFrame, float]]:
    """The test rows of each fit with probabilities after temperature scaling, and the temperature of its validation.

    Fits without validation rows are left out.
    """
    found = {}
    for key, fit in test.items():
        if key not in validation:
            continue
        own = validation[key]
        temperature = fit_temperature(own["label"].to_numpy(), logits_of(own["probability"].to_numpy()))
        after = apply_temperature(logits_of(fit["probability"].to_numpy()), temperature)
        found[key] = (fit.assign(probability=after), temperature)
    return found


def calibration_table(validation: Fits, test: Fits, arms: Sequence[str], level: float) -> pd.DataFrame:
    """ECE and Brier score of each arm before and after temperature scaling, and the temperature.

    Returns:
        Columns arm, figure (ece_before, ece_after, brier_before, brier_after, temperature), seeds, mean, ci_low,
        ci_high.
    """
    after = scaled(validation, test)

    def figures(arm: str, seed: int, fit: pd.DataFrame) -> dict[str, float]:
        own, temperature = after[arm, seed]
        found = {}
        for when, rows in (("before", fit), ("after", own)):
            labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
            found[f"ece_{when}"] = expected_calibration_error(labels, probabilities)
            found[f"brier_{when}"] = float(np.mean((probabilities - labels) ** 2))
        return found | {"temperature": temperature}

    return per_arm({key: test[key] for key in after}, arms, level, figures)


def reliability_table(validation: Fits, test: Fits, arms: Sequence[str], level: float) -> pd.DataFrame:
    """Reliability curves of the given arms, the test subjects of all seeds together.

    Returns:
        Columns arm, scaling (before, after), predicted, observed, count.
    """
    after = scaled(validation, test)
    parts = []
    for arm in arms:
        for scaling in ("before", "after"):
            fits = [
                (test[key] if scaling == "before" else rows, key[1])
                for key, (rows, _) in after.items()
                if key[0] == arm
            ]
            if not fits:
                continue
            pooled = pd.concat([rows.assign(owner=f"{seed}/" + rows["subject_id"]) for rows, seed in fits])
            curve = reliability(
                pooled["label"].to_numpy(), pooled["probability"].to_numpy(), pooled["owner"].to_numpy(), level
            )
            parts.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "scaling": scaling,
                        "predicted": curve.predicted,
                        "observed": curve.observed,
                        "count": curve.rows,
                    }
                )
            )
    columns = ["arm", "scaling", "predicted", "observed", "count"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def operating_table(
    validation: Fits, test: Fits, arms: Sequence[str], level: float, prevalence: float | None
) -> pd.DataFrame:
    """Sensitivity and specificity on test at thresholds that validation chose, and predictive values if asked.

    Args:
        prevalence: share of anomalous subjects that predictive values hold for; None leaves them out.

    Returns:
        Columns arm, rule, figure (threshold, sensitivity, specificity, ppv, npv), seeds, mean, ci_low, ci_high; bounds
        of shares are cut at 0 and 1.
    """
    chosen = {key: fit for key, fit in test.items() if key in validation}
    parts = []
    for rule in RULES:

        def figures(arm: str, seed: int, fit: pd.DataFrame, rule: str = rule) -> dict[str, float]:
            own = validation[arm, seed]
            candidates = own["label"].to_numpy(), own["probability"].to_numpy()
            point = youden_point(*candidates) if rule == "youden" else point_at_specificity(*candidates, SPECIFICITY)
            labels = fit["label"].to_numpy()
            scores = binary_metrics(labels, fit["probability"].to_numpy(), point.threshold)
            found = {
                "threshold": point.threshold,
                "sensitivity": scores["recall"],
                "specificity": scores["specificity"],
            }
            if prevalence is not None:
                positives, negatives = int(labels.sum()), int((labels == 0).sum())
                hits, quiet = round(scores["recall"] * positives), round(scores["specificity"] * negatives)
                values = predictive_values(hits, positives, quiet, negatives, prevalence, level)
                found |= {name: interval.value for name, interval in values.items()}
            return found

        parts.append(per_arm(chosen, arms, level, figures).assign(rule=rule))
    table = pd.concat(parts, ignore_index=True)
    return table[["arm", "rule", "figure", "seeds", "mean", "ci_low", "ci_high"]]


def decision_table(
    validation: Fits, test: Fits, arms: Sequence[str], prevalence: float | None
) -> tuple[pd.DataFrame, float]:
    """Net benefit of each arm after temperature scaling, averaged over seeds, with calling everyone and no one.

    Args:
        prevalence: share of anomalous subjects that the curves hold for; None: the test sample's own.

    Returns:
        Columns strategy (an arm, all, none), threshold, net_benefit; and the prevalence. Thresholds reach three times
        the prevalence, and at least 0.2: beyond, nobody would act.
    """
    curves: dict[str, list[np.ndarray]] = {}
    after = scaled(validation, test)
    shares = [float(fit["label"].mean()) for fit, _ in after.values()]
    share = prevalence if prevalence is not None else float(np.mean(shares)) if shares else 0.5
    grid = np.arange(1, 100) / 100
    grid = grid[grid <= max(0.2, min(0.99, 3 * share)) + 1e-9]
    for (arm, _), (fit, _) in after.items():
        labels, probabilities, subjects = (fit[name].to_numpy() for name in ("label", "probability", "subject_id"))
        # one draw: bounds of a single test set are not shown, the seeds are the replicates
        found = decision_curve(
            labels, probabilities, subjects, draws=1, level=0.95, seed=0, thresholds=grid.tolist(), prevalence=share
        )
        curves.setdefault(arm, []).append(found.net_benefit)
    means = {arm: np.mean(curves[arm], axis=0) for arm in arms if arm in curves}
    if means:
        means |= {"all": share - (1 - share) * grid / (1 - grid), "none": np.zeros_like(grid)}
    parts = [
        pd.DataFrame({"strategy": name, "threshold": grid, "net_benefit": values}) for name, values in means.items()
    ]
    columns = ["strategy", "threshold", "net_benefit"]
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)), share
