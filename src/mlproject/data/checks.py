"""Checks of a manifest: every problem is collected with its line and told in one message."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from mlproject.data.duplicates import ImageFacts, near_duplicates
from mlproject.errors import UserError, one_line
from mlproject.plain_text import as_cells, escaped, is_fit, of_cells

REQUIRED = ("image_path", "label", "subject_id", "split")
BOX = ("h_min", "w_min", "h_max", "w_max")
SYNTHETIC = ("generator_digest", "seed", "class_name", "data_digest", "index")
COLUMNS = (*REQUIRED, "site", "structure", *BOX, "sha256", *SYNTHETIC)
SPLITS = ("train", "val", "test")
CLASS_NAMES = ("normal", "anomalous")
# text that a person gave; read and written by `read_manifest` and `manifest_text` so that no spreadsheet runs it
_GIVEN = ("subject_id", "site", "structure")
_SHOWN, _LONGEST = 10, 400
# of a 64-bit integer, in which pandas keeps whole numbers with gaps
_LARGEST = 2**63 - 1


class Problems:
    """Problems of one file, raised together."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def add(self, text: str, row: int | None = None) -> None:
        """Note a problem; `row` is the table's row from 0, told as the line of the file, whose header is line 1."""
        text = escaped(text)
        text = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
        self.found.append(text if row is None else f"line {row + 2}: {text}")

    def raise_any(self) -> None:
        """Raise one UserError that lists what was found, if anything was."""
        if len(self.found) == 1:
            raise UserError(f"{self.where}: {self.found[0]}")
        if self.found:
            shown = "\n  ".join(self.found[:_SHOWN])
            rest = len(self.found) - _SHOWN
            more = f"\n  and {rest} more" if rest > 0 else ""
            raise UserError(f"{self.where}: {len(self.found)} problems\n  {shown}{more}")


def read_rows(path: str | Path, expected: str) -> pd.DataFrame:
    """A CSV file as text, under the names of its first row.

    Args:
        expected: what the file should be, for the message when there is none.

    Raises:
        UserError: no file, no CSV, a column that stands there twice.
    """
    try:
        # the header is read as a row: pandas would rename a column that stands there twice, and shift the columns when
        # the rows are longer
        raw = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected {expected}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as CSV: {escaped(one_line(error, _LONGEST))}") from None
    # a row with too few fields has empty ones
    raw = raw.fillna("").map(str.strip)
    raw.columns = pd.Index(raw.iloc[0].tolist())
    raw = raw.iloc[1:].reset_index(drop=True)
    if twice := sorted(set(raw.columns[raw.columns.duplicated()])):
        problems = Problems(str(path))
        problems.add(f"column {', '.join(twice)} stands there twice")
        problems.raise_any()
    return raw


def read_manifest(path: Path, *, need_split: bool = True) -> pd.DataFrame:
    """A manifest.csv with typed columns; columns outside the contract are left out.

    Args:
        path: the CSV file.
        need_split: whether `split` must be there; without it, an absent column stays absent.

    Returns:
        `label` int64, box columns Int64 (absent: NA), all else text; rows in the file's order.

    Raises:
        UserError: no file, no CSV, missing columns, wrong values, all listed with their lines.
    """
    raw = read_rows(path, "a manifest.csv (data/README.md)")
    problems = Problems(str(path))
    missing = [name for name in REQUIRED if name not in raw.columns and (need_split or name != "split")]
    if missing:
        problems.add(f"column {', '.join(missing)} is missing; columns: {', '.join(raw.columns)}")
    boxes = [name for name in BOX if name in raw.columns]
    if boxes and len(boxes) < len(BOX):
        problems.add(f"a box takes all of {', '.join(BOX)}; only {', '.join(boxes)} is there")
    if raw.empty:
        problems.add("no rows")
    problems.raise_any()
    return _typed(raw[[name for name in COLUMNS if name in raw.columns]], problems)


def manifest_text(table: pd.DataFrame) -> str:
    """A manifest as CSV, as `read_manifest` reads it back."""
    given = [name for name in _GIVEN if name in table]
    return table.assign(**as_cells(table[given])).to_csv(index=False, lineterminator="\n")


def _typed(raw: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    table = raw.copy()
    for name in table:
        for row, value in enumerate(table[name]):
            if not is_fit(value):
                problems.add(f"{name} {value!r} holds a line break or a control character", row)
    given = [name for name in _GIVEN if name in table]
    table[given] = of_cells(table[given])
    for row, value in enumerate(table["label"]):
        if value not in ("0", "1"):
            problems.add(f"label {value!r} is neither 0 (normal) nor 1 (anomalous)", row)
    for row, value in enumerate(table["subject_id"]):
        if not value:
            problems.add("subject_id is empty; each image needs the subject it shows", row)
    if "split" in table:
        for row, value in enumerate(table["split"]):
            if value not in SPLITS:
                problems.add(f"split {value!r} is none of {', '.join(SPLITS)}", row)
    for name in (*BOX, "seed", "index"):
        if name in table:
            table[name] = _whole_numbers(table[name], name, problems, may_lack=name in BOX)
    if BOX[0] in table:
        given = table[list(BOX)].notna().sum(axis=1).to_numpy()
        for place in np.flatnonzero((given > 0) & (given < 4)):
            problems.add("a box with some of its four sides missing", int(place))
    problems.raise_any()
    table["label"] = table["label"].astype(np.int64)
    return table


def _whole_numbers(column: pd.Series, name: str, problems: Problems, *, may_lack: bool) -> pd.Series:
    values: list[int | None] = []
    for row, text in enumerate(column):
        value = None
        if text or not may_lack:
            try:
                # a column with gaps is often exported as 12.0
                number = float(text)
                value = int(text) if text.lstrip("-").isdigit() else int(number)
                if abs(value) > _LARGEST:
                    raise OverflowError
                if value != number and not text.lstrip("-").isdigit():
                    raise ValueError
            except (ValueError, OverflowError):
                value = None
                problems.add(f"{name} {text!r} is not a whole number", row)
        values.append(value)
    return pd.Series(values, index=column.index, dtype="Int64")


def check_paths(table: pd.DataFrame, root: Path, problems: Problems) -> None:
    """Image paths are relative, stay inside `root`, name a file, and stand there once."""
    inside = root.resolve()
    seen: dict[str, int] = {}
    for row, text in enumerate(table["image_path"]):
        path = PurePosixPath(text)
        if not text:
            problems.add("image_path is empty", row)
        elif path.is_absolute() or "\\" in text or "\0" in text or text[1:2] == ":":
            problems.add(f"image_path {text!r} must be relative to the manifest's folder, with / between folders", row)
        elif ".." in path.parts or not stays_inside(root / path, inside):
            problems.add(f"image_path {text!r} leads out of the manifest's folder", row)
        elif not _is_file(root / path):
            problems.add(f"image {text} does not exist", row)
        if text in seen:
            problems.add(f"image {text} stands in line {seen[text] + 2} already", row)
        seen.setdefault(text, row)


def stays_inside(path: Path, folder: Path) -> bool:
    """Whether a path, its symbolic links followed, ends in `folder`, which is resolved already."""
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # links that lead to one another
        return False


def files_below(root: Path, wanted: Callable[[Path], bool], problems: Problems) -> list[Path]:
    """The wanted files of a folder that someone else may have packed, sorted; hidden ones are left out.

    A link that leads out of the folder is a problem: what lies behind it was not meant to be given away.
    """
    inside = root.resolve()
    found = []
    for path in sorted(root.rglob("*")):
        if path.name.startswith(".") or not _is_file(path) or not wanted(path):
            continue
        if not stays_inside(path, inside):
            problems.add(f"{path.relative_to(root)} is a link that leads out of the folder; put the file itself there")
            continue
        found.append(path)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than a file system takes
        return False


def check_splits(table: pd.DataFrame, problems: Problems, *, synthetic: bool) -> None:
    """A subject is in one split; every split has both classes. A synthetic set is all `train`, of any class."""
    if synthetic:
        if set(table["split"]) != {"train"}:
            problems.add("synthetic images belong to train alone")
        return
    for subject, splits in table.groupby("subject_id", sort=True)["split"]:
        names = [name for name in SPLITS if name in set(splits)]
        if len(names) > 1:
            rows = ", ".join(str(splits[splits == name].index[0] + 2) for name in names)
            problems.add(f"subject {subject} is in {' and '.join(names)} (lines {rows}); each belongs to one split")
    for name in SPLITS:
        labels = set(table.loc[table["split"] == name, "label"])
        absent = [CLASS_NAMES[label] for label in (0, 1) if label not in labels]
        if absent:
            problems.add(f"split {name} has no {' and no '.join(absent)} image; each split needs both classes")


def check_boxes(table: pd.DataFrame, facts: list[ImageFacts], problems: Problems) -> None:
    """Boxes hold pixels and lie inside their image."""
    if BOX[0] not in table:
        return
    for row, (box, fact) in enumerate(zip(table[list(BOX)].itertuples(index=False), facts, strict=True)):
        if pd.isna(box[0]):
            continue
        h_min, w_min, h_max, w_max = (int(side) for side in box)
        text = f"box h {h_min}-{h_max}, w {w_min}-{w_max}"
        if h_max <= h_min or w_max <= w_min:
            problems.add(f"{text} is empty (max must exceed min)", row)
        elif h_min < 0 or w_min < 0 or h_max > fact.height or w_max > fact.width:
            problems.add(f"{text} reaches out of the image, {fact.height} high and {fact.width} wide", row)


def check_duplicates(table: pd.DataFrame, facts: list[ImageFacts], problems: Problems) -> None:
    """No picture in two splits, by content or nearly; no content under both labels."""
    first: dict[str, int] = {}
    same: set[tuple[int, int]] = set()
    for row, fact in enumerate(facts):
        other = first.setdefault(fact.sha256, row)
        if other == row:
            continue
        same.add((other, row))
        names = f"{table['image_path'][other]} (line {other + 2}) and {table['image_path'][row]} (line {row + 2})"
        if table["split"][other] != table["split"][row]:
            problems.add(f"{names} are the same file in {table['split'][other]} and {table['split'][row]}")
        if table["label"][other] != table["label"][row]:
            problems.add(f"{names} are the same file under both labels")
    if table["split"].nunique() < 2:
        return
    for one, other, value in near_duplicates(facts, table["split"].tolist()):
        if facts[one].sha256 != facts[other].sha256:
            problems.add(
                f"{table['image_path'][one]} (line {one + 2}, {table['split'][one]}) and {table['image_path'][other]} "
                f"(line {other + 2}, {table['split'][other]}) show the same picture (correlation {value:.4f}); give "
                "them one subject and one split"
            )
