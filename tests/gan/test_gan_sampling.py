"""Drawing images and keeping generators: independence, true grey levels, refusals, the synthetic data set."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from gan_tiny import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from tampered import flip_a_bit

from mlproject.checksums import write_checksums
from mlproject.data.crops import load_crops
from mlproject.errors import IntegrityError, UserError
from mlproject.gan.networks import build_networks
from mlproject.gan.sampling import TILE, Generator, load_generator, save_generator, to_grey_levels
from mlproject.gan.synthesis import write_synthetic
from mlproject.gan.training import TrainedGan

PREPROCESSING = {"crop": "square", "window_px": 128, "size": 64, "clahe_clip": 2.0, "clahe_tiles": 4}
META = {
    "data_digest": "d" * 64,
    "data_kind": "phantom_not_clinical",
    "train_subjects": ["phantom-1", "phantom-2"],
    "preprocessing": PREPROCESSING,
}


def untrained(architecture="compact", size=64, seed=0):
    config = tiny_config(architecture=architecture, base_channels=8)
    torch.manual_seed(seed)
    network, _ = build_networks(config, size=size)
    if architecture == "dcgan":
        # the weights of the start are so small that every image is the same grey
        for module in network.modules():
            if isinstance(module, torch.nn.ConvTranspose2d):
                torch.nn.init.normal_(module.weight, 0.0, 0.2)
    return TrainedGan(network.eval(), config, size, ("normal", "anomalous"), 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("generator") / "model"
    save_generator(path, untrained(), META)
    return path


@pytest.fixture(scope="module", params=["compact", "dcgan"])
def generator(request):
    trained = untrained(request.param)
    return Generator(trained.generator, trained.size, trained.class_names)


@settings(max_examples=8, deadline=None)
@given(
    count=st.integers(1, 70),
    threads=st.integers(1, 3),
    first=st.integers(0, 40),
    seed=st.integers(0, 3),
    others=st.integers(0, 1),
)
def test_an_image_depends_on_its_seed_class_and_index_alone(generator, count, threads, first, seed, others):
    # a reference that stands alone in its batch, at another place in it, beside other classes
    labels = np.full(first + count, others, dtype=np.int64)
    labels[first + count - 1] = 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many = generator.sample(labels, seed)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    alone = generator.sample(np.array([1]), seed, first_index=first + count - 1)
    assert np.array_equal(many[-1], alone[0])


def test_indices_seeds_and_classes_differ(generator):
    images = generator.sample(np.array([0, 0, 1, 1]), 5)
    assert len({image.tobytes() for image in images}) == 4
    other_class = generator.sample(np.array([1]), 5)
    other_seed = generator.sample(np.array([0]), 6)
    assert len({images[0].tobytes(), other_class[0].tobytes(), other_seed[0].tobytes()}) == 3


def test_batch_norm_is_that_of_training_even_in_training_mode():
    trained = untrained("dcgan")
    generator = Generator(trained.generator, trained.size, trained.class_names)
    before = generator.sample(np.arange(TILE) % 2, 0)
    trained.generator.train()
    assert np.array_equal(generator.sample(np.arange(TILE) % 2, 0), before)
    assert trained.generator.training


def test_grey_levels_by_hand():
    # (x + 1) * 127.5 rounded, halves to even: -1 -> 0, 0 -> 127.5 -> 128, 1 -> 255; nothing is stretched
    values = torch.tensor([-1.0, 0.0, 1.0, -0.5, 0.001, -7.0]).view(1, 1, 2, 3)
    assert to_grey_levels(values).ravel().tolist() == [0, 128, 255, 64, 128, 0]
    assert to_grey_levels(values).dtype == np.uint8


def test_an_unknown_label_is_refused(generator):
    with pytest.raises(UserError, match="normal, anomalous"):
        generator.sample(np.array([0, 2]), 0)
    assert generator.sample(np.zeros(0, dtype=int), 0).shape == (0, 64, 64)


@pytest.mark.parametrize("architecture", ["compact", "dcgan"])
def test_saved_and_loaded_draws_the_same(tmp_path, architecture):
    trained = untrained(architecture)
    digest = save_generator(tmp_path / "model", trained, META)
    labels = np.array([0, 1, 0])
    expected = Generator(trained.generator, trained.size, trained.class_names).sample(labels, 3)
    for path in (tmp_path / "model", tmp_path / "model" / "generator.safetensors"):
        loaded = load_generator(path, expected_digest=digest)
        assert loaded.digest == digest
        assert np.array_equal(loaded.sample(labels, 3), expected)
    assert loaded.info["train_subjects"] == ["phantom-1", "phantom-2"]
    assert loaded.info["config"] == dataclasses.asdict(trained.config)
    assert (loaded.info["config"]["architecture"], loaded.info["step"], loaded.size) == (architecture, 24, 64)


def copied(folder, tmp_path):
    target = tmp_path / "copy"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("name", ["generator.safetensors", "generator.json"])
def test_one_flipped_byte_is_refused(folder, tmp_path, name):
    target = copied(folder, tmp_path)
    flip_a_bit(target / name)
    with pytest.raises(IntegrityError, match=name):
        load_generator(target)


def test_missing_checksums_and_another_digest_are_refused(folder, tmp_path):
    target = copied(folder, tmp_path)
    with pytest.raises(IntegrityError):
        load_generator(target, expected_digest="0" * 64)
    (target / "checksums.json").unlink()
    with pytest.raises(IntegrityError):
        load_generator(target)


def test_weights_of_another_architecture_are_refused(folder, tmp_path):
    target = copied(folder, tmp_path)
    info = json.loads((target / "generator.json").read_text())
    config = info["config"]
    for change in (
        {"config": {**config, "architecture": "dcgan"}},
        {"config": {**config, "base_channels": 16}},
        {"config": {**config, "architecture": "biggan"}},
        {"config": {"architecture": "compact"}},
        {"size": "wide"},
    ):
        (target / "generator.json").write_text(json.dumps({**info, **change}))
        write_checksums(target)
        with pytest.raises(UserError, match=r"architecture|cannot be read"):
            load_generator(target)


def test_a_generator_of_an_earlier_version_is_read(folder, tmp_path):
    target = copied(folder, tmp_path)
    info = json.loads((target / "generator.json").read_text())
    for later in ("cut_anew", "turn_deg", "auxiliary_kind"):
        del info["config"][later]
    (target / "generator.json").write_text(json.dumps(info))
    write_checksums(target)
    labels = np.array([0, 1])
    assert np.array_equal(load_generator(target).sample(labels, 0), load_generator(folder).sample(labels, 0))


@pytest.mark.parametrize("name", ["model.pt", "weights.pkl", "last.ckpt", "pytorch_model.bin"])
def test_a_pickle_is_refused_unread(tmp_path, name):
    path = tmp_path / name
    # a real pickle that would leave a mark if it were read
    path.write_bytes(b"cbuiltins\nexec\n(Vopen(%r, 'w')\ntR." % str(tmp_path / "mark"))
    with pytest.raises(UserError, match="is a pickle"):
        load_generator(path)
    assert not (tmp_path / "mark").exists()


def test_other_paths_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_generator(tmp_path / "absent")
    with pytest.raises(UserError, match=r"expected generator\.safetensors"):
        load_generator(tmp_path)
    with pytest.raises(UserError, match="expected a folder"):
        load_generator(folder / "generator.json")


def test_the_synthetic_data_set(folder, tmp_path):
    generator = load_generator(folder)
    made = write_synthetic(generator, tmp_path / "set", 5, "both", seed=7, batch_size=2, workers=2)
    assert made.data_kind == "synthetic"
    assert made.info["source_data_kind"] == "phantom_not_clinical"
    assert made.info["generator"]["digest"] == generator.digest
    assert made.info["generator"]["train_subjects"] == ["phantom-1", "phantom-2"]
    assert made.preprocessing == {**PREPROCESSING, "applied": True}
    table = made.table
    assert table["label"].tolist() == [0] * 5 + [1] * 5
    assert set(table["split"]) == {"train"}
    assert table["subject_id"].is_unique
    assert all(name.startswith(f"synthetic-{generator.digest[:8]}-7-") for name in table["subject_id"])
    assert set(table["generator_digest"]) == {generator.digest}
    assert set(table["data_digest"]) == {"d" * 64}
    assert table["class_name"].tolist() == ["normal"] * 5 + ["anomalous"] * 5

    # the files hold the drawn grey levels, and reading them as crops changes nothing
    drawn = generator.sample(np.zeros(5, dtype=int), 7)
    stored = cv2.imread(str(made.root / table["image_path"][3]), cv2.IMREAD_UNCHANGED)
    assert stored.ndim == 2
    assert np.array_equal(stored, drawn[3])
    crops = load_crops(made, "train", workers=1)
    assert np.array_equal(crops.images[:5], drawn)
    assert cv2.imread(str(made.root / "grid.png"), cv2.IMREAD_UNCHANGED).ndim == 2


def test_a_larger_set_begins_with_the_smaller(folder, tmp_path):
    generator = load_generator(folder)
    small = write_synthetic(generator, tmp_path / "small", 2, "anomalous", seed=0, batch_size=8, workers=1).table
    large = write_synthetic(generator, tmp_path / "large", 4, "both", seed=0, batch_size=3, workers=2).table
    large = large[large["label"] == 1].reset_index(drop=True)
    for column in ("sha256", "subject_id", "image_path"):
        assert large[column][:2].tolist() == small[column].tolist()


def test_what_cannot_be_drawn_leaves_nothing(folder, tmp_path):
    generator = load_generator(folder)
    with pytest.raises(UserError, match="the generator knows both, normal, anomalous"):
        write_synthetic(generator, tmp_path / "set", 1, "septated", seed=0, batch_size=8)
    nameless = dataclasses.replace(generator, info={"data_kind": "phantom_not_clinical"})
    with pytest.raises(UserError, match="data_digest, train_subjects, preprocessing"):
        write_synthetic(nameless, tmp_path / "set", 1, "both", seed=0, batch_size=8)
    assert list(tmp_path.iterdir()) == []
