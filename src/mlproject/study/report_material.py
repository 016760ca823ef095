"""What the report's sections are made from, and the texts that they share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.data import kinds
from mlproject.study import report_tables as tables
from mlproject.study import words
from mlproject.study.folder import Study
from mlproject.study.report_tables import Fits
from mlproject.study.statistics import Analysis, analysis_tables

NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Material:
    """What sections are made from."""

    folder: Path
    study: Study
    analysis: Analysis

    @property
    def design(self) -> dict[str, Any]:
        return self.analysis.design

    @property
    def arms(self) -> list[str]:
        return [str(arm) for arm in self.design["arms"]]

    @property
    def size(self) -> int:
        """Real training subjects of the primary contrast, which the sections beside it are about."""
        return self.analysis.primary.subjects

    @property
    def size_text(self) -> str:
        return words.size_text(self.size).replace("subjects", "real subjects")

    @property
    def pair(self) -> list[str]:
        """The two arms of the primary contrast."""
        return [self.analysis.primary.reference, self.analysis.primary.arm]

    @property
    def interval_name(self) -> str:
        return f"{100 * self.analysis.level:g} % interval"

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        return analysis_tables(self.analysis)

    @cached_property
    def test(self) -> Fits:
        return tables.fits_at(self.study, self.size, "test")

    @cached_property
    def validation(self) -> Fits:
        return tables.fits_at(self.study, self.size, "val")

    @property
    def one_split(self) -> bool:
        """Whether the images brought their split, which all seeds then share."""
        return self.design.get("split") == "given"

    @property
    def may_show_real(self) -> bool:
        return self.design["data_kind"] in kinds.OPEN_KINDS


def estimate(row: Any, digits: int = 3) -> str:
    """A mean with its interval."""
    if not pd.notna(row.ci_low):
        return words.number(row.mean, digits)
    return f"{words.number(row.mean, digits)} {bracketed(words.bounds(row.ci_low, row.ci_high, digits))}"


def bracketed(text: str) -> str:
    """An interval that stays on one line: a narrow column breaks before it, not in it."""
    return f"({text})".replace(" ", NO_BREAK)
