"""The public Dataset for Fetus Framework (Cui & Dong 2022, doi 10.17632/n2rbrb9t4f.1): reading its download.

The release has no outcome labels. A label is derived from its annotation by a named rule whose threshold is fixed once
on the release's training folders: "proxy derived from annotation, not a clinical outcome".
"""

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import openpyxl

from mlproject.data.checks import Problems, files_below, stays_inside
from mlproject.data.images import SUFFIXES
from mlproject.errors import UserError, one_line

DOI = "10.17632/n2rbrb9t4f.1"
PROXY = "label: proxy derived from annotation, not a clinical outcome"
WORKBOOK = "objectdetection.xlsx"
# nine structures in 1684 images make 15 156 rows, 4 MiB of XML; what is far above that is not the release's workbook
_MOST_ROWS, _MOST_COLUMNS, _MOST_BYTES, _MOST_OTHER_BYTES = 100_000, 64, 8 * 2**20, 2**20
_LARGE_PARTS = ("xl/worksheets/", "xl/sharedStrings")
# XML is read in these encodings and in those that share ASCII; only a document type can define entities
_DOCTYPE = tuple("<!DOCTYPE".encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))
_FAR = 2**31
_COLUMNS = ("fname", "structure", "h_min", "w_min", "h_max", "w_max")
# Numbers are unique across the release's folders, so a number says where an image comes from, however the folders of
# a copy are called: (first number, last number, folder, plane).
FOLDERS = (
    (0, 811, "set1", "standard"),
    (812, 1060, "set2", "standard"),
    (1061, 1371, "set2", "nonstandard"),
    (1372, 1435, "external", "standard"),
    (1436, 1527, "external", "nonstandard"),
    (1528, 1599, "internal", "standard"),
    (1600, 1683, "internal", "nonstandard"),
)
TRAINING_FOLDERS = ("set1", "set2")
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """One image file of the release.

    Attributes:
        number: the release's number of the image.
        path: where the file lies in this copy.
        folder: set1, set2, internal or external.
        plane: standard or nonstandard.
    """

    number: int
    path: Path
    folder: str
    plane: str


def find_frames(root: Path) -> tuple[list[Frame], list[str]]:
    """Image files by number, in any nesting, casing or spelling of the folders.

    Returns:
        Frames sorted by number; names of image files that are not of the release.

    Raises:
        UserError: no frames, two different files of one number, a file in a folder that its number contradicts, or a
            link that leads out of the folder.
    """
    problems = Problems(str(root))
    found: dict[int, Frame] = {}
    foreign: list[str] = []
    for path in files_below(root, lambda file: file.suffix.lower() in SUFFIXES, problems):
        digits = re.fullmatch(r"0*(\d{1,9})", path.stem)
        home = _home(int(digits.group(1))) if digits else None
        if digits is None or home is None:
            foreign.append(path.relative_to(root).as_posix())
            continue
        frame = Frame(int(digits.group(1)), path, *home)
        contradiction = _contradiction(frame, path.relative_to(root).parts[:-1])
        if contradiction:
            problems.add(f"{path.relative_to(root)} lies in a folder {contradiction}; the release numbers it {home}")
        other = found.setdefault(frame.number, frame)
        if other is not frame and other.path.read_bytes() != path.read_bytes():
            problems.add(f"number {frame.number} has two files that differ: {other.path} and {path}")
    if not found:
        problems.add(f"no images 0.png to 1683.png of the release (doi {DOI}); data/README.md says how to obtain it")
    problems.raise_any()
    return [found[number] for number in sorted(found)], foreign


def _home(number: int) -> tuple[str, str] | None:
    for first, last, folder, plane in FOLDERS:
        if first <= number <= last:
            return folder, plane
    return None


def _contradiction(frame: Frame, folders: Sequence[str]) -> str:
    """A folder name that says another plane or set than the frame's number, or ""."""
    for name in folders:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        if plain in ("standard", "nonstandard") and plain != frame.plane:
            return name
        for folder in ("set1", "set2", "internal", "external"):
            if plain.startswith(folder) and folder != frame.folder:
                return name
    return ""


def read_boxes(root: Path, structure: str = "NT") -> dict[int, Box]:
    """Boxes of one structure from ObjectDetection.xlsx below `root` or beside it.

    Returns:
        Image number -> (h_min, w_min, h_max, w_max) in pixels; h = row, w = column, maximum exclusive.

    Raises:
        UserError: no workbook, no such columns, or rows that are not boxes, listed with their row in the sheet.
    """
    candidates = sorted(path for path in root.rglob("*.xlsx") if path.name.lower() == WORKBOOK)
    candidates += sorted(path for path in root.parent.glob("*.xlsx") if path.name.lower() == WORKBOOK)
    if not candidates:
        raise UserError(
            f"{root}: ObjectDetection.xlsx is missing; it lies at the top of the download (doi {DOI}), point "
            "data.path there"
        )
    workbook = candidates[0]
    if not stays_inside(workbook, root.resolve().parent):
        raise UserError(f"{workbook} is a link that leads out of the download; put the file itself there")
    rows = _read_sheet(workbook)
    header = [str(name).strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise UserError(f"{workbook}: column {', '.join(missing)} is missing; expected {', '.join(_COLUMNS)}")
    return _boxes(rows[1:], [header.index(name) for name in _COLUMNS], structure, Problems(str(workbook)))


def _read_sheet(workbook: Path) -> list[tuple[Any, ...]]:
    """The values of the sheet ObjectDetection, or of the first one, row for row."""
    try:
        # read as a stream of bytes: the sheet is closed with it, also when a row raises
        with open(workbook, "rb") as stream:
            _refuse_bomb(stream)
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            sheet = book["ObjectDetection"] if "ObjectDetection" in book.sheetnames else book.worksheets[0]
            # the sheet says how large it is, and openpyxl fills what it says: the last row and column are given here
            rows = list(sheet.iter_rows(max_row=_MOST_ROWS + 1, max_col=_MOST_COLUMNS, values_only=True))
        if len(rows) > _MOST_ROWS:
            raise ValueError(f"more than {_MOST_ROWS} rows")
    except Exception as error:  # openpyxl raises whatever its zip and XML readers raise
        raise UserError(
            f"{workbook}: cannot be read as an Excel workbook ({one_line(error, 200)}); copy it again"
        ) from None
    return rows


def _refuse_bomb(stream: IO[bytes]) -> None:
    """Raise ValueError for a zip that unpacks to far more than the release's workbook, or XML that defines entities.

    The sizes are what the archive says; the reader takes no more than that of any part.
    """
    with zipfile.ZipFile(stream) as archive:
        parts = archive.infolist()
        large = [part for part in parts if part.filename.startswith(_LARGE_PARTS)]
        size, of_large = (sum(part.file_size for part in some) for some in (parts, large))
        if size > _MOST_BYTES or size - of_large > _MOST_OTHER_BYTES:
            raise ValueError(f"it unpacks to {size / 2**20:.0f} MiB, more than the release's workbook could")
        for part in parts:
            content = archive.read(part)
            if any(mark in content for mark in _DOCTYPE):
                raise ValueError(f"{part.filename} has a document type, which no workbook has")
    stream.seek(0)


def _boxes(
    rows: Sequence[tuple[Any, ...]], places: Sequence[int], structure: str, problems: Problems
) -> dict[int, Box]:
    boxes: dict[int, Box] = {}
    for row, values in enumerate(rows):
        name, kind, *sides = (values[place] if place < len(values) else None for place in places)
        if str(kind).strip() != structure:
            continue
        digits = re.fullmatch(r"0*(\d{1,9})(\.\w+)?", str(name).strip())
        numbers = [side for side in sides if isinstance(side, (int, float)) and abs(side) < _FAR and side == int(side)]
        if digits is None or len(numbers) < 4:
            problems.add(
                f"{str(name)[:50]!r}, {str(sides)[:100]} is no image number with four whole pixel positions", row
            )
            continue
        box = (int(numbers[0]), int(numbers[1]), int(numbers[2]), int(numbers[3]))
        number = int(digits.group(1))
        if box[2] <= box[0] or box[3] <= box[1]:
            problems.add(f"{name}: box {box} is empty (max must exceed min)", row)
        elif number in boxes and boxes[number] != box:
            problems.add(f"{name}: a second {structure} box; the release has at most one", row)
        boxes[number] = box
    problems.raise_any()
    if not boxes:
        raise UserError(f"{problems.where}: no rows of structure {structure}")
    return boxes


def box_height(box: Box) -> int:
    """Rows of a box, in pixels."""
    return box[2] - box[0]


@dataclass(frozen=True)
class LabelRule:
    """What makes a frame anomalous, and on which frames its threshold was fixed.

    Attributes:
        rule: height_median, height_quantile, relative_height_quantile, height_pixels or plane.
        threshold: of the box height in pixels (relative rule: share of the image height); None for `plane`.
        pool: name of the frames that fixed the threshold.
        pool_subjects: numbers of those frames, sorted.
    """

    rule: str
    threshold: float | None
    pool: str
    pool_subjects: tuple[int, ...]

    def label(self, frame: Frame, box: Box | None, image_height: int) -> int:
        """0 normal, 1 anomalous: above the threshold, or a non-standard plane."""
        if self.threshold is None:
            return int(frame.plane == "nonstandard")
        assert box is not None
        value = box_height(box) / image_height if self.rule == "relative_height_quantile" else box_height(box)
        return int(value > self.threshold)

    def as_info(self) -> dict[str, Any]:
        """The rule as dataset.json and every report state it."""
        what = {
            "height_median": "NT box height in pixels above the pool's median",
            "height_quantile": "NT box height in pixels above the pool's quantile",
            "relative_height_quantile": "NT box height / image height above the pool's quantile",
            "height_pixels": "NT box height in pixels above a fixed number",
            "plane": "frame of a Non-standard plane",
        }[self.rule]
        listed = ",".join(str(number) for number in self.pool_subjects)
        return {
            "rule": self.rule,
            "threshold": self.threshold,
            "pool": self.pool,
            "pool_subjects": len(self.pool_subjects),
            "pool_sha256": hashlib.sha256(listed.encode("ascii")).hexdigest(),
            "text": f"anomalous: {what}; {PROXY}",
        }


def fix_rule(
    rule: str,
    frames: Sequence[Frame],
    boxes: Mapping[int, Box],
    heights: Mapping[int, int],
    *,
    quantile: float,
    pixels: float,
) -> LabelRule:
    """Fix a rule's threshold on Set1 and Set2, whatever the split will be.

    Args:
        rule: name of the rule.
        frames: all frames, exact duplicates removed.
        boxes: NT boxes by number.
        heights: image heights by number, in pixels.
        quantile: of the two quantile rules, in (0, 1).
        pixels: threshold of `height_pixels`.

    Raises:
        UserError: Set1 and Set2 hold no box, so a threshold cannot be fixed.
    """
    if rule in ("height_pixels", "plane"):
        return LabelRule(rule, float(pixels) if rule == "height_pixels" else None, "none: the rule is fixed", ())
    pool = [frame.number for frame in frames if frame.folder in TRAINING_FOLDERS and frame.number in boxes]
    if not pool:
        raise UserError(
            f"label_rule {rule}: the folders Set1 and Set2 hold no frame with an NT box to fix its threshold on; use "
            "label_rule=height_pixels"
        )
    relative = rule == "relative_height_quantile"
    values = [box_height(boxes[number]) / (heights[number] if relative else 1) for number in pool]
    threshold = float(np.quantile(values, 0.5 if rule == "height_median" else quantile))
    return LabelRule(rule, threshold, "Set1 and Set2 with an NT box, exact duplicates removed", tuple(pool))
