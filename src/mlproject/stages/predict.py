"""Stage predict: what a classifier says of a person's own images, as a table and, when asked, as Grad-CAM pictures."""

import dataclasses
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlproject import runtime
from mlproject.classifier.explain import grad_cam_maps, overlay_png
from mlproject.classifier.inference import Classifier, load_classifier
from mlproject.classifier.judging import Judgements, judge
from mlproject.config import Configuration
from mlproject.data import kinds
from mlproject.data.boxes import check_inside, read_boxes
from mlproject.data.checks import BOX, SPLITS, Problems, files_below
from mlproject.data.crops import cut_crop, load_crops
from mlproject.data.dicom import burned_in_text_warning, is_dicom, read_dicom
from mlproject.data.images import SUFFIXES, read_grey
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError
from mlproject.files import atomic_folder, atomic_write_bytes, atomic_write_text
from mlproject.plain_text import as_cells, escaped
from mlproject.registry import ModelReference
from mlproject.stages.common import say
from mlproject.stages.data import resolve_data
from mlproject.tracking import Run

TABLE, PICTURES = "predictions.csv", "gradcam"
# an image without a box is meant as a crop; one of so many windows' size is more likely the frame around it
_WHOLE_FRAME = 1.5


@dataclass(frozen=True)
class Sheet:
    """Images to judge, row for row.

    Attributes:
        paths: str [n], relative to the folder that was given.
        frames: int [n], counted from 1 within a file.
        boxes: float32 [n, 4] in pixels, NaN where the largest centred square is judged.
        crops: uint8 [n, size, size], cut as the classifier's training images were.
    """

    paths: list[str]
    frames: list[int]
    boxes: np.ndarray
    crops: np.ndarray


def predict(
    run: Run, config: Configuration, model: ModelReference, images: str, boxes: str = "", out: str = ""
) -> pd.DataFrame:
    """Judge images and write predictions.csv, one row for each, and a folder of Grad-CAM pictures when asked.

    Args:
        images: a folder of PNG, JPEG, BMP, TIFF or DICOM files, a single file, a data set folder or `runs:/<id>`.
        boxes: CSV with image_path, h_min, w_min, h_max, w_max of a folder's whole frames; "" for none.
        out: folder to write; "" takes one under run.outputs, named by images and model.

    Returns:
        The table as it is written.

    Raises:
        UserError: nothing to judge, images that cannot be read (all are listed), boxes that do not fit, or an output
            folder that holds something else.
    """
    if not images:
        raise UserError("images: nothing was named; give a folder, a file or a data set with --images")
    source = Path(images)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", source.resolve().name) or "images"
    folder = Path(out) if out else Path(config.run.outputs) / "predictions" / f"{name}-{model.digest[:12]}"
    _check_output(folder, source)
    runtime.set_threads(config.run.threads)
    classifier = load_classifier(model.folder, model.digest, runtime.resolve_device(config.run.device))
    preprocessing = classifier.meta["preprocessing"]
    if images.startswith("runs:/") or (source / "dataset.json").is_file():
        if boxes:
            raise UserError(f"boxes {boxes}: a data set brings its own; leave --boxes out")
        sheet = _of_dataset(resolve_data(run, config, images), preprocessing, config.run.workers)
    else:
        sheet = _of_folder(source, boxes, preprocessing, config.run.workers)
    found = judge(classifier, sheet.crops)
    with atomic_folder(folder) as temporary:
        pictures = _write_pictures(temporary / PICTURES, classifier, sheet, found) if config.predict.gradcam else []
        table = _table(sheet, found, classifier, pictures)
        atomic_write_text(temporary / TABLE, table.to_csv(index=False, lineterminator="\n"))
    anomalous = int(found.decisions.sum())
    run.set_tags({"classifier_digest": model.digest, "data_kind": str(model.meta["data_kind"])})
    run.log_metrics({"predict.images": float(len(table)), "predict.anomalous": float(anomalous)})
    say(f"predict: {len(table)} images, {anomalous} called anomalous from a probability of {found.threshold:.3f} on")
    if model.meta["data_kind"] == kinds.PHANTOM:
        say("the classifier was trained on a phantom: what it says of clinical images means nothing")
    say(f"written to {folder / TABLE}" + (f" and {folder / PICTURES}" if pictures else ""))
    return table


def _of_dataset(dataset: DataSet, preprocessing: dict[str, Any], workers: int) -> Sheet:
    """The train and validation images of a data set; test is read by eval_classifier alone."""
    if dataset.preprocessing.get("applied"):
        own = {key: value for key, value in dataset.preprocessing.items() if key != "applied"}
        if own != preprocessing:
            raise UserError(
                f"data set {dataset.name} holds crops cut as {own}, the classifier was trained on {preprocessing}; "
                "draw it from a generator of the same data"
            )
        preprocessing = dataset.preprocessing
    else:
        # whole frames are cut as the classifier wants them, whatever the set was prepared for
        dataset = dataclasses.replace(dataset, info={**dataset.info, "preprocessing": preprocessing})
    left_out = len(dataset.rows("test"))
    parts = [load_crops(dataset, name, workers=workers) for name in SPLITS[:2] if len(dataset.rows(name))]
    if not parts:
        raise UserError(f"data set {dataset.name} has no train or validation images; eval_classifier reads test")
    if left_out:
        say(f"predict: {left_out} test images are left out: eval_classifier alone reads them, and counts each reading")
    paths = [str(path) for part in parts for path in part.paths]
    return Sheet(
        paths,
        [1] * len(paths),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.images for part in parts]),
    )


def _of_folder(source: Path, boxes: str, preprocessing: dict[str, Any], workers: int) -> Sheet:
    """The images of a folder in the order of their names, or one file."""
    if not source.exists():
        raise UserError(f"images {source} does not exist; give a folder of images, a file or a data set")
    root = source if source.is_dir() else source.parent
    problems = Problems(str(source))
    files = files_below(source, _is_image, problems) if source.is_dir() else [source]
    problems.raise_any()
    if not files:
        raise UserError(f"images {source}: holds no PNG, JPEG, BMP, TIFF or DICOM file")
    names = [_name(path.relative_to(root)) for path in files]
    box_of_name = read_boxes(boxes) if boxes else {}
    if strangers := sorted(set(box_of_name) - set(names)):
        raise UserError(
            f"{boxes}: {len(strangers)} of its images are not in {source} ({', '.join(strangers[:3])}); image_path is "
            "relative to the folder"
        )

    def read(pair: tuple[Path, str]) -> tuple[list[np.ndarray], str | None, bool] | UserError:
        path, name = pair
        box = box_of_name.get(name)
        try:
            if is_dicom(path):
                dicom = read_dicom(path, name)
                frames, burned_in = list(dicom.images), dicom.burned_in
            else:
                frames, burned_in = [read_grey(path, name)], None
            if box is not None:
                for frame in frames:
                    check_inside(box, frame.shape, name)
            whole = box is None and min(frames[0].shape) > _WHOLE_FRAME * preprocessing["window_px"]
            return [cut_crop(frame, box, preprocessing) for frame in frames], burned_in, whole
        except UserError as error:
            return error

    with ThreadPoolExecutor(workers or runtime.available_cores()) as pool:
        results = list(pool.map(read, zip(files, names, strict=True)))
    paths: list[str] = []
    numbers: list[int] = []
    crops: list[np.ndarray] = []
    burned_in: list[str] = []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, UserError):
            problems.add(str(result))
            continue
        paths += [name] * len(result[0])
        numbers += range(1, len(result[0]) + 1)
        crops += result[0]
        burned_in += [result[1]] if result[1] is not None else []
    problems.raise_any()
    if warning := burned_in_text_warning(burned_in):
        say(warning)
    if box_of_name and (without := len(set(names) - set(box_of_name))):
        say(f"predict: {without} of {len(names)} files have no box; their largest centred square is judged")
    if whole := sum(result[2] for result in results if not isinstance(result, UserError)):
        say(
            f"predict: {whole} of {len(names)} files have no box and are much larger than the "
            f"{preprocessing['window_px']} pixels that the classifier was trained on; if they are whole frames, give "
            "their boxes with --boxes"
        )
    none = np.full(len(BOX), np.nan, dtype=np.float32)
    return Sheet(paths, numbers, np.stack([box_of_name.get(path, none) for path in paths]), np.stack(crops))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or is_dicom(path)


def _name(relative: Path) -> str:
    """A path as one line of text that UTF-8 can hold, whatever bytes its name is made of."""
    return escaped(os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace"))


def _check_output(folder: Path, images: Path) -> None:
    """The folder is replaced as a whole: it must hold nothing but earlier predictions, and not be read next time."""
    if folder.resolve().is_relative_to(images.resolve()):
        raise UserError(f"out {folder} lies in the images {images}; choose another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out {folder} is a file; choose another folder with --out")
    if others := sorted(set(os.listdir(folder) if folder.exists() else []) - {TABLE, PICTURES}):
        raise UserError(
            f"out {folder} holds {', '.join(others[:3])}, which are no predictions; choose another with --out"
        )


def _write_pictures(folder: Path, classifier: Classifier, sheet: Sheet, found: Judgements) -> list[str]:
    """A crop with the evidence for its called class over it, for each row; returns their paths beside the table."""
    maps = grad_cam_maps(classifier, sheet.crops, found.decisions)
    pictures = []
    for row, (path, crop, heat) in enumerate(zip(sheet.paths, sheet.crops, maps, strict=True), start=1):
        name = f"{row:06d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(path).stem)[:60]}.png"
        atomic_write_bytes(folder / name, overlay_png(crop, heat))
        pictures.append(f"{PICTURES}/{name}")
    return pictures


def _table(sheet: Sheet, found: Judgements, classifier: Classifier, pictures: Sequence[str]) -> pd.DataFrame:
    names = [str(classifier.meta["class_names"][decision]) for decision in found.decisions]
    boxes = ["" if np.isnan(box).any() else ",".join(f"{side:g}" for side in box) for box in sheet.boxes]
    calibrated = found.calibrated if found.calibrated is not None else [None] * len(names)
    columns: dict[str, Any] = {
        "image_path": sheet.paths,
        "frame": sheet.frames,
        "box": boxes,
        "probability": found.probabilities,
        "calibrated": calibrated,
        "decision": found.decisions,
        "class_name": [escaped(name) for name in names],
        "threshold": found.threshold,
        "model_sha256": classifier.digest,
        "model_data_kind": escaped(str(classifier.meta["data_kind"])),
    }
    return as_cells(pd.DataFrame(columns | ({"gradcam": list(pictures)} if pictures else {})))
