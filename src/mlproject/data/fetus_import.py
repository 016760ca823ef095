"""The clinical download as a data set: labels by rule, copies out, split by subject."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mlproject.config import DataConfig
from mlproject.data import fetus_framework, kinds
from mlproject.data.checks import BOX, Problems
from mlproject.data.duplicates import ImageFacts, merge_groups, near_duplicates
from mlproject.data.importing import (
    inspect_all,
    preprocessing_of,
    source_folder,
    split_info,
    split_subjects,
    write_imported,
)
from mlproject.data.manifest import DataSet
from mlproject.data.splits import split_by_fractions, subject_labels
from mlproject.errors import UserError

_LEAST_OFFICIAL_TEST = 10


def import_fetus(config: DataConfig, out: Path, workers: int) -> DataSet:
    """Import the Dataset for Fetus Framework (see `fetus_framework` and data/README.md).

    Frames without an NT box are left out, except by the rule `plane`: Non-standard frames have none at all, so under
    that rule no frame keeps its box and each crop is the centred square, lest the way of cutting tell the label.
    Of exact duplicates the lowest number stays; near-duplicates become one subject.

    Raises:
        UserError: see `find_frames`, `read_boxes`, `fix_rule`, `write_dataset`; official test folders with too little.
    """
    root = source_folder(config.path)
    frames, foreign = fetus_framework.find_frames(root)
    plane = config.label_rule == "plane"
    boxes = {} if plane else fetus_framework.read_boxes(root)
    without_box = [] if plane else [frame.number for frame in frames if frame.number not in boxes]
    frames = [frame for frame in frames if plane or frame.number in boxes]
    if not frames:
        raise UserError(f"{root}: none of the images has an NT box in ObjectDetection.xlsx")
    inspected = inspect_all([frame.path for frame in frames], [frame.path.name for frame in frames], root, workers)
    frames, facts, removed = _without_exact_copies(frames, inspected)
    heights = {frame.number: fact.height for frame, fact in zip(frames, facts, strict=True)}
    boxes, clipped = _clip(boxes, frames, facts, root)
    rule = fetus_framework.fix_rule(
        config.label_rule, frames, boxes, heights, quantile=config.label_quantile, pixels=config.label_pixels
    )
    pairs = near_duplicates(facts, [str(frame.number) for frame in frames])
    subjects = merge_groups([str(frame.number) for frame in frames], pairs)
    rows = [
        {
            "image_path": f"images/{frame.number}{frame.path.suffix.lower()}",
            "label": rule.label(frame, boxes.get(frame.number), heights[frame.number]),
            "subject_id": subject,
            "site": frame.folder,
            **({} if plane else {"structure": "NT", **dict(zip(BOX, boxes[frame.number], strict=True))}),
        }
        for frame, subject in zip(frames, subjects, strict=True)
    ]
    table = pd.DataFrame(rows)
    table["source"] = [str(frame.path) for frame in frames]
    dropped: list[int] = []
    if config.split == "official":
        table, dropped = _official_split(table, config)
    else:
        table["split"] = split_subjects(table, config)
    info = {
        "name": "fetus-framework",
        "data_kind": kinds.CLINICAL,
        "label_rule": rule.as_info(),
        "split": split_info(config, config.split),
        "preprocessing": preprocessing_of(config),
        "source": {
            "doi": fetus_framework.DOI,
            "licence": "CC-BY-4.0",
            "exact_duplicates_removed": removed,
            "near_duplicates_merged": [
                {"images": [frames[one].number, frames[other].number], "correlation": round(value, 4)}
                for one, other, value in pairs
            ],
            "test_images_left_out_as_near_duplicates_of_training": dropped,
            "frames_without_box": without_box,
            "boxes_clipped_to_the_image": clipped,
            "files_not_of_the_release": len(foreign),
        },
    }
    return write_imported(out, table, info, workers)


def _without_exact_copies(
    frames: Sequence[fetus_framework.Frame], facts: Sequence[ImageFacts]
) -> tuple[list[fetus_framework.Frame], list[ImageFacts], list[dict[str, int]]]:
    kept: dict[str, int] = {}
    removed = []
    for position, (frame, fact) in enumerate(zip(frames, facts, strict=True)):
        first = kept.setdefault(fact.sha256, position)
        if first != position:
            removed.append({"kept": frames[first].number, "removed": frame.number})
    return [frames[place] for place in kept.values()], [facts[place] for place in kept.values()], removed


def _clip(
    boxes: dict[int, fetus_framework.Box],
    frames: Sequence[fetus_framework.Frame],
    facts: Sequence[ImageFacts],
    root: Path,
) -> tuple[dict[int, fetus_framework.Box], list[int]]:
    """Boxes cut to their image; one that lies outside altogether is refused."""
    problems = Problems(f"{root}: ObjectDetection.xlsx")
    inside, clipped = {}, []
    for frame, fact in zip(frames, facts, strict=True):
        if frame.number not in boxes:
            continue
        h_min, w_min, h_max, w_max = boxes[frame.number]
        box = (max(h_min, 0), max(w_min, 0), min(h_max, fact.height), min(w_max, fact.width))
        if box[2] <= box[0] or box[3] <= box[1]:
            size = f"{fact.height} high and {fact.width} wide"
            problems.add(f"{frame.path.name}: box {boxes[frame.number]} lies outside the image, {size}")
        if box != boxes[frame.number]:
            clipped.append(frame.number)
        inside[frame.number] = box
    problems.raise_any()
    return inside, clipped


def _official_split(table: pd.DataFrame, config: DataConfig) -> tuple[pd.DataFrame, list[int]]:
    """Set1 and Set2 to train and val, the test folders to test, less their near-duplicates of training frames."""
    training = table["site"].isin(fetus_framework.TRAINING_FOLDERS)
    leaking = ~training & table["subject_id"].isin(set(table.loc[training, "subject_id"]))
    dropped = [int(Path(path).stem) for path in table.loc[leaking, "image_path"]]
    table = table[~leaking].reset_index(drop=True)
    training = table["site"].isin(fetus_framework.TRAINING_FOLDERS)
    test = table[~training]
    labels = test["label"].tolist()
    if test["subject_id"].nunique() < _LEAST_OFFICIAL_TEST or len(set(labels)) < 2:
        raise UserError(
            f"split=official: the release's test folders hold {len(labels)} usable frames ({labels.count(0)} normal, "
            f"{labels.count(1)} anomalous) in this copy; at least {_LEAST_OFFICIAL_TEST} subjects of both classes are "
            "needed: use split=kfold"
        )
    rows = table[training]
    split = split_by_fractions(
        subject_labels(rows["subject_id"].tolist(), rows["label"].tolist()), config.val_fraction, 0, config.seed
    )
    table["split"] = [split.get(subject, "test") for subject in table["subject_id"]]
    return table, dropped
