"""A synthetic data set: PNGs at true grey levels, and for each its generator, seed, class and data digest."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlproject.data import kinds
from mlproject.data.images import encode_png, grid
from mlproject.data.manifest import DataSet, write_dataset
from mlproject.errors import UserError
from mlproject.files import atomic_write_bytes
from mlproject.gan.sampling import Generator
from mlproject.runtime import available_cores

GRID_NAME = "grid.png"
GRID_COLUMNS = 16
GRID_ROWS_PER_CLASS = 4
# what generator.json must tell for a synthetic set to be used
_NEEDED = ("data_digest", "data_kind", "train_subjects", "preprocessing")


def write_synthetic(
    generator: Generator,
    out: str | Path,
    per_class: int,
    class_name: str,
    seed: int,
    batch_size: int,
    workers: int = 0,
) -> DataSet:
    """Draw images and write them as a data set folder with `grid.png` beside the manifest, whole or not at all.

    Args:
        generator: a loaded generator; its generator.json names data, subjects and preprocessing.
        out: the folder; replaced when it exists.
        per_class: images of each class; the first n are the same for every larger number.
        class_name: `both` or one of the generator's classes.
        seed: seed of the random inputs.
        batch_size: images drawn before any is written; the images do not depend on it.
        workers: threads that encode and write; 0 takes every core.

    Raises:
        UserError: an unknown class, a generator that does not name its data, or a place that cannot be written.
    """
    classes = list(generator.class_names) if class_name == "both" else [class_name]
    if not set(classes) <= set(generator.class_names):
        raise UserError(f"class {class_name!r}: the generator knows both, {', '.join(generator.class_names)}")
    lacking = [key for key in _NEEDED if key not in generator.info]
    if lacking or not generator.digest:
        what = ", ".join(lacking) or "a digest"
        raise UserError(f"the generator's description lacks {what}; draw from a generator that train_gan saved")
    workers = workers or available_cores()

    def draw(folder: Path) -> pd.DataFrame:
        (folder / "images").mkdir()
        shown: list[np.ndarray] = []
        written: list[Future[int]] = []
        rows = []
        # the grid shows images of a class's first chunk
        in_grid = GRID_ROWS_PER_CLASS * GRID_COLUMNS
        chunk = max(batch_size, in_grid)
        # encoding releases the interpreter, so it overlaps with the drawing of the next chunk
        with ThreadPoolExecutor(workers) as pool:
            for name in classes:
                label = generator.class_names.index(name)
                for first, images in _chunks(generator, label, per_class, seed, chunk):
                    if first == 0:
                        shown.append(images[:in_grid])
                    for index, image in enumerate(images, start=first):
                        path = f"images/{name}-{index:06d}.png"
                        written.append(pool.submit(_write_png, folder / path, image))
                        rows.append(_row(generator, path, label, index, seed))
        for future in written:
            future.result()
        atomic_write_bytes(folder / GRID_NAME, encode_png(_class_grid(shown)))
        return pd.DataFrame(rows)

    info = generator.info
    description: dict[str, Any] = {
        "name": f"synthetic-{generator.digest[:8]}-{seed}",
        "data_kind": kinds.SYNTHETIC,
        "label_rule": {
            "rule": "generator_class",
            "threshold": None,
            "pool": None,
            "text": "the class asked of the generator; whether the image shows it is measured, not known",
        },
        "split": {"kind": "synthetic", "seed": seed},
        "preprocessing": {**info["preprocessing"], "applied": True},
        "source_data_kind": info["data_kind"],
        "generator": {
            "digest": generator.digest,
            "data_digest": info["data_digest"],
            "train_subjects": list(info["train_subjects"]),
            "architecture": info["config"]["architecture"],
            **{key: info[key] for key in ("step", "seed") if key in info},
        },
        "synthesis": {"per_class": per_class, "class_name": class_name, "seed": seed},
    }
    return write_dataset(out, draw, description, workers=workers)


def _chunks(generator: Generator, label: int, count: int, seed: int, chunk: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first image, images) until `count` images of one class are drawn."""
    for first in range(0, count, chunk):
        labels = np.full(min(chunk, count - first), label, dtype=np.int64)
        yield first, generator.sample(labels, seed, first_index=first)


def _write_png(path: Path, image: np.ndarray) -> int:
    # the folder around it appears whole or not at all, so the file needs no rename of its own
    return path.write_bytes(encode_png(image))


def _row(generator: Generator, path: str, label: int, index: int, seed: int) -> dict[str, object]:
    # numbered through all classes, and the same for every size of the set
    number = index * len(generator.class_names) + label
    return {
        "image_path": path,
        "label": label,
        "subject_id": f"synthetic-{generator.digest[:8]}-{seed}-{number}",
        "split": "train",
        "generator_digest": generator.digest,
        "seed": seed,
        "class_name": generator.class_names[label],
        "data_digest": generator.info["data_digest"],
        "index": index,
    }


def _class_grid(shown: list[np.ndarray]) -> np.ndarray:
    """Classes above each other, a row never shared by two."""
    pictures = [grid(images, min(GRID_COLUMNS, len(images))) for images in shown]
    return np.concatenate(pictures)
