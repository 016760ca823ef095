"""Grad-CAM finds evidence that was planted; the gallery takes the cases it says it takes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlproject.classifier import explain
from mlproject.classifier.inference import Classifier, load_classifier, save_classifier
from mlproject.classifier.network import build_classifier
from mlproject.classifier.training import TrainedClassifier
from mlproject.config import load_config
from mlproject.data.images import read_grey
from mlproject.errors import UserError

SIZE = 64


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Classifier:
    config = dataclasses.replace(
        load_config().classifier, backbone="test_efficientnet", weights="none", zero_init_head=False
    )
    trained = TrainedClassifier(build_classifier(config).eval(), config, 1, np.zeros(0), [])
    meta = {
        "preprocessing": {"size": SIZE},
        "class_names": ["normal", "anomalous"],
        "threshold": 0.5,
        "data_digest": "d" * 64,
        "data_kind": "phantom_not_clinical",
        "train_subjects": ["s0"],
    }
    folder = tmp_path_factory.mktemp("model") / "classifier"
    save_classifier(folder, trained, meta)
    return load_classifier(folder)


class BrightnessNetwork(torch.nn.Module):
    """An answer known by hand: `blocks` passes the image through an average over 8x8 places, the logit is its sum.

    The gradient of the logit with respect to each place is 1, so Grad-CAM is the averaged image itself where it is
    positive, for class 1; for class 0 the gradient is -1 and the map is the negative part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Module()
        self.network.bn1 = torch.nn.Identity()
        self.network.blocks = torch.nn.Sequential(torch.nn.AvgPool2d(8))
        self.network.bn2 = torch.nn.AvgPool2d(8)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.network.blocks(self.network.bn1(images))
        return self.scale * self.network.bn2(maps).flatten(1).sum(dim=1)


def test_the_map_of_a_sum_is_the_image_averaged():
    module = BrightnessNetwork()
    known = Classifier(module, {"preprocessing": {"size": SIZE}}, "", torch.device("cpu"))
    assert explain.explained_layer(module, SIZE) == (module.network.blocks[0], 8)  # bn2 leaves 1 place, too few
    image = np.full((SIZE, SIZE), 64, dtype=np.uint8)  # below the middle grey: negative
    image[16:24, 40:48] = 255  # exactly one of the 8x8 places
    bright, dark = explain.grad_cam_maps(known, np.stack([image, image]), np.array([1, 0]))
    assert np.unravel_index(bright.argmax(), bright.shape)[0] in range(16, 24)
    assert np.unravel_index(bright.argmax(), bright.shape)[1] in range(40, 48)
    assert bright[:8].max() == 0
    # for the other class everything but that place speaks
    assert dark[19:21, 43:45].max() < 0.2
    assert dark[56:, :8].min() > 0.99


def test_maps_have_the_crops_shape_and_leave_the_classifier_as_it_was(classifier):
    images = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)
    before = classifier.probabilities(images)
    maps = explain.grad_cam_maps(classifier, images, np.array([0, 1, 0, 1, 1]), batch_size=2)
    assert maps.shape == images.shape
    assert maps.dtype == np.float32
    assert 0 <= maps.min() <= maps.max() <= 1
    assert (classifier.probabilities(images) == before).all()
    assert not any(part.training for part in classifier.module.modules())
    assert all(parameter.grad is None for parameter in classifier.module.parameters())
    # the batch changes nothing but rounding
    classifier.module.requires_grad_(False)  # and frozen layers have maps as well
    whole = explain.grad_cam_maps(classifier, images, np.array([0, 1, 0, 1, 1]))
    classifier.module.requires_grad_(True)
    np.testing.assert_allclose(maps, whole, atol=1e-3)


def test_the_explained_layer_has_maps_of_at_least_four_pixels(classifier):
    layer, side = explain.explained_layer(classifier.module, SIZE)
    assert side >= explain.MINIMUM_MAP_SIDE
    assert any(layer is part for part in classifier.module.modules())
    with pytest.raises(UserError, match="crops of 4 px"):
        explain.explained_layer(classifier.module, 4)


@pytest.mark.parametrize(
    ("shape", "classes", "told"),
    [((2, 32, 32), [0, 1], "takes grey crops"), ((2, SIZE, SIZE), [0], "for each"), ((1, SIZE, SIZE), [2], "for each")],
)
def test_what_cannot_be_explained_is_named(classifier, shape, classes, told):
    with pytest.raises(UserError, match=told):
        explain.grad_cam_maps(classifier, np.zeros(shape, np.uint8), np.array(classes))


def test_no_crops_give_no_maps(classifier):
    assert explain.grad_cam_maps(classifier, np.zeros((0, SIZE, SIZE), np.uint8), np.zeros(0)).shape == (0, SIZE, SIZE)


def test_an_overlay_shows_the_crop_unchanged_where_the_map_is_zero():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    drawn = explain.overlay(image, heat)
    assert (drawn[1:] == image[1:, :, None]).all()
    assert len(set(drawn[0, 0].tolist())) > 1  # coloured


def test_cases_by_hand():
    labels = np.array([1, 1, 1, 0, 0, 0, 1, 0])
    probabilities = np.array([0.1, 0.4, 0.9, 0.8, 0.2, 0.05, 0.2, 0.5])
    subjects = np.array(["a", "b", "c", "d", "e", "f", "a", "g"])
    chosen = explain.choose_cases(labels, probabilities, subjects, 0.5, per_kind=2)
    assert chosen["missed"].tolist() == [0, 1]  # 6 is of subject a, whose surer miss is 0
    assert chosen["false_alarm"].tolist() == [3, 7]  # the threshold itself is called anomalous
    assert chosen["found"].tolist() == [2]
    assert chosen["cleared"].tolist() == [5, 4]


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_every_case_is_of_its_kind_and_no_subject_comes_twice(rows):
    labels, probabilities, subjects = (np.array(column) for column in zip(*rows, strict=True))
    for kind, indices in explain.choose_cases(labels, probabilities, subjects, 0.5, per_kind=3).items():
        label, answer = explain.CASE_KINDS[kind]
        assert (labels[indices] == label).all()
        assert ((probabilities[indices] >= 0.5) == answer).all()
        assert len(set(subjects[indices])) == len(indices) <= 3


def predictions(classifier: Classifier, images: np.ndarray) -> pd.DataFrame:
    count = len(images)
    return pd.DataFrame(
        {
            "image_path": [f"images/{index}.png" for index in range(count)],
            "subject_id": [f"s{index}" for index in range(count)],
            "site": "A",
            "label": np.arange(count) % 2,
            "probability": classifier.probabilities(images),
        }
    )


def test_the_gallery_on_disk(classifier, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (12, SIZE, SIZE), dtype=np.uint8)
    table = predictions(classifier, images)
    threshold = float(table["probability"].median())
    written = explain.write_cases(tmp_path, classifier, images, table, threshold, "phantom_not_clinical", per_kind=2)
    cases = pd.read_csv(tmp_path / explain.CASES_FOLDER / "cases.csv")
    assert list(cases.columns) == list(explain.CASE_COLUMNS)
    assert len(cases) == written > 0
    row = cases.iloc[0]
    # an enlarged crop is the crop, pixel for pixel
    shown = read_grey(tmp_path / explain.CASES_FOLDER / row["file"])
    index = table.index[table["image_path"] == row["image_path"]][0]
    assert (shown[::3, ::3] == images[index]).all()
    assert (tmp_path / explain.CASES_FOLDER / row["overlay"]).is_file()


@pytest.mark.parametrize("kind", ["clinical_frames", "user_images"])
def test_pixels_that_are_not_free_are_not_written(classifier, tmp_path, kind):
    images = np.zeros((4, SIZE, SIZE), dtype=np.uint8)
    assert explain.write_cases(tmp_path, classifier, images, predictions(classifier, images), 0.5, kind) == 0
    assert not list(tmp_path.iterdir())
