"""Which trials count, which were lost with their process, and what the others have seen of their generators."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlproject.tuning.plan import RETRIES
from mlproject.tuning.pruning import Check

_FAILURES = 3


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the search's database has it."""

    number: int
    state: str  # COMPLETE, PRUNED, FAIL, RUNNING or WAITING
    settings: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)  # what the trial said of itself
    retries: tuple[int, ...] = ()  # numbers of the trials that this one repeats

    @property
    def checks(self) -> dict[int, Check]:
        """The figures of its generator by step."""
        return {int(step): Check(*pair) for step, pair in self.notes.get("checks", {}).items()}


def lost(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials that ended with their process and not by an error of their own, and are to be tried again."""
    repeated = {number for trial in trials for number in trial.retries}
    return [
        trial
        for trial in trials
        if trial.state == "FAIL"
        and "error" not in trial.notes
        and trial.number not in repeated
        and len(trial.retries) < RETRIES
    ]


def counted(trials: Sequence[TrialRecord]) -> int:
    """Trials of the budget that are done or at work; one that is tried again counts once."""
    repeated = {number for trial in trials for number in trial.retries} | {trial.number for trial in lost(trials)}
    return sum(trial.state != "WAITING" and trial.number not in repeated for trial in trials)


def next_place(trials: Sequence[TrialRecord]) -> int:
    """Place, from 0, of the trial that is asked for next; one that is tried again keeps the place of the first time."""
    queued = [trial for trial in trials if trial.state == "WAITING"]
    first = (queued[0].retries or (queued[0].number,))[0] if queued else len(trials)
    return sum(trial.number < first and not trial.retries for trial in trials)


def all_fail(trials: Sequence[TrialRecord]) -> bool:
    """Whether the first trials all ended by an error of their own: one and the same mistake is in every one."""
    failed = sum("error" in trial.notes for trial in trials)
    return failed >= _FAILURES and not any(trial.state == "COMPLETE" for trial in trials)


def other_generators(trials: Sequence[TrialRecord], own: str) -> list[dict[int, Check]]:
    """The figures by step of every generator but one's own, each generator once with all that trials saw of it.

    Args:
        own: the generator's key.
    """
    seen: dict[str, dict[int, Check]] = {}
    for trial in trials:
        key = trial.notes.get("generator", "")
        if key and key != own:
            seen.setdefault(key, {}).update(trial.checks)
    return [figures for figures in seen.values() if figures]


def verdict_on(trials: Sequence[TrialRecord], generator: str) -> str:
    """Why an earlier trial stopped this generator; "" when none did."""
    # the note is there before the trial's state is, which changes when another may have begun on the same generator
    for trial in trials:
        if "stopped" in trial.notes and trial.notes.get("generator") == generator:
            return str(trial.notes["stopped"])
    return ""


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials, by AUC, then the smaller second value, then number."""
    done = [trial for trial in trials if trial.state == "COMPLETE"]
    return sorted(done, key=lambda trial: (-trial.values[0], *trial.values[1:], trial.number))


def front(trials: Sequence[TrialRecord]) -> set[int]:
    """Numbers of the finished trials that no other one beats in AUC (higher) and the further values (lower)."""
    done = {trial.number: (-trial.values[0], *trial.values[1:]) for trial in trials if trial.state == "COMPLETE"}

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in done.values())

    return {number for number, mine in done.items() if not beaten(mine)}
