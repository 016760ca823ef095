"""What each part of the generator is worth: the default with one thing changed, at equal steps, over several seeds.

    python benchmarks/ablation.py --steps 400 --seeds 2 --out outputs/ablation

Every seed has its own training subjects. A finished fit is kept in its file and not done again, so the table grows
over several calls. All figures are against phantom subjects that no generator saw, in the eyes of one judge.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from mlproject import runtime
from mlproject.classifier.feature_space import feature_space, lite0_maps
from mlproject.classifier.inference import Classifier, load_classifier, save_classifier
from mlproject.classifier.training import train_classifier
from mlproject.config import PROJECT_ROOT, Configuration, load_config
from mlproject.data.crops import Crops, load_crops, load_surroundings
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.data.prepare import prepare
from mlproject.evaluation.distribution import kernel_distance
from mlproject.evaluation.fidelity import class_fidelity
from mlproject.evaluation.figures import PALETTE, figure_png, new_figure, style_axes
from mlproject.evaluation.membership import membership_attack
from mlproject.evaluation.texture import radial_spectrum_distance, speckle_lengths
from mlproject.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from mlproject.gan.batches import reach_px
from mlproject.gan.sampling import Generator
from mlproject.gan.training import train_gan

# for its own number of steps: one takes several times as long
_THESIS = dataclasses.asdict(load_config(PROJECT_ROOT / "configs" / "thesis.yaml").gan)
_OF_A_FIT = ("steps", "epochs", "grid_every", "checkpoint_every", "log_every", "seed", "subjects", "precision")

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "without the feature critic": {"feature_critic": 0},
    "without the feature critic, 3 critic steps": {"feature_critic": 0, "critic_steps": 3},
    "without the auxiliary classifier": {"auxiliary": 0},
    "without noise planes": {"noise": False},
    "without minibatch statistics": {"minibatch_group": 0},
    "without averaging": {"ema_images": 0},
    "without the drift term": {"drift": 0},
    "penalty at every step": {"penalty_every": 1},
    "label as projection only": {"conditioning": "projection"},
    "label as planes only": {"conditioning": "planes"},
    "stronger label embedding": {"label_scale": 0.8},
    "mismatched labels, 15 %": {"mismatched": 0.15},
    "moved images cut anew from their frames": {"cut_anew": True},
    "images cut anew and turned": {"cut_anew": True, "turn_deg": 12},
    "twin auxiliary classifiers": {"auxiliary_kind": "twins"},
    "images neither moved nor mirrored": {"mirror": False, "jitter_px": 0},
    "images moved, not mirrored": {"mirror": False},
    "images mirrored, not moved": {"jitter_px": 0},
    "translated images": {"augment": "translation"},
    "translated and brightened images": {"augment": "translation_brightness"},
    "constant learning rate": {"schedule": "constant"},
    "fp32": {"precision": "fp32"},
    "the thesis's networks, with the rest": {"architecture": "dcgan"},
    "the thesis's networks and settings": {name: _THESIS[name] for name in _THESIS.keys() - set(_OF_A_FIT)},
}
COLUMNS = {
    "kid": "KID, lite0",
    "kid_judge": "KID, judge",
    "judge_auc": "judge AUC",
    "recall_gap_normal": "recall gap, normal",
    "recall_gap_anomalous": "recall gap, anomalous",
    "spectrum_db": "spectrum, dB",
    "speckle_axial": "axial speckle",
    "speckle_lateral": "lateral speckle",
    "attack": "membership AUC, pixels",
    "seconds": "CPU seconds",
}
PER_CLASS = 300
FIRST_SEED = 101


def data_of(config: Configuration, out: Path, seed: int, **counts: int) -> DataSet:
    """A phantom of this seed, drawn once."""
    folder = out / f"phantom-{seed}"
    if not (folder / "dataset.json").is_file():
        prepare(dataclasses.replace(config.data, seed=seed, **counts), folder, workers=0, progress=lambda *_: None)
    return load_dataset(folder)


def judge_of(config: Configuration, out: Path, reference: DataSet) -> Classifier:
    """The judge: trained on the reference's training subjects, once."""
    folder = out / "judge"
    if not folder.is_dir():
        settings = dataclasses.replace(config.classifier, mix="real", steps=config.fidelity.judge_steps)
        trained = train_classifier(
            load_crops(reference, "train"),
            None,
            load_crops(reference, "val"),
            settings,
            work_dir=out / "judge-work",
            device=torch.device("cpu"),
            report=lambda *_: None,
            report_image=lambda *_: None,
        )
        meta = {
            "preprocessing": reference.preprocessing,
            "class_names": reference.info["class_names"],
            "threshold": 0.5,
            "data_digest": reference.digest,
            "data_kind": reference.data_kind,
            "train_subjects": reference.subjects("train"),
        }
        save_classifier(folder, trained, meta)
    return load_classifier(folder)


def rows_of(images: np.ndarray) -> np.ndarray:
    """Pixels as features, float64 [n, height * width]."""
    return images.reshape(len(images), -1).astype(np.float64)


class Bench:
    """The reference images, the judge and the features, ready for any generator."""

    def __init__(self, config: Configuration, out: Path) -> None:
        self.config = config
        fidelity = config.fidelity
        counts = {"n_train": fidelity.judge_subjects, "n_val": 150, "n_test": fidelity.hold_out_subjects}
        reference = data_of(config, out, fidelity.reference_seed, **counts)
        self.judge = judge_of(config, out, reference)
        held = load_crops(reference, "test")
        self.strangers, self.stranger_rows = held.subjects, rows_of(held.images)
        # one frame of each subject: independent images
        self.held: Crops = held.select(np.sort(np.unique(held.subjects, return_index=True)[1]))
        self.features = feature_space("lite0", config.classifier, torch.device("cpu"))
        self.real = {"lite0": self.features(self.held.images), "judge": self.judge.features(self.held.images)}
        self.real_recall = self.recall(self.held.labels, self.held.images)[1]

    def recall(self, labels: np.ndarray, images: np.ndarray) -> tuple[float, dict[str, float]]:
        found = class_fidelity(labels, self.judge.probabilities(images), 0.5, level=0.95)
        return found.auc.value, {name: interval.value for name, interval in found.recall.items()}

    def attack(self, train: Crops, synthetic: np.ndarray) -> float:
        """With mirror images released as well, as `eval_gan` sees it."""
        members, others = (rows_of(train.images), train.subjects), (self.stranger_rows, self.strangers)
        released = rows_of(np.concatenate([synthetic, synthetic[:, :, ::-1]]))
        return membership_attack(*members, *others, released, draws=100, level=0.95, seed=0).value

    def measure(self, generator: Generator, train: Crops) -> dict[str, float]:
        labels = np.repeat([0, 1], PER_CLASS)
        images = generator.sample(labels, seed=0)
        auc, recall = self.recall(labels, images)
        options: dict[str, Any] = {"level": 0.95, "seed": 0}
        lengths = [
            speckle_lengths(one, subjects, draws=100, **options)
            for one, subjects in ((images, np.arange(len(images))), (self.held.images, self.held.subjects))
        ]
        return {
            "kid": kernel_distance(self.real["lite0"], self.features(images), **options).value,
            "kid_judge": kernel_distance(self.real["judge"], self.judge.features(images), **options).value,
            "judge_auc": auc,
            **{f"recall_gap_{name}": recall[name] - self.real_recall[name] for name in recall},
            "spectrum_db": radial_spectrum_distance(self.held.images, self.held.subjects, images, **options).value,
            "speckle_axial": lengths[0]["axial_px"].value / lengths[1]["axial_px"].value,
            "speckle_lateral": lengths[0]["lateral_px"].value / lengths[1]["lateral_px"].value,
            "attack": self.attack(train, images),
        }

    def fit(self, out: Path, name: str, changes: dict[str, Any], seed: int, steps: int) -> dict[str, float]:
        """One generator, or what its file says of it."""
        path = out / "fits" / f"{name.replace(' ', '-').replace(',', '')}-{steps}-{seed}.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        every = max(1, steps // 4)
        run = {"steps": steps, "grid_every": steps, "checkpoint_every": every, "seed": seed}
        config = dataclasses.replace(self.config.gan, **(run | changes))
        dataset = data_of(self.config, out, seed)
        crops = load_crops(dataset, "train")
        around = load_surroundings(dataset, crops, reach_px(config, crops.images.shape[1])) if config.cut_anew else None
        started = time.process_time()
        trained = train_gan(
            crops.images,
            crops.labels,
            config,
            surroundings=around,
            work_dir=out / "work" / path.stem,
            device="cpu",
            report=lambda *_: None,
            report_image=lambda *_: None,
            feature_maps=lite0_maps(self.config.classifier, torch.device("cpu")) if config.feature_critic else None,
        )
        seconds = time.process_time() - started
        found = self.measure(Generator(trained.generator, trained.size, trained.class_names), crops)
        found["seconds"] = seconds
        atomic_write_json(path, found)
        return found


def interval_text(values: list[float]) -> str:
    """Mean and, from two seeds on, the 95 % t interval's half-width."""
    if len(values) < 2:
        return f"{values[0]:.3g}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3g} ± {half:.2g}"


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Markdown, a row for each variant."""
    lines = ["| " + " | ".join(["variant", "seeds", *COLUMNS.values()]) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, fits in rows.items():
        cells = [interval_text([fit[column] for fit in fits]) for column in COLUMNS]
        lines.append("| " + " | ".join([name, str(len(fits)), *cells]) + " |")
    return "\n".join(lines)


def figure(rows: dict[str, list[dict[str, float]]]) -> bytes:
    """KID of every variant and seed, on a logarithmic axis."""
    drawn = new_figure(900, 120 + 34 * len(rows))
    axes = drawn.subplots()
    for place, (_name, fits) in enumerate(rows.items()):
        values = [max(fit["kid"], 1e-2) for fit in fits]
        axes.plot(values, [place] * len(values), "o", color=PALETTE[0], markersize=7, alpha=0.8)
        axes.plot([np.exp(np.mean(np.log(values)))] * 2, [place - 0.3, place + 0.3], color=PALETTE[1], linewidth=2)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xscale("log")
    style_axes(
        axes, "KID in Lite0 features (a dot is a seed, the bar their geometric mean)", "", "One change at a time"
    )
    return figure_png(drawn)


def main() -> None:
    """Fit what is missing, then print and write the table and the figure of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--variants", default="", help="names, separated by semicolons; default: all")
    parser.add_argument("--out", default="outputs/ablation")
    options = parser.parse_args()
    chosen = [name.strip() for name in options.variants.split(";")] if options.variants else list(VARIANTS)
    if unknown := sorted(set(chosen) - VARIANTS.keys()):
        parser.error(f"--variants: no {', '.join(unknown)}; choose from {'; '.join(VARIANTS)}")
    out = Path(options.out)
    runtime.set_threads(options.threads)
    bench = Bench(load_config(), out)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        for name in chosen:
            rows[name].append(bench.fit(out, name, VARIANTS[name], seed, options.steps))
            print(name, seed, {key: round(value, 3) for key, value in rows[name][-1].items()}, flush=True)
    print(table(rows))
    atomic_write_text(out / "ablation.md", table(rows) + "\n")
    atomic_write_bytes(out / "ablation.png", figure(rows))


if __name__ == "__main__":
    main()
