"""What can be learnt from the phantom: too much for a trivial model would be a shortcut, too little a useless set.

Minutes long, hence slow. Crops are the box, area-resized to 64 x 64, two frames of each subject.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from mlproject.data.phantom import Subject, draw_subjects, limit_threads, render_subject

pytestmark = pytest.mark.slow

SEED = 0
N_TRAIN, N_TEST, FRAMES = 1200, 400, 2
STEPS, BATCH, RATE = 700, 32, 2e-3


@dataclass(frozen=True)
class Patches:
    """uint8 [n, 64, 64] and int64 [n]; consecutive pairs belong to one subject."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, subjects: int) -> "Patches":
        return Patches(self.images[: subjects * FRAMES], self.labels[: subjects * FRAMES])


def cut(subject: Subject) -> np.ndarray:
    crops = []
    for frame in render_subject(SEED, subject, FRAMES):
        top, left, bottom, right = frame.box
        crops.append(cv2.resize(frame.image[top:bottom, left:right], (64, 64), interpolation=cv2.INTER_AREA))
    return np.stack(crops)


def render(n: int, first_index: int) -> Patches:
    subjects = draw_subjects(SEED, n, ("A", "B"), 0.5, first_index)
    with ProcessPoolExecutor(2, initializer=limit_threads) as pool:
        images = np.concatenate(list(pool.map(cut, subjects, chunksize=8)))
    return Patches(images, np.repeat([subject.label for subject in subjects], FRAMES))


@pytest.fixture(scope="module")
def train() -> Patches:
    return render(N_TRAIN, 0)


@pytest.fixture(scope="module")
def test() -> Patches:
    return render(N_TEST, 1_000_000)


@pytest.mark.parametrize("subjects", [200, 1200])
def test_sixteen_pixels_and_a_line_do_not_suffice(train, test, subjects):
    def shrink(patches: Patches) -> np.ndarray:
        small = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).ravel() for image in patches.images]
        return np.array(small, np.float64)

    known = train.first(subjects)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(shrink(known), known.labels)
    area = roc_auc_score(test.labels, model.predict_proba(shrink(test))[:, 1])
    print(f"16 x 16, {subjects} subjects: AUC {area:.3f}")
    assert area <= 0.75


def test_mean_grey_does_not_tell_the_label(train, test):
    brightness = np.concatenate([train.images.mean(axis=(1, 2)), test.images.mean(axis=(1, 2))])
    labels = np.concatenate([train.labels, test.labels])
    # 1600 subjects: the standard error of an AUC at 0.5 is about 0.014
    area = roc_auc_score(labels, brightness)
    print(f"mean grey: AUC {area:.3f}")
    assert area == pytest.approx(0.5, abs=0.06)


def small_network() -> nn.Sequential:
    """Four blocks of convolution, normalisation and pooling, 0.1 M parameters."""
    layers: list[nn.Module] = []
    for inward, outward in ((1, 16), (16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inward, outward, 3, padding=1, bias=False), nn.BatchNorm2d(outward), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 1))


def as_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float().div(127.5).sub(1)[:, None]


def augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror, shift by up to 4 pixels and change of gain and level."""
    mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
    batch = torch.where(mirrored, batch.flip(3), batch)
    down, right = torch.randint(0, 9, (2,), generator=generator).tolist()
    batch = F.pad(batch, (4, 4, 4, 4), mode="replicate")[:, :, down : down + 64, right : right + 64]
    gain, level = torch.randn(2, len(batch), 1, 1, 1, generator=generator) * 0.1
    return batch * (1 + gain) + level


def learn(known: Patches, test: Patches, seed: int) -> float:
    """Frame AUC on `test` of the small network after 700 steps on `known`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = small_network()
    generator = torch.Generator().manual_seed(seed)
    images, labels = as_tensor(known.images), torch.from_numpy(known.labels).float()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        scores = network(augment(images[chosen], generator))[:, 0]
        loss = F.binary_cross_entropy_with_logits(scores, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        return float(roc_auc_score(test.labels, network(as_tensor(test.images))[:, 0].numpy()))


def test_more_subjects_teach_more(train, test):
    areas = {n: [learn(train.first(n), test, seed) for seed in (0, 1)] for n in (200, 1200)}
    print("frame AUC by training subjects:", areas)
    few, many = np.mean(areas[200]), np.mean(areas[1200])
    assert 0.85 <= few <= 0.95
    assert many >= few + 0.02
