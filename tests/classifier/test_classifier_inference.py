"""Stored classifiers: what was trained is what answers, and nothing unverified is read."""

import json

import numpy as np
import pytest
import torch
from tampered import flip_a_bit

from mlproject.classifier.inference import as_input, eval_mode, load_classifier, save_classifier, sigmoid
from mlproject.classifier.network import build_classifier
from mlproject.classifier.training import TrainedClassifier
from mlproject.errors import IntegrityError, UserError

META = {
    "preprocessing": {"crop": "square", "window_px": 128, "size": 32, "clahe_clip": 2.0, "clahe_tiles": 4},
    "class_names": ["normal", "anomalous"],
    "threshold": 0.5,
    "data_digest": "0" * 64,
    "data_kind": "phantom_not_clinical",
    "train_subjects": ["s0-0"],
}


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)


@pytest.fixture
def trained(tiny_config):
    config = tiny_config(zero_init_head=False, stem_stride=1, input_size=40, dropout=0.5)
    module = build_classifier(config)
    # statistics that are not the initial ones, so that a lost buffer would show
    module.train()
    module(torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    module.mean.fill_(0.45)
    return TrainedClassifier(module.eval(), config, 4, np.zeros(0), [])


def test_a_stored_classifier_answers_as_the_trained_one(tmp_path, trained, images):
    digest = save_classifier(tmp_path / "model", trained, META)
    loaded = load_classifier(tmp_path / "model", digest)
    with torch.inference_mode():
        logits = trained.module(torch.from_numpy(images).float().unsqueeze(1) / 127.5 - 1).double().numpy()
    probabilities = loaded.probabilities(images)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert np.ptp(probabilities) > 0
    assert loaded.digest == digest
    assert loaded.features(images).shape == (7, loaded.module.network.num_features)


def test_the_description_carries_what_building_and_serving_need(tmp_path, trained):
    save_classifier(tmp_path / "model", trained, {**META, "metrics": {"val.auc": 0.9}})
    description = json.loads((tmp_path / "model" / "classifier.json").read_text())
    assert description["backbone"] == "test_efficientnet"
    assert (description["stem_stride"], description["input_size"], description["in_channels"]) == (1, 40, 1)
    assert description["normalisation"] == {"mean": pytest.approx(0.45), "std": 0.5}
    assert description["config"]["learning_rate"] == 0.005
    assert description["metrics"] == {"val.auc": 0.9}
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "checksums.json",
        "classifier.json",
        "classifier.safetensors",
    ]


def test_the_batch_size_does_not_change_the_answer(tmp_path, trained, images):
    save_classifier(tmp_path / "model", trained, META)
    loaded = load_classifier(tmp_path / "model")
    np.testing.assert_allclose(loaded.probabilities(images, 2), loaded.probabilities(images, 7), rtol=1e-5)


def test_no_images_give_no_probabilities(tmp_path, trained, images):
    save_classifier(tmp_path / "model", trained, META)
    loaded = load_classifier(tmp_path / "model")
    assert loaded.probabilities(images[:0]).shape == (0,)
    assert loaded.features(images[:0]).shape == (0, loaded.module.network.num_features)


@pytest.mark.parametrize("name", ["classifier.safetensors", "classifier.json"])
def test_one_flipped_bit_is_refused(tmp_path, trained, name):
    save_classifier(tmp_path / "model", trained, META)
    flip_a_bit(tmp_path / "model" / name)
    with pytest.raises(IntegrityError, match=name):
        load_classifier(tmp_path / "model")


def test_another_digest_than_expected_and_a_missing_manifest_are_refused(tmp_path, trained):
    save_classifier(tmp_path / "model", trained, META)
    with pytest.raises(IntegrityError):
        load_classifier(tmp_path / "model", "f" * 64)
    (tmp_path / "model" / "checksums.json").unlink()
    with pytest.raises(IntegrityError):
        load_classifier(tmp_path / "model")


def test_a_folder_that_is_no_classifier_is_refused(tmp_path):
    from mlproject.checksums import write_checksums

    with pytest.raises(UserError, match="no such folder"):
        load_classifier(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing")
    write_checksums(tmp_path)
    with pytest.raises(UserError, match="holds no classifier.safetensors"):
        load_classifier(tmp_path)


def test_loading_leaves_the_callers_random_state(tmp_path, trained):
    save_classifier(tmp_path / "model", trained, META)
    before = torch.get_rng_state()
    load_classifier(tmp_path / "model")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 32, 31), (32, 32), (2, 1, 32, 32)])
def test_another_size_is_refused(tmp_path, trained, shape):
    save_classifier(tmp_path / "model", trained, META)
    loaded = load_classifier(tmp_path / "model")
    with pytest.raises(UserError, match=r"takes grey crops uint8 \[n, 32, 32\]"):
        loaded.probabilities(np.zeros(shape, np.uint8))


def test_floats_are_refused(tmp_path, trained):
    save_classifier(tmp_path / "model", trained, META)
    with pytest.raises(UserError, match="found float32"):
        load_classifier(tmp_path / "model").probabilities(np.zeros((1, 32, 32), np.float32))


def test_black_is_minus_one_and_white_is_one():
    tensor = as_input(np.array([[[0, 255]]], np.uint8), torch.device("cpu"))
    assert tensor.shape == (1, 1, 1, 2)
    assert tensor.flatten().tolist() == [-1.0, 1.0]


def test_eval_mode_restores_each_part_and_survives_an_error(trained):
    module = trained.module.train()
    module.network.bn1.eval()
    with pytest.raises(RuntimeError), eval_mode(module):
        assert not any(part.training for part in module.modules())
        assert not torch.is_grad_enabled()
        raise RuntimeError
    assert module.training
    assert module.network.conv_stem.training
    assert not module.network.bn1.training


def test_the_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        # exp(-700) is about 1e-304, still a normal number
        values = sigmoid(np.array([-700.0, 0.0, 700.0]))
    assert values[1] == 0.5
    assert 0 < values[0] < 1e-300
    assert values[2] == 1
