"""Real and synthetic images in one batch, as a pure function of (seed, step)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlproject.data.crops import PREPROCESSING, Crops
from mlproject.data.manifest import DataSet
from mlproject.data.splits import stratified_order, subject_labels
from mlproject.errors import UserError
from mlproject.runtime import seed_for


class MixedSource:
    """Batches of a given share of synthetic images.

    The share r is 0 for `real`, 1 for `synthetic`, `synthetic_fraction` for `hybrid`. After s steps of b images
    exactly floor(r·b·s + u) of them were synthetic, with u drawn once from the seed: every batch holds the floor or
    the ceiling of r·b, and its expected count over seeds is r·b (systematic sampling, Madow & Madow 1944). Each pool
    is walked in epochs, every image once in an epoch, in a new order each time.

    Attributes:
        real: the real crops in use; with `replace` the kept ones only.
        synthetic: the synthetic crops, or None.
        fraction: r.
        real_subjects: real subjects in use, sorted.
    """

    def __init__(
        self,
        real: Crops,
        synthetic: Crops | None,
        *,
        mix: str,
        synthetic_fraction: float,
        mix_mode: str,
        batch_size: int,
        seed: int,
    ) -> None:
        """See the class.

        Args:
            real: training crops; may be empty when r is 1.
            synthetic: crops of a synthetic data set; may be None when r is 0.
            mix: real, synthetic or hybrid.
            synthetic_fraction: r of `hybrid`, in [0, 1].
            mix_mode: of `hybrid`: `add` uses every real subject, `replace` keeps a share of 1-r of them, rounded to
                the nearest subject within each label (halves to even) and at least one of each while r < 1.
            batch_size: images in a batch.
            seed: seed of orders, of u and of the kept subjects.

        Raises:
            UserError: an unknown mix or mode, r outside [0, 1], a pool that is needed and empty, crops of two sizes.
        """
        if mix not in ("real", "synthetic", "hybrid"):
            raise UserError(f"mix {mix!r} is none of real, synthetic, hybrid")
        if mix_mode not in ("add", "replace"):
            raise UserError(f"mix_mode {mix_mode!r} is neither add nor replace")
        if not 0 <= synthetic_fraction <= 1:
            raise UserError(f"synthetic_fraction {synthetic_fraction!r} is not between 0 and 1")
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} is below 1")
        self.fraction = {"real": 0.0, "synthetic": 1.0}.get(mix, float(synthetic_fraction))
        if self.fraction > 0 and (synthetic is None or len(synthetic) == 0):
            raise UserError(f"mix={mix} needs synthetic images and there are none; generate_synthetic makes them")
        if self.fraction < 1 and len(real) == 0:
            raise UserError(f"mix={mix} needs real training images and there are none")
        if synthetic is not None and synthetic.images.shape[1:] != real.images.shape[1:]:
            raise UserError(
                f"synthetic crops are {synthetic.images.shape[1]} px wide, real ones {real.images.shape[1]} px; train "
                "the generator on this data set"
            )
        if mix == "hybrid" and mix_mode == "replace":
            kept = kept_subjects(real, self.fraction, seed)
            real = real.select(np.isin(real.subjects, kept))
        elif mix == "synthetic":
            real = real.select(np.zeros(len(real), dtype=bool))
        self.real = real
        self.synthetic = synthetic
        self.real_subjects = sorted({str(subject) for subject in real.subjects})
        self._batch_size = batch_size
        self._seed = seed
        # a fixed offset in [0, 1): the fraction of a batch that is carried over from step to step
        self._offset = np.random.default_rng(seed_for(seed, "mix-offset")).random()
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def synthetic_before(self, step: int) -> int:
        """Synthetic images in all batches before `step`."""
        if self.fraction in (0.0, 1.0):
            return int(self.fraction) * self._batch_size * step
        return int(np.floor(self.fraction * self._batch_size * step + self._offset))

    def batch_indices(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one step, real images first.

        Args:
            step: number of the step, from 0.

        Returns:
            bool [batch_size], whether the image is synthetic; int64 [batch_size], its row in `synthetic` or `real`.
        """
        first, last = self.synthetic_before(step), self.synthetic_before(step + 1)
        before = self._batch_size * step - first
        count = self._batch_size - (last - first)
        rows = np.concatenate([self._walk("real", before, count), self._walk("synthetic", first, last - first)])
        return np.arange(self._batch_size) >= count, rows

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uint8 images [batch_size, size, size], int64 labels and bool is_synthetic of one step."""
        is_synthetic, rows = self.batch_indices(step)
        images, labels = [self.real.images[rows[~is_synthetic]]], [self.real.labels[rows[~is_synthetic]]]
        if self.synthetic is not None and is_synthetic.any():
            images.append(self.synthetic.images[rows[is_synthetic]])
            labels.append(self.synthetic.labels[rows[is_synthetic]])
        return np.concatenate(images), np.concatenate(labels), is_synthetic

    def label_shares(self) -> tuple[float, float]:
        """Expected shares of normal and anomalous images in a batch, for class weights."""
        anomalous = 0.0
        if self.fraction < 1:
            anomalous += (1 - self.fraction) * float(self.real.labels.mean())
        if self.fraction > 0 and self.synthetic is not None:
            anomalous += self.fraction * float(self.synthetic.labels.mean())
        return 1 - anomalous, anomalous

    def _walk(self, pool: str, first: int, count: int) -> np.ndarray:
        """Rows number `first` to `first + count` of an endless walk through the pool in shuffled epochs."""
        crops = self.real if pool == "real" else self.synthetic
        rows = np.zeros(count, dtype=np.int64)
        done = 0
        while done < count:
            assert crops is not None
            assert len(crops)
            epoch, position = divmod(first + done, len(crops))
            order = self._order(pool, epoch, len(crops))
            part = order[position : position + count - done]
            rows[done : done + len(part)] = part
            done += len(part)
        return rows

    def _order(self, pool: str, epoch: int, n: int) -> np.ndarray:
        if (pool, epoch) not in self._orders:
            # only the current epoch and the next are ever looked at again
            self._orders = {key: order for key, order in self._orders.items() if key[0] != pool or key[1] == epoch - 1}
            generator = np.random.default_rng(seed_for(self._seed, "mix-order", pool, epoch))
            self._orders[pool, epoch] = generator.permutation(n)
        return self._orders[pool, epoch]


def kept_subjects(real: Crops, fraction: float, seed: int) -> list[str]:
    """Subjects that `replace` keeps: within each label round((1-r)·n), at least one while r < 1; sorted.

    Subsets are nested in r: what is kept at r = 0.75 is kept at 0.5.
    """
    labels = subject_labels(real.subjects.tolist(), real.labels.tolist())
    order = stratified_order(labels, seed_for(seed, "mix-replace"))
    kept: list[str] = []
    for label in (0, 1):
        members = [subject for subject in order if labels[subject] == label]
        count = round((1 - fraction) * len(members))
        kept += members[: max(count, 1) if fraction < 1 else count]
    return sorted(kept)


def refuse_leak(synthetic_info: Mapping[str, Any], real: DataSet) -> None:
    """Refuse synthetic images whose generator saw subjects that validate or test the classifier.

    Subject ids are compared whatever the data digest says: another fold or label rule of the same images has another
    digest and the same subjects.

    Args:
        synthetic_info: dataset.json of the synthetic set; `generator.train_subjects` is needed.
        real: the data set that the classifier is trained and judged on.

    Raises:
        UserError: overlapping subjects, or a synthetic set that does not name its generator's subjects.
    """
    generator = synthetic_info.get("generator")
    if not isinstance(generator, Mapping) or "train_subjects" not in generator:
        raise UserError(
            f"synthetic data set {synthetic_info.get('name')}: dataset.json does not name the generator's training "
            "subjects, so a leak cannot be excluded; make the images again with generate_synthetic"
        )
    trained = {str(subject) for subject in generator["train_subjects"]}
    for split in ("val", "test"):
        shared = sorted(trained & set(real.subjects(split)))
        if shared:
            names = ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
            raise UserError(
                f"leak: the generator behind {synthetic_info.get('name')} was trained on {len(shared)} {split} "
                f"subjects of {real.name} ({names}); train a generator on the train split of this data set (train_gan)"
            )


def refuse_other_preprocessing(synthetic_info: Mapping[str, Any], real: DataSet) -> None:
    """Refuse synthetic crops that imitate another way of cutting than the real crops have.

    Raises:
        UserError: names the settings that differ.
    """
    made = synthetic_info.get("preprocessing", {})
    different = [
        f"{key} {made.get(key)!r} against {real.preprocessing.get(key)!r}"
        for key in PREPROCESSING
        if made.get(key) != real.preprocessing.get(key)
    ]
    if different:
        raise UserError(
            f"synthetic data set {synthetic_info.get('name')} imitates crops of another kind than {real.name}: "
            f"{'; '.join(different)}; train the generator on this data set"
        )
