"""How the report says things: names of arms and metrics, numbers, p values."""

import math
import re

from mlproject.evaluation.tables import metric_title

_ARMS = {
    "real": "Real",
    "real_augmented": "Augmented real",
    "synthetic": "Synthetic only",
    "hybrid_tuned": "Tuned hybrid",
    "oversample_real": "Oversampled real",
    "oversample_synthetic": "Oversampled synthetic",
}
_ARMS_AT_LENGTH = {
    "real": "Real images, no augmentation.",
    "real_augmented": "Real images with classical augmentation, its strength tuned on validation.",
    "synthetic": "Synthetic images alone; the generator saw the same real subjects.",
    "hybrid_tuned": "Real and synthetic images; their shares tuned on validation, in as many trials as augmentation.",
    "oversample_real": "Real images; the rarer class repeated until both are equally frequent.",
    "oversample_synthetic": "Real images; the rarer class filled up with synthetic ones.",
}
_HYBRID = re.compile(r"hybrid_([\d.]+)_(add|replace)")
_SPLITS = {"val": "validation", "test": "test", "unseen": "unseen site"}
MINUS = "\N{MINUS SIGN}"


def arm_title(arm: str) -> str:
    """An arm as a label: `hybrid_0.5_add` is "Hybrid 0.5 added"; an unknown name stays as it is."""
    if found := _HYBRID.fullmatch(arm):
        return f"Hybrid {found[1]} {'added' if found[2] == 'add' else 'replacing'}"
    return _ARMS.get(arm, arm)


def arm_at_length(arm: str) -> str:
    """What an arm trains on, in a sentence; "" for an unknown name."""
    if found := _HYBRID.fullmatch(arm):
        kept = "every real image is kept" if found[2] == "add" else "the real images shrink by that share"
        return f"An expected share of {percent(float(found[1]))} of synthetic images in a batch; {kept}."
    return _ARMS_AT_LENGTH.get(arm, "")


def size_text(subjects: int, noun: str = "subjects") -> str:
    """A number of training subjects; 0 stands for all that there are."""
    return f"{subjects or 'all'} {noun}"


def by_size(subjects: int) -> float:
    """Sorts numbers of training subjects: 0, which is all, comes last."""
    return float(subjects) if subjects else math.inf


def split_title(split: str) -> str:
    """`val` is "validation"."""
    return _SPLITS.get(split, split)


def number(value: object, digits: int = 3) -> str:
    """A figure with a true minus sign; an en dash where there is none."""
    if value is None or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    # a rounded zero carries no sign
    return f"{value + 0.0:.{digits}f}".replace(f"-{0:.{digits}f}", f"{0:.{digits}f}").replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """A difference, always with its sign: `+0.012`."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or text == "–" else f"+{text}"


def bounds(low: float, high: float, digits: int = 3, with_sign: bool = False) -> str:
    """`0.887 to 0.934`."""
    say = signed if with_sign else number
    return f"{say(low, digits)} to {say(high, digits)}"


def percent(share: float, digits: int = 0) -> str:
    """A share in per cent: `50 %`."""
    return f"{100 * share:.{digits}f} %"


def p_value(value: float | None) -> str:
    """`0.031`, `< 0.001`."""
    if value is None or not math.isfinite(value):
        return "–"
    return "<\N{NO-BREAK SPACE}0.001" if value < 0.001 else f"{value:.3f}"


def metric_label(metric: str) -> str:
    """A metric as a label: AUC, F1, Brier score, ECE."""
    return {"brier": "Brier score", "ece": "ECE"}.get(metric, metric_title(metric))
