"""Fair timing: ours and the reference in turns, so that what else the machine does falls on both; then medians."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is how many times better ours is, whichever way the unit counts."""

    ours: float
    reference: float
    unit: str
    ratio: float


def seconds_row(ours: float, reference: float, unit: str) -> Row:
    """A row whose figures are better when they are smaller."""
    return Row(ours, reference, unit, reference / ours)


def rate_row(ours: float, reference: float, unit: str) -> Row:
    """A row whose figures are better when they are larger."""
    return Row(ours, reference, unit, ours / reference)


@dataclass(frozen=True)
class Budget:
    """A row ends after so many turns, or after the first turn that ends past `seconds`."""

    turns: int
    seconds: float


class Enough(Exception):  # noqa: N818 - a signal, not an error
    """Raised out of a training loop when its row has been timed."""


class Turns:
    """Times a training loop from inside: given as its `progress`, it runs the reference between the loop's steps.

    A turn is `steps` steps of the loop, then one call of `reference`. The first turn warms both up and is not counted.
    """

    def __init__(self, reference: Callable[[], object], budget: Budget, steps: int = 1) -> None:
        self.reference, self.budget, self.steps = reference, budget, steps
        self.ours_s: list[float] = []
        self.reference_s: list[float] = []
        self._warm = False
        self._begun = self._resumed = 0.0

    def __call__(self, done: int, _total: int = 0) -> None:
        now = time.perf_counter()
        if done and done % self.steps == 0:
            self.reference()
            after = time.perf_counter()
            if self._warm:
                self.ours_s.append(now - self._resumed)
                self.reference_s.append(after - now)
            else:
                self._warm, self._begun = True, after
            if len(self.ours_s) >= self.budget.turns or (self.ours_s and after - self._begun > self.budget.seconds):
                raise Enough
        elif done:
            return
        self._resumed = time.perf_counter()

    def medians(self) -> tuple[float, float]:
        """Seconds of ours for `steps` steps, and of one reference."""
        return statistics.median(self.ours_s), statistics.median(self.reference_s)


def in_turns(ours: Callable[[], object], reference: Callable[[], object], budget: Budget) -> tuple[float, float]:
    """Median seconds of two callables, called in turns after one call of each that is not counted."""
    turns = Turns(reference, budget)
    turns(0)
    try:
        for done in range(1, budget.turns + 2):
            ours()
            turns(done)
    except Enough:
        pass
    return turns.medians()


def matrix_peak(dtype: torch.dtype, side: int, repeats: int = 10) -> float:
    """The machine's own peak, operations a second: the fastest of some products of square matrices."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=draw).to(dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(left, right)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


class OperationCount(TorchDispatchMode):
    """Counts the floating-point operations of products and convolutions that run inside its `with` block.

    PyTorch's own formulas; its FlopCounterMode itself cannot look into `torch.autograd.grad`, of which the penalty is
    made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result
