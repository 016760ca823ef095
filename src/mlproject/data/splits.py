"""Splits by subject, stratified by label, decided by a seed and nothing else."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from mlproject.data.checks import CLASS_NAMES
from mlproject.data.manifest import DataSet
from mlproject.errors import UserError


def subject_labels(subjects: Sequence[str], labels: Sequence[int]) -> dict[str, int]:
    """Subject -> label, sorted by subject; a subject with any anomalous image counts as anomalous."""
    found = pd.Series(np.asarray(labels, dtype=np.int64)).groupby(np.asarray(subjects, dtype=str)).max()
    return {str(subject): int(label) for subject, label in found.sort_index().items()}


def _strata(labels: Mapping[str, int], seed: int, least: int, purpose: str) -> list[list[str]]:
    """Subjects of each label, shuffled; refuses a label with fewer than `least` subjects."""
    strata = []
    for label, name in enumerate(CLASS_NAMES):
        members = sorted(subject for subject, value in labels.items() if value == label)
        if len(members) < least:
            raise UserError(f"{purpose} needs at least {least} {name} subjects, there are {len(members)}")
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(label,)))
        strata.append([members[position] for position in generator.permutation(len(members))])
    return strata


def split_by_fractions(
    labels: Mapping[str, int], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """Subject -> train, val or test, with the given shares within each label.

    Args:
        labels: subject -> 0 or 1.
        val_fraction, test_fraction: shares in (0, 1), together below 1; test_fraction 0 makes no test split.
        seed: decides the split together with the subjects' names, not with their order.

    Counts are rounded to the nearest subject, at least one of each label in each split.

    Raises:
        UserError: shares that leave nothing for training, or too few subjects of a label.
    """
    if val_fraction + test_fraction >= 1:
        raise UserError(
            f"val_fraction {val_fraction:g} and test_fraction {test_fraction:g} leave nothing for training; together "
            "they must stay below 1"
        )
    split = {}
    parts = 3 if test_fraction > 0 else 2
    for members in _strata(labels, seed, parts, f"a split into {parts} parts by subject"):
        n_test = max(1, round(test_fraction * len(members))) if test_fraction > 0 else 0
        n_test = min(n_test, len(members) - 2)
        n_val = min(max(1, round(val_fraction * len(members))), len(members) - n_test - 1)
        for position, subject in enumerate(members):
            split[subject] = "test" if position < n_test else "val" if position < n_test + n_val else "train"
    return split


def split_by_fold(labels: Mapping[str, int], folds: int, fold: int, repeat: int, seed: int) -> dict[str, str]:
    """Subject -> split in repeated k-fold: `fold` is test, the next one validation, the others train.

    Args:
        labels: subject -> 0 or 1.
        folds: number of folds, at least 3.
        fold: 0..folds-1.
        repeat: number of the reshuffling; the same seed and repeat give the same folds.
        seed: seed of the first shuffling.

    Raises:
        UserError: no such fold; a label with fewer subjects than folds.
    """
    if folds < 3 or not 0 <= fold < folds:
        raise UserError(f"fold {fold} of {folds}: expected at least 3 folds and a fold between 0 and {folds - 1}")
    _strata(labels, seed, folds, f"k-fold with {folds} folds")
    names = sorted(labels)
    shuffling = int(np.random.SeedSequence(seed, spawn_key=(repeat,)).generate_state(1)[0])
    parts = StratifiedKFold(folds, shuffle=True, random_state=shuffling).split(names, [labels[name] for name in names])
    split = dict.fromkeys(names, "train")
    for number, (_, members) in enumerate(parts):
        if number in (fold, (fold + 1) % folds):
            split.update({names[member]: "test" if number == fold else "val" for member in members})
    return split


def training_subset(dataset: DataSet, n: int, seed: int, anomalous_share: float = 0.0) -> list[str]:
    """The first `n` training subjects of a seeded order that keeps the label shares; sorted by name.

    Subsets of one seed are nested: that of 50 subjects is part of that of 100, so that learning curves compare more
    data with less of the same. `n` = 0 takes all.

    Args:
        dataset: its train split is drawn from.
        n: subjects before any is left out for `anomalous_share`.
        seed: of the order.
        anomalous_share: in [0, 1); above 0, anomalous subjects are left out until they are at most this share of what
            remains, rounded to the nearest subject, at least one. These subsets are nested in `n` and in the share.

    Raises:
        UserError: more subjects than there are, or a single one, which cannot hold both classes.
    """
    rows = dataset.rows("train")
    labels = subject_labels(rows["subject_id"].tolist(), rows["label"].tolist())
    if n == 0:
        n = len(labels)
    elif n < 2 or n > len(labels):
        raise UserError(
            f"subjects: {n} training subjects were asked for, data set {dataset.name} has {len(labels)}; take 0 for "
            f"all, or 2 to {len(labels)}"
        )
    chosen = stratified_order(labels, seed)[:n]
    if anomalous_share > 0:
        normal = [subject for subject in chosen if labels[subject] == 0]
        anomalous = [subject for subject in chosen if labels[subject] == 1]
        kept = max(1, round(anomalous_share / (1 - anomalous_share) * len(normal)))
        chosen = normal + anomalous[:kept]
    return sorted(chosen)


def stratified_order(labels: Mapping[str, int], seed: int) -> list[str]:
    """All subjects in a seeded order whose every beginning has the label shares of the whole, within one subject.

    The k-th of a label's m subjects stands at k/m, so the first two are of both labels.
    """
    placed = []
    for label, members in enumerate(_strata(labels, seed, 0, "")):
        placed += [(position / len(members), label, subject) for position, subject in enumerate(members)]
    return [subject for _, _, subject in sorted(placed)]
