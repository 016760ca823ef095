"""Where a classifier looked: Grad-CAM on its most confident right and wrong cases, as pictures for the report.

Grad-CAM (Selvaraju et al. 2017, ICCV, doi:10.1109/ICCV.2017.74) weighs the maps of a layer by the mean gradient of the
answer. It shows where evidence was found, not that it was the right evidence; the maps are a few pixels wide and are
enlarged, so an edge in a picture is no edge in the anatomy.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
from torch import nn

from mlproject.classifier.inference import Classifier, as_input, eval_mode, modes_kept
from mlproject.classifier.network import GreyEfficientNet
from mlproject.data import kinds
from mlproject.errors import UserError
from mlproject.files import atomic_write_bytes, atomic_write_text
from mlproject.plain_text import as_cells

# below this a map says no more than "left" or "right"
MINIMUM_MAP_SIDE = 4
# what a case is called: (true label, called label)
CASE_KINDS = {
    "missed": (1, 0),
    "false_alarm": (0, 1),
    "found": (1, 1),
    "cleared": (0, 0),
}
CASES_FOLDER = Path("images") / "failures"
CASE_COLUMNS = ("file", "overlay", "kind", "label", "probability", "image_path", "subject_id", "site")
_SHOWN_PX = 192


def explained_layer(module: GreyEfficientNet, size: int) -> tuple[nn.Module, int]:
    """The deepest part of the network with maps of at least `MINIMUM_MAP_SIDE` pixels, and the side of those maps.

    An EfficientNet halves its input five times: at 64 pixels its last maps are 2 pixels wide.

    Args:
        size: side of the crops, in pixels.

    Raises:
        UserError: the crops are so small that no part has such maps.
    """
    parts: list[nn.Module] = [module.network.bn1, *module.network.blocks, module.network.bn2]
    sides: list[int] = []
    handles = [part.register_forward_hook(lambda _m, _i, maps: sides.append(int(maps.shape[-1]))) for part in parts]
    parameter = next(module.parameters())
    try:
        # the look at the sides must not move the batch norms' statistics
        with eval_mode(module):
            module(torch.zeros(1, 1, size, size, device=parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    for part, side in zip(reversed(parts), reversed(sides), strict=True):
        if side >= MINIMUM_MAP_SIDE:
            return part, side
    raise UserError(
        f"Grad-CAM: crops of {size} px give maps of at most {max(sides)} px; expected {MINIMUM_MAP_SIDE}, so train "
        "with a larger data.size or classifier.input_size"
    )


def grad_cam_maps(classifier: Classifier, images: np.ndarray, classes: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """How much each place speaks for a class, float32 [n, size, size] in [0, 1], each map scaled to its own maximum.

    Args:
        images: uint8 crops [n, size, size].
        classes: 0 or 1, [n]: the class whose evidence is shown, usually the one that was called.

    Raises:
        UserError: crops of another size than the classifier's, classes other than one 0 or 1 for each crop, or crops
            too small for a map.
    """
    classes = np.asarray(classes)
    classifier.check(images)
    if classes.shape != (len(images),) or not np.isin(classes, (0, 1)).all():
        raise UserError(f"Grad-CAM: {len(images)} crops and classes {classes.tolist()[:5]}; expected a 0 or 1 for each")
    if not len(images):
        return np.zeros((0, classifier.size, classifier.size), dtype=np.float32)
    module = classifier.module
    layer, _ = explained_layer(module, classifier.size)
    maps = []
    try:
        # GradCAM puts the network into evaluation mode
        with modes_kept(module), torch.enable_grad(), GradCAM(module, [layer]) as explain:
            for start in range(0, len(images), batch_size):
                # the input asks for its gradient, so that maps behind frozen layers have one as well
                batch = as_input(images[start : start + batch_size], classifier.device).requires_grad_()
                targets = [BinaryClassifierOutputTarget(int(label)) for label in classes[start : start + batch_size]]
                maps.append(explain(batch, targets))
    finally:
        module.zero_grad(set_to_none=True)
    return np.concatenate(maps).astype(np.float32)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The crop with its map over it, uint8 [h, w, 3]; where the map is 0 the crop shows unchanged.

    Args:
        image: uint8 [h, w].
        heat: float [h, w] in [0, 1].
    """
    grey = image[..., None].astype(np.float64).repeat(3, axis=2)
    colours = colormaps["inferno"](0.25 + 0.75 * heat)[..., :3] * 255
    share = 0.6 * heat[..., None]
    return np.rint(grey * (1 - share) + colours * share).astype(np.uint8)


def overlay_png(image: np.ndarray, heat: np.ndarray) -> bytes:
    """`overlay` as an enlarged PNG, as reports show it and predict writes it."""
    return _png(_enlarged(overlay(image, heat)))


def choose_cases(
    labels: np.ndarray, probabilities: np.ndarray, subjects: np.ndarray, threshold: float, per_kind: int
) -> dict[str, np.ndarray]:
    """The most confident cases of each kind of `CASE_KINDS`, {kind: indices}, most confident first.

    Of a subject only its most confident image of a kind is taken, so that one subject does not fill the gallery. At
    equal confidence the earlier image comes first.

    Args:
        labels: 0 or 1, [n].
        probabilities: of class 1, [n].
        subjects: [n].
        threshold: an image is called anomalous when its probability is at least this.
        per_kind: at most this many of each.
    """
    labels, probabilities, subjects = np.asarray(labels), np.asarray(probabilities), np.asarray(subjects)
    called = (probabilities >= threshold).astype(int)
    chosen = {}
    for kind, (label, answer) in CASE_KINDS.items():
        indices = np.flatnonzero((labels == label) & (called == answer))
        confidence = probabilities[indices] if answer == 1 else 1 - probabilities[indices]
        indices = indices[np.argsort(-confidence, kind="stable")]
        _, first = np.unique(subjects[indices], return_index=True)
        chosen[kind] = indices[np.sort(first)][:per_kind]
    return chosen


def write_cases(
    folder: Path,
    classifier: Classifier,
    images: np.ndarray,
    table: pd.DataFrame,
    threshold: float,
    data_kind: str,
    per_kind: int = 4,
) -> int:
    """Write the gallery of right and wrong cases into `folder/images/failures/`: crops, overlays and cases.csv.

    Args:
        folder: the study's folder, or any other.
        images: uint8 crops [n, size, size].
        table: one row for each crop: image_path, subject_id, site, label, probability.
        threshold: of the call.
        data_kind: of the data set; nothing is written for kinds whose pixels are not free to be shown.
        per_kind: at most this many cases of each kind.

    Returns:
        How many cases were written.
    """
    if data_kind not in kinds.OPEN_KINDS:
        return 0
    target = Path(folder) / CASES_FOLDER
    chosen = choose_cases(
        table["label"].to_numpy(), table["probability"].to_numpy(), table["subject_id"].to_numpy(), threshold, per_kind
    )
    indices = np.concatenate(list(chosen.values())).astype(int)
    called = np.repeat([CASE_KINDS[kind][1] for kind in chosen], [len(found) for found in chosen.values()])
    heat = dict(zip(indices.tolist(), grad_cam_maps(classifier, images[indices], called), strict=True))
    rows: list[Mapping[str, object]] = []
    for kind, found in chosen.items():
        for rank, index in enumerate(found.tolist(), start=1):
            row = table.iloc[index]
            names = {"file": f"{kind}-{rank}.png", "overlay": f"{kind}-{rank}-gradcam.png"}
            atomic_write_bytes(target / names["file"], _png(_enlarged(images[index])))
            atomic_write_bytes(target / names["overlay"], overlay_png(images[index], heat[index]))
            rows.append({**names, "kind": kind, **{name: row[name] for name in CASE_COLUMNS[3:]}})
    cases = pd.DataFrame(rows, columns=list(CASE_COLUMNS))
    text = as_cells(cases).to_csv(index=False, float_format="%.17g", lineterminator="\n")
    atomic_write_text(target / "cases.csv", text)
    return len(rows)


def _png(image: np.ndarray) -> bytes:
    """uint8 [h, w], or red, green and blue [h, w, 3], as PNG."""
    done, content = cv2.imencode(".png", image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1]))
    assert done
    return content.tobytes()


def _enlarged(image: np.ndarray) -> np.ndarray:
    """By a whole number and without smoothing: every pixel of the crop stays a square of its own grey."""
    factor = max(1, _SHOWN_PX // image.shape[1])
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
