"""The phantom as a data set: which subjects go where, and their frames drawn by several processes."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mlproject.data.checks import BOX, COLUMNS
from mlproject.data.images import encode_png
from mlproject.data.phantom import draw_subjects, limit_threads, render_subject
from mlproject.errors import UserError

# Each split has its own range of the one stream of subjects, so that its subjects stay the same when another split
# grows. The ranges are wider than the largest split that the configuration allows.
SPLIT_RANGE = 10_000_000
SEEN_SITES = ("A", "B")
UNSEEN_SITE = ("C",)
TRUTH = "truth.csv"
_CHUNK = 4

# of a table, column by column
Rows = list[dict[str, Any]]

LABEL_RULE = {
    "rule": "phantom_thickness_q95",
    "threshold": None,
    "pool": "none: by construction",
    "text": "anomalous: measured thickness of the drawn translucency at or above the 95th centile for its crown-rump "
    "length; phantom, not clinical",
}


def subject_name(seed: int, index: int) -> str:
    """Subject id that names the seed as well: subject 5 of seed 0 and of seed 1 are two subjects."""
    return f"phantom-{seed}-{index:08d}"


def draw_splits(
    seed: int, n_train: int, n_val: int, n_test: int, n_unseen_site: int, prevalence: float
) -> list[tuple[str, Any]]:
    """(split, subject) of the whole data set; subjects of the unseen site come last and belong to test."""
    parts = (
        ("train", n_train, SEEN_SITES),
        ("val", n_val, SEEN_SITES),
        ("test", n_test, SEEN_SITES),
        ("test", n_unseen_site, UNSEEN_SITE),
    )
    chosen = []
    for number, (split, n, sites) in enumerate(parts):
        if n:
            subjects = draw_subjects(seed, n, sites, prevalence, first_index=number * SPLIT_RANGE)
            chosen += [(split, subject) for subject in subjects]
    return chosen


def render_into(folder: Path, seed: int, chosen: list[tuple[str, Any]], frames: int) -> tuple[Rows, Rows]:
    """Draw the frames of some subjects as PNGs under `folder/images`.

    Returns:
        Rows of the manifest, and rows of the truth, which never enters the manifest.
    """
    rows, truths = [], []
    for split, subject in chosen:
        name = subject_name(seed, subject.index)
        for number, frame in enumerate(render_subject(seed, subject, frames)):
            image_path = f"images/{split}/{name}-{number}.png"
            (folder / image_path).write_bytes(encode_png(frame.image))
            rows.append(
                {
                    "image_path": image_path,
                    "label": int(subject.label),
                    "subject_id": name,
                    "split": split,
                    "site": subject.site,
                    "structure": "NT",
                    **dict(zip(BOX, (int(side) for side in frame.box), strict=True)),
                }
            )
            hidden = {key: value for key, value in frame.truth.items() if key not in COLUMNS}
            truths.append({"image_path": image_path, "subject_id": name, **hidden})
    return rows, truths


def write_phantom(
    folder: Path,
    seed: int,
    chosen: list[tuple[str, Any]],
    frames: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    """Draw every subject into `folder` with `workers` processes (1: in this one) and write truth.csv beside.

    The frames do not depend on the number of processes: each is keyed by seed, subject and frame.

    Returns:
        The manifest's rows, in the order of `chosen`.

    Raises:
        UserError: a process died.
    """
    for split in {split for split, _ in chosen}:
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    chunks = [chosen[start : start + _CHUNK] for start in range(0, len(chosen), _CHUNK)]
    rows: Rows = []
    truths: Rows = []
    done = 0
    progress(0, len(chosen))
    with _mapping(workers) as spread:
        n = len(chunks)
        for chunk, (new_rows, new_truths) in zip(
            chunks, spread(render_into, [folder] * n, [seed] * n, chunks, [frames] * n), strict=True
        ):
            rows += new_rows
            truths += new_truths
            done += len(chunk)
            progress(done, len(chosen))
    pd.DataFrame(truths).to_csv(folder / TRUTH, index=False, lineterminator="\n")
    return pd.DataFrame(rows)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    if workers == 1:
        yield map
        return
    # spawn: a forked copy of a process that has run torch may hang in its thread pools
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=limit_threads) as pool:
        try:
            yield pool.map
        except BrokenProcessPool:
            raise UserError(
                f"phantom: one of the {workers} processes that draw it died, perhaps killed because memory ran out; "
                "nothing was written: start again with fewer run.workers"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
