"""The phantom as a data set: stable subjects, truth apart, any number of processes."""

import dataclasses
import json

import cv2
import numpy as np
import pandas as pd
import pytest

from mlproject.config import DataConfig, load_config
from mlproject.data import phantom_set
from mlproject.data.checks import COLUMNS
from mlproject.data.crops import Crops, load_crops
from mlproject.data.manifest import load_dataset
from mlproject.data.prepare import prepare, preview
from mlproject.errors import UserError


def config(**changes) -> DataConfig:
    settings = {"n_train": 6, "n_val": 4, "n_test": 4, "n_unseen_site": 2, "frames_per_subject": 2, "seed": 3}
    return load_config(None, {f"data.{key}": value for key, value in {**settings, **changes}.items()}).data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    calls: list[tuple[int, int]] = []
    folder = tmp_path_factory.mktemp("phantom") / "set"
    dataset = prepare(config(), folder, workers=1, progress=lambda done, total: calls.append((done, total)))
    return dataset, calls


def test_subjects_frames_and_sites(made):
    dataset, calls = made
    counts = {split: dataset.rows(split)["subject_id"].nunique() for split in ("train", "val", "test")}
    assert counts == {"train": 6, "val": 4, "test": 6}
    assert (dataset.table.groupby("subject_id").size() == 2).all()
    sites = dataset.table.groupby("split")["site"].agg(set)
    assert sites["train"] | sites["val"] <= {"A", "B"}
    test = dataset.rows("test").drop_duplicates("subject_id")
    assert (test["site"] == "C").sum() == 2
    assert (dataset.table.groupby("subject_id")["label"].nunique() == 1).all()
    assert calls[0] == (0, 16)
    assert calls[-1] == (16, 16)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_everything_says_that_it_is_a_phantom(made):
    dataset, _ = made
    assert dataset.data_kind == "phantom_not_clinical"
    assert "not clinical" in dataset.label_rule["text"]
    assert json.loads((dataset.root / "dataset.json").read_text())["digest"] == dataset.digest


def test_frames_are_stored_losslessly_and_load(made):
    dataset, _ = made
    row = dataset.table.iloc[0]
    image = cv2.imread(str(dataset.root / row["image_path"]), cv2.IMREAD_UNCHANGED)
    assert image.shape == (256, 384)
    assert image.dtype == np.uint8
    crops = load_crops(dataset, "train", workers=1)
    assert crops.images.shape == (12, 64, 64)
    assert not np.isnan(crops.boxes).any()
    assert load_dataset(dataset.root).digest == dataset.digest
    assert preview(dataset, 2).ndim == 2


def test_truth_stands_beside_the_manifest_and_never_in_it(made):
    dataset, _ = made
    truth = pd.read_csv(dataset.root / "truth.csv")
    assert sorted(truth["image_path"]) == sorted(dataset.table["image_path"])
    hidden = set(truth.columns) - {"image_path", "subject_id"}
    assert hidden, "the phantom knows what it drew"
    header = (dataset.root / "manifest.csv").read_text().splitlines()[0].split(",")
    assert not hidden & set(header)
    assert set(header) <= set(COLUMNS)
    assert not hidden & {field.name for field in dataclasses.fields(Crops)}
    assert not hidden & set(dataset.table.columns)


def test_two_processes_draw_the_same_data_set(made, tmp_path):
    dataset, _ = made
    assert prepare(config(), tmp_path / "set", workers=2).digest == dataset.digest


def test_more_training_subjects_leave_validation_and_test_as_they_are(made, tmp_path):
    dataset, _ = made
    grown = prepare(config(n_train=8, n_unseen_site=0), tmp_path / "set", workers=1)
    assert grown.subjects("val") == dataset.subjects("val")
    assert set(grown.subjects("test")) < set(dataset.subjects("test"))
    assert set(dataset.subjects("train")) < set(grown.subjects("train"))
    kept = grown.table[grown.table["split"] != "test"].set_index("image_path")["sha256"]
    before = dataset.table.set_index("image_path")["sha256"]
    shared = kept.index.intersection(before.index)
    assert len(shared) == 20
    assert (kept[shared] == before[shared]).all()


def test_seeds_have_other_subjects_by_name(made, tmp_path):
    dataset, _ = made
    other = prepare(config(seed=4, n_train=8), tmp_path / "set", workers=1)
    assert not set(other.table["subject_id"]) & set(dataset.table["subject_id"])


def test_a_split_of_one_class_is_told_before_drawing(tmp_path):
    lonely = next(
        seed
        for seed in range(100)
        if len({s.label for split, s in phantom_set.draw_splits(seed, 6, 2, 6, 0, 0.5) if split == "val"}) == 1
    )
    with pytest.raises(UserError, match="the val subjects of seed .* are all of one class; raise n_val"):
        prepare(config(seed=lonely, n_val=2), tmp_path / "set", workers=1)
    assert not list(tmp_path.iterdir())
