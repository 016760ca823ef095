"""Crops: what the models see, cut once from the frames and held in memory."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import zoom

from mlproject.data.checks import BOX, SPLITS
from mlproject.data.images import read_grey
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.runtime import available_cores

# the settings that decide how a crop is cut, as `data` and dataset.json name them
PREPROCESSING = ("crop", "window_px", "size", "clahe_clip", "clahe_tiles")


@dataclass(frozen=True)
class Crops:
    """Crops of one split, row for row.

    Attributes:
        images: uint8 [n, size, size], cut, resized and equalised.
        labels: int64 [n], 0 normal, 1 anomalous.
        subjects: str [n].
        paths: str [n], relative to the data set's folder.
        sites: str [n], "" where unknown.
        boxes: float32 [n, 4], h_min, w_min, h_max, w_max in pixels of the frame, NaN where absent.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    paths: np.ndarray
    sites: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray) -> "Crops":
        """The rows of a boolean mask or an index array, in its order."""
        return Crops(
            self.images[rows],
            self.labels[rows],
            self.subjects[rows],
            self.paths[rows],
            self.sites[rows],
            self.boxes[rows],
        )


def empty_crops(size: int) -> Crops:
    """No crops of side `size`: the real part of a purely synthetic mix."""
    text = np.zeros(0, dtype=str)
    return Crops(
        np.zeros((0, size, size), dtype=np.uint8),
        np.zeros(0, dtype=np.int64),
        text,
        text,
        text,
        np.zeros((0, 4), dtype=np.float32),
    )


def cut_crop(image: np.ndarray, box: np.ndarray | None, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Cut, resize and equalise one frame.

    `crop: square` takes a window of `window_px` around the box's centre, at the frame's own scale; at the border it
    is shifted inward, and a frame smaller than the window is mirrored at its edges. `crop: box` takes the box alone
    and stretches it, which leaks its height. Without a box either takes the largest centred square of the frame.

    Args:
        image: uint8 [height, width].
        box: h_min, w_min, h_max, w_max in pixels (maximum exclusive); None or NaN where there is none.
        preprocessing: crop, window_px, size, clahe_clip (0: no CLAHE), clahe_tiles; with `applied` true the image is
            a crop already and is taken as it is.

    Returns:
        uint8 [size, size].

    Raises:
        UserError: an applied crop of another size; a box that holds no pixel of the image.
    """
    size = int(preprocessing["size"])
    if preprocessing.get("applied"):
        if image.shape != (size, size):
            raise UserError(f"a prepared crop is {image.shape[0]}x{image.shape[1]} pixels, expected {size}x{size}")
        return image
    if box is None or np.isnan(box).any():
        side = min(image.shape)
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        cut = image[top : top + side, left : left + side]
    elif preprocessing["crop"] == "box":
        h_min, w_min, h_max, w_max = (int(side) for side in box)
        cut = image[max(h_min, 0) : max(h_max, 0), max(w_min, 0) : max(w_max, 0)]
        if cut.size == 0:
            raise UserError(
                f"box h {h_min}-{h_max}, w {w_min}-{w_max} holds no pixel of an image of "
                f"{image.shape[0]}x{image.shape[1]} (height x width)"
            )
    else:
        cut = _window(image, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, int(preprocessing["window_px"]))
    crop = _resize(cut, size)
    if preprocessing["clahe_clip"] > 0:
        tiles = int(preprocessing["clahe_tiles"])
        crop = cv2.createCLAHE(float(preprocessing["clahe_clip"]), (tiles, tiles)).apply(crop)
    return crop


def surroundings_scale(preprocessing: Mapping[str, Any]) -> int:
    """Pixels of a frame in a pixel of a crop that can be cut anew, a whole number; 0 where crops cannot be."""
    size, window = int(preprocessing["size"]), int(preprocessing["window_px"])
    plain = preprocessing["crop"] == "square" and not preprocessing.get("applied") and not preprocessing["clahe_clip"]
    return window // size if plain and window % size == 0 else 0


def cut_surroundings(
    image: np.ndarray, box: np.ndarray | None, preprocessing: Mapping[str, Any], reach: int
) -> np.ndarray:
    """Every pixel that a crop could have, were it cut up to `reach` of its pixels away, in steps of the frame's pixels.

    The frame is mirrored where it ends. Where a crop cannot be cut anew from it (`crop: box`, CLAHE, a scale that is no
    whole number, no box) the crop's own edges are mirrored, and what lies between its pixels is interpolated.

    Args:
        image, box, preprocessing: as for `cut_crop`.
        reach: pixels of the crop.

    Returns:
        uint8 [k (size + 2 reach - 1) + 1] squared with k = `surroundings_scale`, or 1 where that is 0: means over k x k
        pixels of the frame. Every k-th pixel from k reach on is the crop.
    """
    scale, size = surroundings_scale(preprocessing), int(preprocessing["size"])
    if scale == 0 or box is None or np.isnan(box).any():
        mirrored = np.pad(cut_crop(image, box, preprocessing), reach, mode="reflect")
        between = max(scale, 1) * (len(mirrored) - 1) + 1
        return zoom(mirrored, between / len(mirrored), order=1)
    side, around = scale * size, scale * reach
    image, top, left = _placed(image, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side)
    wider = cv2.copyMakeBorder(image, around, around, around, around, cv2.BORDER_REFLECT_101)
    means = wider[top : top + side + 2 * around, left : left + side + 2 * around]
    for axis in (0, 1):
        # as `_resize` does: an axis after the other, each rounded to whole grey levels, halves to even ones
        means = np.rint(sliding_window_view(means, scale, axis).mean(axis=-1, dtype=np.float32)).astype(np.uint8)
    return means


def _window(image: np.ndarray, centre_h: float, centre_w: float, side: int) -> np.ndarray:
    image, top, left = _placed(image, centre_h, centre_w, side)
    return image[top : top + side, left : left + side]


def _placed(image: np.ndarray, centre_h: float, centre_w: float, side: int) -> tuple[np.ndarray, int, int]:
    """The image, mirrored where it is smaller than the window, and the window's first row and column in it."""
    missing = [max(0, side - length) for length in image.shape]
    before = [(count + 1) // 2 for count in missing]
    if any(missing):
        image = cv2.copyMakeBorder(
            image,
            before[0],
            missing[0] - before[0],
            before[1],
            missing[1] - before[1],
            cv2.BORDER_REFLECT_101,
        )
    top, left = (
        # a mirrored axis is as long as the window and leaves no choice
        int(np.clip(round(float(centre) - side / 2), 0, length - side))
        for centre, length in zip((centre_h, centre_w), image.shape, strict=True)
    )
    return image, top, left


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    # each axis on its own: a flat box shrinks across and grows down, and area averaging is only for shrinking
    for axis in (0, 1):
        length = image.shape[axis]
        if length != size:
            width, height = (image.shape[1], size) if axis == 0 else (size, image.shape[0])
            interpolation = cv2.INTER_AREA if length > size else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=interpolation)
    return np.ascontiguousarray(image)


def load_surroundings(dataset: DataSet, crops: Crops, reach: int, *, workers: int = 0) -> np.ndarray:
    """`cut_surroundings` of crops of a data set, row for row.

    Args:
        crops: of `dataset`.
        reach: see there.
        workers: threads; 0 takes every core.

    Returns:
        uint8 [n, side, side].
    """
    cut = functools.partial(cut_surroundings, reach=reach)
    return _cut_all(dataset, crops.paths.tolist(), crops.boxes, cut, workers)


def _cut_all(
    dataset: DataSet, paths: Sequence[str], boxes: np.ndarray, cut: Callable[..., np.ndarray], workers: int
) -> np.ndarray:
    """What `cut(image, box, preprocessing)` makes of every image, read and cut by that many threads."""

    def cut_one(pair: tuple[str, np.ndarray]) -> np.ndarray:
        path, box = pair
        try:
            return cut(read_grey(dataset.root / path, path), box, dataset.preprocessing)
        except UserError as error:
            raise UserError(f"data set {dataset.name}, image {path}: {error}") from None

    with ThreadPoolExecutor(workers or available_cores()) as pool:
        return np.stack(list(pool.map(cut_one, zip(paths, boxes, strict=True))))


def load_crops(dataset: DataSet, split: str, *, workers: int = 0) -> Crops:
    """Decode and cut every image of one split, in the manifest's order.

    Args:
        dataset: a loaded data set; its `preprocessing` says how crops are cut.
        split: train, val or test.
        workers: threads; 0 takes every core.

    Raises:
        UserError: the split has no images; an image that is not the prepared crop it claims to be.
    """
    assert split in SPLITS
    rows = dataset.rows(split)
    if rows.empty:
        raise UserError(f"data set {dataset.name}: split {split} has no images")
    boxes = np.full((len(rows), 4), np.nan, dtype=np.float32)
    if BOX[0] in rows:
        boxes[:] = rows[list(BOX)].to_numpy(dtype=np.float32, na_value=np.nan)
    return Crops(
        images=_cut_all(dataset, rows["image_path"].tolist(), boxes, cut_crop, workers),
        labels=rows["label"].to_numpy(dtype=np.int64),
        subjects=np.array(rows["subject_id"].tolist(), dtype=str),
        paths=np.array(rows["image_path"].tolist(), dtype=str),
        sites=np.array(rows["site"].tolist() if "site" in rows else [""] * len(rows), dtype=str),
        boxes=boxes,
    )
