"""Positive controls: what a generator does wrong is found, and what is right raises no alarm."""

import json

import numpy as np
import pytest

from mlproject.evaluation.audit import audit_text
from mlproject.evaluation.generator_evaluation import Judged, evaluate_images
from mlproject.evaluation.generator_report import Sample, Settings, report_text

SETTINGS = Settings(level=0.95, draws=200, seed=0, repeats=2)
SIDE = 24


def scenes(subjects, seed, frames=2, prefix="subject"):
    """Speckle with a dark band at a height and tilt of the subject's own; an anomalous band is twice as thick."""
    generator = np.random.default_rng(seed)
    images, labels, names = [], [], []
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(subjects):
        label, centre, tilt = number % 2, generator.uniform(8, 16), generator.uniform(-0.3, 0.3)
        grey = generator.uniform(110, 190)
        for _ in range(frames):
            image = grey * generator.gamma(12, 1 / 12, (SIDE, SIDE))
            middle = centre + tilt * (columns - SIDE / 2) + generator.normal(0, 0.5)
            image[np.abs(rows - middle) < (2.2 if label else 1.1)] *= 0.25
            images.append(np.clip(image, 0, 255).astype(np.uint8))
            labels.append(label)
            names.append(f"{prefix}-{number}")
    images = np.array(images)
    return Sample(images, features(images), np.array(labels), np.array(names))


def features(images):
    """Twelve coarse numbers of an image: it is no network, but it is the same for all."""
    blocks = images.reshape(len(images), 6, SIDE // 6, 2, SIDE // 2).mean(axis=(2, 4)).reshape(len(images), -1)
    return (blocks - 130) / 40.0


def judge(sample):
    """Probability by the share of dark pixels, which is what makes a band thick."""
    middle = np.median(sample.images, axis=(1, 2), keepdims=True)
    share = (sample.images < 0.5 * middle).mean(axis=(1, 2))
    return 1 / (1 + np.exp(-(share - 0.14) * 100))


TRAIN, HOLD_OUT = scenes(60, 1, prefix="train"), scenes(120, 2, prefix="other")
FRESH = scenes(150, 3, frames=1, prefix="synthetic")


def evaluated(synthetic, asked=None):
    asked = synthetic.labels if asked is None else asked
    synthetic = Sample(synthetic.images, synthetic.features, asked, synthetic.subjects)
    sets = {"train": TRAIN, "hold_out": HOLD_OUT, "pool": HOLD_OUT, "synthetic": synthetic}
    judged = {
        "synthetic": Judged(asked, judge(synthetic)),
        "real": Judged(HOLD_OUT.labels, judge(HOLD_OUT)),
    }
    return evaluate_images(sets, judged, 0.5, SETTINGS, space="blocks", further_spaces={})


def kinds(report):
    return {alarm["kind"] for alarm in report["alarms"]}


def test_fresh_images_of_the_same_kind_raise_nothing():
    report = evaluated(FRESH)
    assert report["alarms"] == []
    assert report["fidelity"]["judge_real"]["auc"]["value"] > 0.95
    assert report["fidelity"]["judge_synthetic"]["auc"]["value"] > 0.95
    assert report["audit"]["verdict"] != "failed"
    for group in ("all", "normal", "anomalous"):
        found = report["distribution"]["blocks"][group]["kid"]
        assert found["low"] < max(2 * found["floor"]["high"], 0.05)
        assert found["n"] == {"all": 150, "normal": 75, "anomalous": 75}[group]
    for name in ("speckle_axial_ratio", "speckle_lateral_ratio"):
        found = report["distribution"]["images"]["all"][name]
        assert found["value"] == pytest.approx(1, abs=0.05)
        assert found["floor"]["value"] == pytest.approx(1, abs=0.05)
    json.dumps(report, allow_nan=False)  # raises on what JSON does not have


def test_shuffled_labels_raise_the_conditioning_alarm():
    asked = np.random.default_rng(0).permutation(FRESH.labels)
    report = evaluated(FRESH, asked)
    assert "conditioning_ignored" in kinds(report)
    assert abs(report["fidelity"]["judge_synthetic"]["auc"]["value"] - 0.5) < 0.1


def test_swapped_labels_lose_both_classes():
    report = evaluated(FRESH, 1 - FRESH.labels)
    assert kinds(report) == {"conditioning_ignored", "class_lost"}


def test_a_collapsed_class_raises_the_collapse_alarm():
    images = FRESH.images.copy()
    anomalous = np.flatnonzero(FRESH.labels == 1)
    noise = np.random.default_rng(0).integers(0, 3, (len(anomalous), SIDE, SIDE))
    images[anomalous] = np.clip(images[anomalous[0]] + noise, 0, 255)
    report = evaluated(Sample(images, features(images), FRESH.labels, FRESH.subjects))
    assert {(alarm["kind"], alarm["class_name"]) for alarm in report["alarms"]} == {("class_collapsed", "anomalous")}


def test_the_training_set_offered_as_synthetic_fails_the_audit():
    report = evaluated(TRAIN)
    assert report["audit"]["verdict"] == "failed"
    assert "copies of training images" in " ".join(report["audit"]["reasons"])
    assert report["audit"]["spaces"]["pixels"]["all"]["numbers"]["copies"] == len(TRAIN)
    # they are excellent images otherwise: nothing but the audit says no
    assert report["alarms"] == []


def test_two_planted_copies_fail_the_audit():
    images = FRESH.images.copy()
    images[[3, 77]] = TRAIN.images[[5, 8]]
    report = evaluated(Sample(images, features(images), FRESH.labels, FRESH.subjects))
    assert report["audit"]["verdict"] == "failed"
    pairs = report["audit"]["spaces"]["pixels"]["all"]["closest_pairs"][:2]
    assert sorted(tuple(pair) for pair in pairs) == [(3, 5), (77, 8)]


def test_the_training_images_own_distance_stands_beside():
    report = evaluated(FRESH)
    found = report["distribution"]["blocks"]["all"]["kid"]
    known = evaluated(TRAIN)["distribution"]["blocks"]["all"]["kid"]
    # training images offered as synthetic lie exactly where the training images lie
    assert known["value"] == pytest.approx(known["training"]["value"])
    assert found["training"]["n"] == len(TRAIN)


def test_mirrored_training_images_are_copies_too():
    turned = np.array(FRESH.images)
    turned[7] = TRAIN.images[11][:, ::-1]
    found = evaluated(Sample(turned, features(turned), FRESH.labels, FRESH.subjects))["audit"]
    assert found["verdict"] == "failed"
    pixels = found["spaces"]["pixels"]["all"]
    assert pixels["numbers"]["copies"] == 1
    assert tuple(pixels["closest_pairs"][0]) == (7, 11)


def test_images_of_half_the_contrast_lie_far_above_the_floor():
    images = (FRESH.images.astype(float) * 0.5 + 60).astype(np.uint8)
    report = evaluated(Sample(images, features(images), FRESH.labels, FRESH.subjects))
    for space, name in (
        ("blocks", "kid"),
        ("images", "grey_histogram_distance"),
        ("images", "radial_spectrum_distance_db"),
    ):
        found = report["distribution"][space]["all"][name]
        assert found["low"] > found["floor"]["high"], name


def test_too_few_images_are_said_not_guessed():
    report = evaluated(FRESH.select(np.arange(60)))
    assert (
        "120 real and 30 synthetic images; at least 50" in report["distribution"]["blocks"]["normal"]["KID"]["refused"]
    )
    assert "value" in report["distribution"]["blocks"]["all"]["kid"]
    text = report_text(report["distribution"]["blocks"])
    assert "too few images" in text
    assert "pixels, anomalous" in audit_text(report["audit"])


def test_a_further_feature_space_stands_beside():
    sets = {"train": TRAIN, "hold_out": HOLD_OUT, "pool": HOLD_OUT, "synthetic": FRESH}
    judged = {
        name: Judged(sets[key].labels, judge(sets[key]))
        for name, key in (("synthetic", "synthetic"), ("real", "hold_out"))
    }
    other = {name: sample.features[:, ::2] for name, sample in sets.items()}
    report = evaluate_images(sets, judged, 0.5, SETTINGS, space="blocks", further_spaces={"half": other})
    assert list(report["distribution"]) == ["blocks", "half", "images"]
    both = [report["distribution"][space]["all"]["kid"]["value"] for space in ("blocks", "half")]
    assert both[0] != both[1]
