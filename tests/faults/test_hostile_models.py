"""Hostile models: checkpoints, model folders and released digests that were forged."""

import json
import re
from pathlib import Path

import pytest
import torch
from hostile import refused

from mlproject import registry
from mlproject.checkpoint import latest_checkpoint, save_checkpoint
from mlproject.checksums import verify_checksums, write_checksums
from mlproject.config import load_config
from mlproject.errors import IntegrityError
from mlproject.gan.networks import build_networks
from mlproject.gan.sampling import load_generator, save_generator
from mlproject.gan.training import TrainedGan
from mlproject.released import check_released, record_release

MEBIBYTE = 2**20


@pytest.mark.parametrize("kind", ["no state", "deep", "a list", "a link", "other bytes", "a number without end"])
def test_a_checkpoint_that_was_forged_is_passed_over(fault, tmp_path, capsys, kind):
    work = tmp_path / "work"
    good = save_checkpoint(work, 1, {"x": torch.ones(2)}, {"best": 1})
    bad = work / "step-00000002"
    texts = {"no state": '{"step": 2}', "deep": "[" * 100_000, "a list": "[2]", "other bytes": "\0"}
    if kind == "a link":
        save_checkpoint(tmp_path / "else", 2, {"x": torch.zeros(2)}, {})
        bad.symlink_to(tmp_path / "else" / "step-00000002")
    elif kind == "a number without end":
        (work / f"step-{'9' * 250}").mkdir()
    else:
        bad.mkdir()
        (bad / "state.json").write_text(texts[kind])
        (bad / "tensors.safetensors").write_bytes((good / "tensors.safetensors").read_bytes())
        write_checksums(bad)
    found = latest_checkpoint(work)
    assert found is not None
    assert found.path == good
    assert (len(capsys.readouterr().err.splitlines()) == 1) == (kind in texts)
    fault(
        "checkpoints without state, nested 100 000 deep, linked from elsewhere, or numbered without end",
        "passed over with one warning; the one before is taken",
    )


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a/../../x", "..", "C:\\x"])
def test_checksums_that_name_a_file_elsewhere(fault, tmp_path, name):
    (tmp_path / "w").write_text("x")
    (tmp_path / "checksums.json").write_text(json.dumps({"algorithm": "sha256", "files": {name: "0" * 64}}))
    with pytest.raises(IntegrityError, match="is not a relative path inside the folder"):
        verify_checksums(tmp_path)
    fault("a model folder whose checksums name files outside it", "refused before a file is read")


@pytest.mark.parametrize("reference", ["models:/nt-gan/../nt-classifier/1", "models:/../x@y", "models:/nt-gan/1/../2"])
def test_a_model_name_with_a_slash(fault, reference):
    assert reference in refused(registry.resolve, None, reference, registry.GENERATOR)
    fault("a model reference with slashes or `..` in its name", "refused before the registry is asked")


def test_released_json_of_another_shape(fault, tmp_path, monkeypatch):
    (tmp_path / "registry").mkdir()
    monkeypatch.setenv("NT_PROJECT_ROOT", str(tmp_path))
    for text in ('{"nt-gan": {"run": {"sha256": 1}}}', "[" * 100_000, '{"nt-gan": 1}', '"x"'):
        (tmp_path / "registry" / "released.json").write_text(text)
        with pytest.raises(IntegrityError, match="not readable as released digests"):
            check_released("nt-gan", "1", "run", "0" * 64)
        with pytest.raises(IntegrityError, match="not readable as released digests"):
            record_release("nt-gan", "1", "run", "0" * 64, "0" * 64)
    fault("registry/released.json of another shape, or nested 100 000 deep", "refused: nothing is loaded or released")


def resident(what: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most since the last reset."""
    (kilobytes,) = re.findall(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024


@pytest.mark.parametrize("claim", [{"base_channels": 512}, {"latent_dim": 10**6}, {"base_channels": 10**15}])
def test_a_generator_that_claims_networks_larger_than_its_weights(fault, tmp_path, claim):
    config = load_config(None, {"gan.architecture": "compact", "gan.base_channels": 4, "gan.latent_dim": 8}).gan
    network, _ = build_networks(config, size=64)
    folder = tmp_path / "generator"
    save_generator(folder, TrainedGan(network, config, 64, ("normal", "anomalous"), 1), {})
    info = json.loads((folder / "generator.json").read_text())
    (folder / "generator.json").write_text(json.dumps(info | {"config": info["config"] | claim}))
    write_checksums(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    before = resident("VmRSS")
    message = refused(load_generator, folder)
    assert "the weights are not those of the architecture 'compact'" in message or "cannot be read" in message
    assert resident("VmHWM") - before < 60 * MEBIBYTE
    fault(
        "a generator.json that claims networks of gigabytes over weights of kilobytes",
        "refused before they are made, below 60 MiB of memory",
    )
