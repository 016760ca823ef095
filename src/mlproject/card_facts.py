"""What is known of a registered version, from which its card is written, and the words of an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlproject.data import kinds

YES, PART, NO, NOT_APPLICABLE = "yes", "in part", "no", "not applicable"
Answer = tuple[str, str]  # one of the four words, and where it is told or what is missing


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
        return self.meta.get("data_kind") == kinds.PHANTOM

    @property
    def clinical(self) -> bool:
        return self.meta.get("data_kind") == kinds.CLINICAL

    @property
    def elsewhere(self) -> bool:
        """Whether it was evaluated on another data set than the one it was trained on."""
        return bool(self.evaluated_on) and self.evaluated_on != self.meta.get("data_digest")

    def has(self, prefix: str, interval: bool = False) -> bool:
        """Whether a metric with this beginning was measured, if asked with an interval."""
        ending = ".ci_low" if interval else ""
        return any(name.startswith(prefix) and name.endswith(ending) for name in self.metrics)
