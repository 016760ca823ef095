"""Class fidelity by hand, and alarms that ring when, and only when, they should."""

import numpy as np
import pytest

from mlproject.errors import UserError
from mlproject.evaluation.fidelity import (
    class_fidelity,
    conditioning_alarms,
    diversity,
    diversity_alarms,
)
from mlproject.evaluation.intervals import auc_score_interval, wilson_interval


def judged(n: int, separation: float, seed: int = 0):
    """Classes asked for, and a judge that is sure by `separation` (negative: sure of the other class)."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, 1 / (1 + np.exp(-separation * (2 * labels - 1) - generator.normal(size=n)))


def test_fidelity_by_hand():
    # 20 of each class; the judge puts 15 of the normal and 18 of the anomalous ones where they were asked for
    labels = np.repeat([0, 1], 20)
    probabilities = np.r_[np.full(15, 0.2), np.full(5, 0.8), np.full(2, 0.2), np.full(18, 0.8)]
    found = class_fidelity(labels, probabilities, 0.5, level=0.95)
    assert found.recall == {"normal": wilson_interval(15, 20, 0.95), "anomalous": wilson_interval(18, 20, 0.95)}
    # pairs: 18·15 won, 18·5 and 2·15 tied, 2·5 lost: (270 + 120 / 2) / 400
    assert found.auc.value == pytest.approx(0.825)
    assert found.auc == auc_score_interval(found.auc.value, 20, 20, 0.95)
    assert found.counts == {"normal": 20, "anomalous": 20}


def test_counts_of_unequal_classes_are_not_exchanged():
    labels = np.r_[np.zeros(100, int), np.ones(20, int)]
    found = class_fidelity(labels, np.linspace(0, 1, 120), 0.5, level=0.95)
    assert found.counts == {"normal": 100, "anomalous": 20}
    assert found.recall["anomalous"].value == 1
    assert found.recall["normal"].value == pytest.approx(0.6)


def test_few_images_of_a_class_are_refused():
    labels, probabilities = judged(39, 1)
    with pytest.raises(UserError, match="19 of anomalous images; at least 20"):
        class_fidelity(labels, probabilities, 0.5, level=0.95)


def test_good_conditioning_raises_no_alarm():
    good = class_fidelity(*judged(200, 2), 0.5, level=0.95)
    assert conditioning_alarms(good) == []
    assert conditioning_alarms(good, class_fidelity(*judged(200, 2.2, 1), 0.5, level=0.95)) == []


def test_shuffled_labels_are_ignored_conditioning():
    labels, probabilities = judged(400, 2)
    shuffled = np.random.default_rng(1).permutation(labels)
    alarms = conditioning_alarms(class_fidelity(shuffled, probabilities, 0.5, level=0.95))
    assert "conditioning_ignored" in [alarm.kind for alarm in alarms]
    assert "ignores the class" in alarms[0].text


def test_swapped_labels_are_told_as_such():
    labels, probabilities = judged(200, 2)
    alarms = conditioning_alarms(class_fidelity(1 - labels, probabilities, 0.5, level=0.95))
    assert [alarm.kind for alarm in alarms] == ["conditioning_ignored", "class_lost", "class_lost"]
    assert "swaps the classes" in alarms[0].text


def test_one_class_drawn_for_both_is_lost_but_not_where_the_judge_is_blind_itself():
    labels, probabilities = judged(200, 2)
    shifted = probabilities * 0.45  # nothing is called anomalous, but the order still follows the class
    found = class_fidelity(labels, shifted, 0.5, level=0.95)
    alarms = conditioning_alarms(found)
    assert [(alarm.kind, alarm.class_name) for alarm in alarms] == [("class_lost", "anomalous")]
    assert conditioning_alarms(found, real=found) == []


def test_recall_far_below_the_judges_own_is_an_alarm():
    real = class_fidelity(*judged(2000, 3), 0.5, level=0.95)
    weak = class_fidelity(*judged(2000, 0.3, 1), 0.5, level=0.95)
    assert conditioning_alarms(weak) == []
    assert {alarm.class_name for alarm in conditioning_alarms(weak, real)} == {"normal", "anomalous"}


def test_diversity_by_hand():
    # real: points 0..19 on a line, synthetic: the same at half the distance
    real = np.arange(20.0)[:, None]
    found = diversity(real, real / 2, seed=0)
    assert found.pairwise_ratio == pytest.approx(0.5)
    assert found.neighbour_ratio == pytest.approx(0.5)


def test_diversity_tells_collapse_and_few_modes_from_healthy():
    generator = np.random.default_rng(0)
    real, fresh = generator.normal(size=(200, 10)), generator.normal(size=(150, 10))
    collapsed = real[:1] + 0.1 * generator.normal(size=(150, 10))
    modes = real[np.arange(150) % 5] + 0.02 * generator.normal(size=(150, 10))
    by_class = {name: diversity(real, images, seed=1) for name, images in
                (("healthy", fresh), ("collapsed", collapsed), ("modes", modes))}  # fmt: skip
    assert by_class["healthy"].pairwise_ratio == pytest.approx(1, abs=0.1)
    assert by_class["healthy"].neighbour_ratio == pytest.approx(1, abs=0.1)
    alarms = diversity_alarms(by_class)
    assert [(alarm.kind, alarm.class_name) for alarm in alarms] == [
        ("class_collapsed", "collapsed"),
        ("few_modes", "modes"),
    ]


def test_diversity_takes_images_as_they_are_and_refuses_few():
    images = np.random.default_rng(0).integers(0, 256, size=(30, 8, 8)).astype(np.uint8)
    assert diversity(images, images[::-1], seed=0).pairwise_ratio == pytest.approx(1, abs=0.1)
    with pytest.raises(UserError, match="at least 20"):
        diversity(images, images[:19], seed=0)
    with pytest.raises(UserError, match="remove the duplicates"):
        diversity(images[:1].repeat(30, axis=0), images, seed=0)
