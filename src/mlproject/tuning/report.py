"""What a search found, in words and tables: its trials, and whether the best settings hold on fresh seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlproject.evaluation.tables import aligned, interval_text
from mlproject.study.contrasts import MINIMUM_SEEDS, Contrast, detectable_difference, paired_contrast
from mlproject.tuning.budget import TrialRecord, front, ranked

TUNED, UNTUNED = "tuned", "untuned"


@dataclass(frozen=True)
class Pair:
    """The validation AUC of both settings on one fresh seed, and the runs of the classifiers."""

    seed: int
    tuned: float
    untuned: float
    tuned_run: str
    untuned_run: str


@dataclass(frozen=True)
class Found:
    """The result of a search.

    `best` is the best finished trial among those that are not the untuned one, which it is compared with; `contrast`
    is None where there is no interval: with too few fresh seeds, or when every difference is the same other than 0.
    """

    best: TrialRecord | None
    untuned: dict[str, Any]
    pairs: tuple[Pair, ...]
    contrast: Contrast | None
    answer: str


def choose(trials: Sequence[TrialRecord], untuned: Mapping[str, Any]) -> TrialRecord | None:
    """The best finished trial whose settings are not the untuned ones; None when there is none."""
    return next((trial for trial in ranked(trials) if trial.settings != dict(untuned)), None)


def conclude(
    best: TrialRecord | None, untuned: Mapping[str, Any], pairs: Sequence[Pair], level: float, same_subjects: bool
) -> Found:
    """The result, with an answer that claims no more than the fresh seeds carry.

    Args:
        pairs: of the fresh seeds; none when there was no confirmation.
        level: confidence level of the t interval.
        same_subjects: the fresh seeds are measured on the validation subjects that the search chose by.
    """
    if best is None:
        return Found(None, dict(untuned), tuple(pairs), None, "No trial with other than the untuned settings finished.")
    if not pairs:
        answer = (
            "Not confirmed: the best of many draws is better than it is worth; set tune.confirm_seeds to 6 or more."
        )
        return Found(best, dict(untuned), (), None, answer)
    differences = np.array([pair.tuned - pair.untuned for pair in pairs])
    if len(pairs) < MINIMUM_SEEDS:
        answer = (
            f"Mean difference {differences.mean():+.3f} over {len(pairs)} fresh seeds: an interval takes at least "
            f"{MINIMUM_SEEDS}."
        )
        return Found(best, dict(untuned), tuple(pairs), None, answer)
    contrast = paired_contrast(differences, level)
    interval = contrast.interval
    if not math.isfinite(interval.low):
        answer = f"Every one of {contrast.n} fresh seeds differs by {contrast.mean:+.3f}: that gives no interval."
        return Found(best, dict(untuned), tuple(pairs), None, answer)
    told = (
        f"{interval.value:+.3f} ({100 * level:g} % interval {interval.low:+.3f} to {interval.high:+.3f}, "
        f"{contrast.n} fresh seeds, validation AUC)"
    )
    if interval.low > 0:
        answer = f"The tuned settings are better than the untuned ones: {told}."
    elif interval.high < 0:
        answer = f"The tuned settings are worse than the untuned ones: {told}."
    else:
        answer = f"There is no evidence that the tuned settings are better or worse than the untuned ones: {told}"
        smallest = detectable_difference(contrast.sd, contrast.n, level=level)
        power = f"; the smallest true difference that these seeds had 80 % power to see is {smallest:.3f}"
        answer += f"{power if smallest else ''}."
    if same_subjects:
        answer += " The search chose by the same validation subjects, so this flatters the tuned settings."
    return Found(best, dict(untuned), tuple(pairs), contrast, answer)


def counts_text(trials: Sequence[TrialRecord]) -> str:
    """`20 trials: 15 finished (10 with a generator that was there), 5 pruned`."""
    done = ranked(trials)
    reused = sum(bool(trial.notes.get("generator_reused")) for trial in done)
    repeated = {number for trial in trials for number in trial.retries}
    parts = [f"{len(done)} finished ({reused} with a generator that was there)"]
    for state, word in (("PRUNED", "pruned"), ("FAIL", "failed"), ("RUNNING", "at work elsewhere")):
        if count := sum(trial.state == state and trial.number not in repeated for trial in trials):
            parts.append(f"{count} {word}")
    if again := len(repeated):
        parts.append(f"{again} begun again after their process ended")
    total = sum(trial.state != "WAITING" and trial.number not in repeated for trial in trials)
    return f"{total} trials: {', '.join(parts)}"


def trial_columns(trials: Sequence[TrialRecord], names: Sequence[str]) -> dict[str, list[Any]]:
    """The table of trials by column, the best first, then those that did not finish.

    Args:
        names: of the parameters.
    """
    best = front(trials)
    rows = [*ranked(trials), *(t for t in trials if t.state in ("PRUNED", "FAIL"))]
    repeated = {number for trial in trials for number in trial.retries}
    states = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return {
        "trial": [trial.number for trial in rows],
        **{name: [trial.settings.get(name) for trial in rows] for name in names},
        "val.auc": [trial.values[0] if trial.values else None for trial in rows],
        "quick.kid": [trial.notes.get("kid") for trial in rows],
        "state": ["begun again" if trial.number in repeated else states[trial.state] for trial in rows],
        "generator": ["reused" if trial.notes.get("generator_reused") else "own" for trial in rows],
        "best": [trial.number in best for trial in rows],
        "note": [str(trial.notes.get("error") or trial.notes.get("stopped") or "") for trial in rows],
        "run": [str(trial.notes.get("run", "")) for trial in rows],
    }


def trials_text(trials: Sequence[TrialRecord], names: Sequence[str]) -> str:
    """The table of trials for a terminal; * marks those that no other one beats."""
    columns = trial_columns(trials, names)
    rows = [["trial", *names, "val AUC", "KID", "generator", "state"]]
    for place, number in enumerate(columns["trial"]):
        rows.append(
            [
                f"{number}{'*' if columns['best'][place] else ''}",
                *(_cell(columns[name][place]) for name in names),
                _cell(columns["val.auc"][place], ".3f"),
                _cell(columns["quick.kid"][place], ".4f"),
                columns["generator"][place] if columns["state"][place] == "finished" else "-",
                columns["state"][place],
            ]
        )
    return "\n".join(aligned(rows))


def _cell(value: Any, form: str = "g") -> str:
    if value is None:
        return "-"
    return f"{value:{form}}" if isinstance(value, float) else str(value)


def pairs_text(found: Found) -> str:
    """The fresh seeds one by one, and their paired difference."""
    rows = [["seed", "untuned", "tuned", "difference"]]
    rows += [
        [str(pair.seed), f"{pair.untuned:.3f}", f"{pair.tuned:.3f}", f"{pair.tuned - pair.untuned:+.3f}"]
        for pair in found.pairs
    ]
    lines = aligned(rows)
    if found.contrast is not None:
        lines.append(
            f"tuned - untuned  {interval_text(found.contrast.interval)}, p {found.contrast.p_t:.3f} (t), "
            f"{found.contrast.p_sign_flip:.3f} (sign flips)"
        )
    return "\n".join(lines)
