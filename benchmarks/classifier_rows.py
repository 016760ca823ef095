"""`classifier_epoch`: the project's loop on crops in memory against decoding, cutting and logging as one goes."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sizes import Sizes
from stores import StoredRun
from timing import Enough, Row, Turns, seconds_row
from timm.optim import param_groups_weight_decay
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlproject.classifier.network import build_classifier
from mlproject.classifier.training import class_weights, train_classifier
from mlproject.config import ClassifierConfig, load_config
from mlproject.data.augment import pipeline
from mlproject.data.checks import BOX
from mlproject.data.crops import cut_crop, load_crops
from mlproject.data.images import read_grey
from mlproject.data.manifest import DataSet
from mlproject.data.prepare import prepare


class FrameFiles(Dataset):
    """A data set as tutorials write it: file, box and label; decoded, cut, equalised and augmented when asked for."""

    def __init__(self, dataset: DataSet, augment: str) -> None:
        self.dataset = dataset
        self.rows = dataset.rows("train")
        self.boxes = self.rows[list(BOX)].to_numpy(np.float32)
        self.labels = self.rows["label"].to_numpy(np.int64)
        self.paths = self.rows["image_path"].tolist()
        self.transform = pipeline(augment)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = read_grey(self.dataset.root / self.paths[index])
        crop = cut_crop(image, self.boxes[index], self.dataset.preprocessing)
        crop = self.transform(image=crop[:, :, None])["image"].transpose(2, 0, 1)
        return torch.from_numpy(crop.copy()).float() / 127.5 - 1, torch.tensor(self.labels[index])


class PlainClassifierTraining:
    """The same network, loss, optimiser and batch size; contiguous, one call of the tracker for each metric."""

    def __init__(self, dataset: DataSet, config: ClassifierConfig, log: Callable[[str, float, int], None]) -> None:
        files = FrameFiles(dataset, config.augment)
        self.loader = DataLoader(files, config.batch_size, shuffle=True, drop_last=True)
        self.module = build_classifier(config).train()
        share = float(files.labels.mean())
        self.weights = class_weights((1 - share, share), config.class_weighting)
        self.optimizer = torch.optim.AdamW(
            param_groups_weight_decay(self.module, config.weight_decay), lr=config.learning_rate
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=config.steps
        )
        self.log, self.step = log, 0

    def epoch(self) -> None:
        for images, labels in self.loader:
            logits = self.module(images)
            loss = F.binary_cross_entropy_with_logits(logits, labels.float(), weight=self.weights[labels])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            self.log("train.loss", loss.item(), self.step)
            self.log("train.learning_rate", self.schedule.get_last_lr()[0], self.step)


def bench_dataset(sizes: Sizes, folder: Path) -> DataSet:
    """A phantom with CLAHE, whose training images fill whole batches."""
    data = dataclasses.replace(
        load_config().data,
        n_train=sizes.classifier_subjects,
        n_val=8,
        n_test=8,
        frames_per_subject=sizes.classifier_frames,
        clahe_clip=2.0,
    )
    return prepare(data, folder / "data", workers=1)


def classifier_epoch(sizes: Sizes, stored: StoredRun, folder: Path) -> Row:
    """Seconds of an epoch of the default classifier."""
    dataset = bench_dataset(sizes, folder)
    config = dataclasses.replace(
        load_config().classifier,
        batch_size=sizes.classifier_batch,
        steps=1_000_000,
        eval_every=1_000_000,
        checkpoint_every=1_000_000,
    )
    real, validation = load_crops(dataset, "train"), load_crops(dataset, "val")
    assert len(real) % config.batch_size == 0, "an epoch is to be whole batches"
    plain = PlainClassifierTraining(dataset, config, stored.log_one)
    turns = Turns(plain.epoch, sizes.budget, steps=len(real) // config.batch_size)
    with stored.journal(folder / "classifier") as report, contextlib.suppress(Enough):
        train_classifier(
            real,
            None,
            validation,
            config,
            work_dir=folder / "classifier",
            device=torch.device("cpu"),
            report=report,
            report_image=lambda step, name, image: None,
            progress=turns,
        )
    return seconds_row(*turns.medians(), "s/epoch")
