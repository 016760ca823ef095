"""What a step of training sees: which images, moved and mirrored or not, under which label, at which learning rate."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlproject.config import GanConfig
from mlproject.distributed import ALONE, World
from mlproject.runtime import seed_for

# where a falling learning rate ends, as a share of the configured one
FINAL_RATE = 0.1


def as_float(images: Tensor) -> Tensor:
    """uint8 [n, height, width] as float [n, 1, height, width] in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)[:, None]


def rate_share(schedule: str, step: int, total: int) -> float:
    """The learning rate at a step as a share of the configured one.

    `constant` is 1 throughout; `linear` is 1 in the first half of the run and then falls to a tenth at its end.
    """
    if schedule == "constant":
        return 1.0
    return 1 - (1 - FINAL_RATE) * max(0.0, 2 * step / total - 1)


def mirror_some(images: Tensor, generator: torch.Generator, world: World = ALONE) -> Tensor:
    """Each image [n, ..., height, width], of a process's rows, mirrored left to right with probability one half."""
    mirrored = world.rows(torch.rand(len(images) * world.size, generator=generator) < 0.5)
    return torch.where(mirrored.to(images.device).view(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)


def reach_px(config: GanConfig, size: int) -> int:
    """How far around crops of `size` pixels moving and turning them as configured reaches, in their pixels."""
    turn = math.radians(config.turn_deg)
    return config.jitter_px + math.ceil((math.cos(turn) + math.sin(turn) - 1) * (size - 1) / 2)


def moved_crops(surroundings: Tensor, size: int, config: GanConfig, generator: torch.Generator) -> Tensor:
    """Crops anywhere in their surroundings: moved by up to `jitter_px`, turned by up to `turn_deg`, each way.

    For real images alone: where the crop lies in its frame, and how the subject does, varies by more than this from
    subject to subject, so the data stay what they are, but no speckle of a training image stands at the same pixel
    twice. Moves are by pixels of the frame; what lies between them in a turned crop is interpolated bicubically.

    Args:
        surroundings: uint8 [n, side, side], see `data.crops.cut_surroundings`, with a reach of `reach_px`.
        size: of a crop.
        config: says how far; what is 0 is not drawn.
        generator: of the moves and turns.

    Returns:
        float [n, 1, size, size] in [-1, 1], whole grey levels.
    """
    count, side, device = len(surroundings), surroundings.shape[1], surroundings.device
    scale = (side - 1) // (size + 2 * reach_px(config, size) - 1)
    limit = scale * config.jitter_px
    moves = torch.zeros(2, count, dtype=torch.int64)
    if limit:
        moves = torch.randint(0, 2 * limit + 1, (2, count), generator=generator) - limit
    # where the pixels of an unmoved crop lie about the middle
    places = scale * (torch.arange(size, device=device) - (size - 1) / 2)
    down, right = moves.to(device)
    if config.turn_deg == 0:
        rows, columns = ((places + (side - 1) / 2).long() + move[:, None] for move in (down, right))
        which = torch.arange(count, device=device)[:, None, None]
        return as_float(surroundings[which, rows[:, :, None], columns[:, None, :]])
    turns = math.radians(config.turn_deg) * (2 * torch.rand(count, generator=generator) - 1).to(device)
    cosine, sine = turns.cos()[:, None, None], turns.sin()[:, None, None]
    rows = cosine * places[:, None] - sine * places + down[:, None, None]
    columns = sine * places[:, None] + cosine * places + right[:, None, None]
    grid = torch.stack([columns, rows], dim=-1) * (2 / (side - 1))
    turned = F.grid_sample(surroundings.float()[:, None], grid, "bicubic", "border", align_corners=True)
    return as_float(turned[:, 0].clamp(0, 255).round())


def with_mismatched(fake: Tensor, real: Tensor, labels: Tensor, share: float, world: World = ALONE) -> Tensor:
    """The first images of the synthetic batch replaced by real images of another class than asked for.

    A critic that rates those low has to look at the class (Reed et al. 2016). Image i becomes a real image of the
    batch whose label is not labels[i]; without any it stays. With share w the generator's optimum becomes
    (p(x|y) - w p(x|other)) / (1 - w), which draws the classes a little more apart than they are.

    Of several processes each gives its own rows as `fake`, and `real` and `labels` of the whole batch.
    """
    first = world.rank * len(fake)
    count = min(max(round(share * len(real)) - first, 0), len(fake))
    if count == 0:
        return fake
    rows = torch.arange(len(real), device=fake.device)
    own = rows[first : first + count]
    # the next image in the batch whose class differs, around the end
    distance = (rows[None, :] - own[:, None]) % len(real)
    distance = torch.where(labels[None, :] != labels[own][:, None], distance, len(real))
    nearest, source = distance.min(dim=1)
    replaced = torch.where((nearest < len(real))[:, None, None, None], real[source], fake[:count])
    return torch.cat([replaced, fake[count:]])


def batch_indices(seed: int, n_images: int, batch_size: int, turn: int) -> np.ndarray:
    """Which images critic step `turn` sees, int64 [batch_size]: shuffled passes laid end to end, cut into batches."""
    positions = np.arange(turn * batch_size, (turn + 1) * batch_size)
    epochs, places = np.divmod(positions, n_images)
    return np.array([_order(seed, n_images, int(epoch))[place] for epoch, place in zip(epochs, places, strict=True)])


@functools.lru_cache(maxsize=4)
def _order(seed: int, n_images: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(seed_for(seed, "order", epoch)).permutation(n_images)
