"""The privacy audit in several spaces and for each class, and one verdict of all."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlproject.errors import UserError
from mlproject.evaluation.generator_report import GROUPS, Sample
from mlproject.evaluation.privacy import privacy_audit

SPACES = ("pixels", "features")
_ORDER = ("passed", "undecided", "failed")


def _rows(sample: Sample, space: str) -> np.ndarray:
    rows = sample.images if space == "pixels" else sample.features
    return rows.reshape(len(rows), -1).astype(np.float64)


def audit(train: Sample, hold_out: Sample, synthetic: Sample, *, draws: int, level: float, seed: int) -> dict[str, Any]:
    """Audit a generator's images in pixels and in features.

    The verdict is the worst of the two spaces over all images. The same numbers for each class stand beside; with
    half of the subjects each they are too noisy to decide, except that a copy found in a class fails.

    Args:
        train: the generator's training images.
        hold_out: real images of other subjects from the same source.
        synthetic: the generator's images.
        draws, level, seed: of the intervals.

    Returns:
        verdict (passed, undecided, failed), reasons, and spaces: {space: {group: as `privacy_audit`, or refused}}.

    Raises:
        UserError: too few synthetic images or subjects for a verdict.
    """
    spaces: dict[str, dict[str, Any]] = {}
    verdict, reasons = "passed", []
    for space in SPACES:
        spaces[space] = {}
        for group in GROUPS:
            sets = [sample.of_class(group) for sample in (train, hold_out, synthetic)]
            rows = [_rows(sample, space) for sample in sets]
            try:
                found = privacy_audit(
                    rows[0],
                    sets[0].subjects,
                    rows[1],
                    sets[1].subjects,
                    rows[2],
                    draws=draws,
                    level=level,
                    seed=seed,
                    # pooled features hardly tell an image from its mirror image, pixels do
                    mirrored=sets[2].images[:, :, ::-1].astype(np.float64) if space == "pixels" else None,
                )
            except UserError as error:
                if group == "all":
                    raise
                spaces[space][group] = {"refused": str(error)}
                continue
            spaces[space][group] = found
            if group == "all":
                verdict = max(verdict, found["verdict"], key=_ORDER.index)
                reasons += [f"{space}: {reason}" for reason in found["reasons"]]
            elif found["numbers"]["copies"] and not spaces[space]["all"]["numbers"]["copies"]:
                verdict = "failed"
                reasons.append(f"{space}: {found['numbers']['copies']} copies among the {group} images")
    return {"verdict": verdict, "reasons": reasons, "rule": spaces[SPACES[0]]["all"]["rule"], "spaces": spaces}


def audit_text(found: Mapping[str, Any]) -> str:
    """Verdict and the numbers it stands on, a line for each space and group."""
    lines = [f"privacy audit: {found['verdict']}" + "".join(f"\n  {reason}" for reason in found["reasons"])]
    lines.append(f"  {'':22}{'copies':>8}{'attack AUC':>24}{'control':>24}{'authenticity':>14}{'of hold-out':>13}")
    for space, groups in found["spaces"].items():
        for group, numbers in groups.items():
            name = f"{space}, {group}"
            if "refused" in numbers:
                lines.append(f"  {name:22}  {numbers['refused']}")
                continue
            row = numbers["numbers"]
            attack, control = (
                f"{row[key]['value']:.3f} [{row[key]['low']:.3f}, {row[key]['high']:.3f}]"
                for key in ("attack_auc", "attack_auc_control")
            )
            authentic, held = row["authenticity"]["value"], row["authenticity_hold_out"]["value"]
            lines.append(f"  {name:22}{row['copies']:>8}{attack:>24}{control:>24}{authentic:>14.2f}{held:>13.2f}")
    return "\n".join(lines)
