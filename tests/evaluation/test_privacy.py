"""The privacy audit on independent images, planted copies and the training set itself."""

import json

import numpy as np
import pytest

from mlproject.errors import UserError
from mlproject.evaluation.copies import find_copies, plant_copies, real_distances
from mlproject.evaluation.distribution import MINIMUM_N
from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.membership import attack_control, membership_attack, nearest
from mlproject.evaluation.privacy import authenticity, privacy_audit

OPTIONS = {"draws": 300, "level": 0.95, "seed": 0}
FRAMES = 2


def images(subjects: int, seed: int, dimensions: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Features of two frames of each subject: frames of a subject are alike, as in a real clip."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(subjects), FRAMES)
    features = generator.normal(size=(subjects, dimensions))[owner] + 0.4 * generator.normal(
        size=(len(owner), dimensions)
    )
    return features, np.array([f"{seed}-{name}" for name in owner])


TRAIN, TRAIN_SUBJECTS = images(250, 1)
HOLD_OUT, HOLD_OUT_SUBJECTS = images(200, 2)
INDEPENDENT, _ = images(200, 3)
REAL = (TRAIN, TRAIN_SUBJECTS, HOLD_OUT, HOLD_OUT_SUBJECTS)
CONTROL = real_distances(TRAIN, HOLD_OUT, HOLD_OUT_SUBJECTS)


def test_nearest_by_hand():
    references = np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]])
    distance, index = nearest(np.array([[3.0, 3.0], [9.0, 0.0]]), references)
    assert distance == pytest.approx([1, 1])
    assert index.tolist() == [1, 2]
    # its own subject does not count: the query at reference 0 is nearest to reference 1, at distance 5
    subjects = np.array(["a", "b", "a"])
    distance, index = nearest(references[:1], references, subjects[:1], subjects)
    assert (distance[0], index[0]) == (5.0, 1)
    assert np.isinf(nearest(references[:1], references[[0, 2]], subjects[:1], subjects[[0, 2]])[0][0])


def test_nearest_of_a_copy_is_exactly_zero_far_from_the_origin():
    features = np.random.default_rng(0).normal(1e4, 1, size=(700, 30))
    distance, index = nearest(features, features)
    assert (distance == 0).all()
    assert (index == np.arange(700)).all()


def test_independent_sample_passes():
    audit = privacy_audit(*REAL, INDEPENDENT, **OPTIONS)
    assert audit["verdict"] == "passed", audit["reasons"]
    assert audit["passed"] is True
    assert audit["reasons"] == []
    numbers = audit["numbers"]
    assert numbers["copies"] == 0
    assert numbers["planted"] == numbers["planted_found"] == 4
    assert numbers["attack_auc"]["high"] <= 0.55
    # independent samples are as authentic as the hold-out images
    assert abs(numbers["authenticity"]["value"] - numbers["authenticity_hold_out"]["value"]) < 0.1
    json.dumps(audit, allow_nan=False)


@pytest.mark.parametrize("seed", range(4, 14))
def test_independent_samples_hold_no_copies(seed):
    for dimensions in (5, 10, 40):
        train, _ = images(100, seed, dimensions)
        hold_out, subjects = images(60, seed + 100, dimensions)
        sample, _ = images(100, seed + 200, dimensions)
        assert len(find_copies(train, hold_out, real_distances(train, hold_out, subjects), sample).copies) == 0, (
            dimensions
        )


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_one_percent_of_copies_is_found(noise):
    planted, where = plant_copies(INDEPENDENT, TRAIN, 0.01, seed=5, noise=noise)
    assert len(where) == 4
    found = find_copies(TRAIN, HOLD_OUT, CONTROL, planted)
    assert sorted(found.copies.tolist()) == where.tolist()
    assert {pair[0] for pair in found.closest_pairs(4)} == set(where.tolist())
    audit = privacy_audit(*REAL, planted, **OPTIONS)
    assert audit["verdict"] == "failed"
    assert "4 of 400 synthetic images are copies" in audit["reasons"][0]


def test_closest_pairs_name_the_training_image():
    released = INDEPENDENT.copy()
    released[7] = TRAIN[123]
    assert find_copies(TRAIN, HOLD_OUT, CONTROL, released).closest_pairs(1) == [(7, 123)]


def test_the_training_set_offered_as_synthetic_fails_every_way():
    audit = privacy_audit(*REAL, TRAIN[::-1], **OPTIONS)
    assert audit["verdict"] == "failed"
    assert len(audit["reasons"]) == 2
    assert audit["numbers"]["copies"] == len(TRAIN)
    assert audit["numbers"]["attack_auc"]["value"] == 1
    assert audit["numbers"]["authenticity"]["value"] == 0


def test_leaking_without_copies_is_seen_by_the_attack():
    # each released image lies midway between a training image and a fresh one: no copy, but nearer to its source
    released = 0.5 * TRAIN[: len(INDEPENDENT)] + 0.5 * INDEPENDENT
    audit = privacy_audit(*REAL, released, **OPTIONS)
    assert audit["numbers"]["attack_auc"]["low"] > 0.55
    assert audit["verdict"] == "failed"
    assert any("attack's AUC" in reason for reason in audit["reasons"])


def test_plain_images_near_the_mean_are_no_leak():
    # smooth images are near to every real image; without a hold-out set they would look like copies
    smooth = 0.3 * INDEPENDENT
    found = find_copies(TRAIN, HOLD_OUT, CONTROL, smooth)
    assert found.to_train.mean() < 0.8 * CONTROL.to_train.mean()
    assert len(found.copies) == 0
    assert privacy_audit(*REAL, smooth, **OPTIONS)["numbers"]["attack_auc"]["low"] < 0.5


def test_attack_is_at_chance_on_independent_images_and_by_subject():
    options = {"draws": 300, "level": 0.9, "seed": 0}
    found = membership_attack(TRAIN, TRAIN_SUBJECTS, HOLD_OUT, HOLD_OUT_SUBJECTS, INDEPENDENT, **options)
    assert isinstance(found, Interval)
    assert found.low < 0.5 < found.high
    by_image = membership_attack(TRAIN, np.arange(500), HOLD_OUT, np.arange(400), INDEPENDENT, **options)
    assert by_image.high - by_image.low != found.high - found.low


def test_a_small_hold_out_set_is_undecided_rather_than_passed():
    audit = privacy_audit(TRAIN, TRAIN_SUBJECTS, HOLD_OUT[:40], HOLD_OUT_SUBJECTS[:40], INDEPENDENT, **OPTIONS)
    assert audit["numbers"]["attack_auc"]["low"] < 0.5
    assert audit["verdict"] == "undecided"
    assert not audit["passed"]
    assert any("more hold-out subjects" in reason for reason in audit["reasons"])


def test_control_is_at_chance_on_average_and_not_when_the_sets_differ():
    values = []
    for seed in range(20):
        features, subjects = images(90, seed + 500, dimensions=10)
        values.append(attack_control(features[:100], subjects[:100], features[100:], subjects[100:], **OPTIONS).value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.04)  # four standard errors
    # members that lie elsewhere are far from both halves
    assert attack_control(TRAIN + 1.0, TRAIN_SUBJECTS, HOLD_OUT, HOLD_OUT_SUBJECTS, **OPTIONS).high < 0.3


def test_a_hold_out_set_from_elsewhere_is_undecided_by_its_control():
    audit = privacy_audit(TRAIN, TRAIN_SUBJECTS, HOLD_OUT + 1.5, HOLD_OUT_SUBJECTS, INDEPENDENT, **OPTIONS)
    assert not audit["passed"]
    assert any("differ without any generator" in reason for reason in audit["reasons"])


def test_a_training_image_in_the_hold_out_set_is_noticed():
    leaked = HOLD_OUT.copy()
    leaked[0] = TRAIN[0]
    audit = privacy_audit(TRAIN, TRAIN_SUBJECTS, leaked, HOLD_OUT_SUBJECTS, INDEPENDENT, **OPTIONS)
    assert not audit["passed"]
    assert any("0 of 4 planted copies were found" in reason for reason in audit["reasons"])


def test_authenticity_by_hand():
    # training images 0 and 10, each 10 from the other. 3 is nearer to 0 than that: not authentic. -11 is farther.
    train, subjects = np.array([[0.0], [10.0]]), np.array(["a", "b"])
    to_others, _ = nearest(train, train, subjects, subjects)
    assert authenticity(*nearest(np.array([[3.0], [-11.0]]), train), to_others, 0.95).value == 0.5


def test_planting_leaves_the_original_alone_and_takes_at_least_one():
    before = INDEPENDENT.copy()
    planted, where = plant_copies(INDEPENDENT[:60], TRAIN, 0.001, seed=0)
    assert np.array_equal(before, INDEPENDENT)
    assert len(where) == 1
    assert (planted != INDEPENDENT[:60]).any(axis=1).sum() == 1
    assert (planted[where[0]] == TRAIN).all(axis=1).any()


def test_unfit_sets_are_refused():
    with pytest.raises(UserError, match="49 synthetic"):
        privacy_audit(*REAL, INDEPENDENT[: MINIMUM_N - 1], **OPTIONS)
    with pytest.raises(UserError, match="9 hold-out subjects"):
        privacy_audit(TRAIN, TRAIN_SUBJECTS, HOLD_OUT[:18], HOLD_OUT_SUBJECTS[:18], INDEPENDENT, **OPTIONS)
    with pytest.raises(UserError, match="200 subjects are in training and hold-out"):
        privacy_audit(TRAIN[:400], TRAIN_SUBJECTS[:400], TRAIN[:400], TRAIN_SUBJECTS[:400], INDEPENDENT, **OPTIONS)


def test_two_numbers_an_image_cannot_show_copies_and_the_audit_says_so():
    # in a plane, independent points come as near as slightly changed copies do
    sets = [images(100, seed, dimensions=2) for seed in (1, 2, 3)]
    audit = privacy_audit(*sets[0], *sets[1], sets[2][0], **OPTIONS)
    assert audit["verdict"] == "undecided"
    assert any("planted copies were found" in reason for reason in audit["reasons"])
