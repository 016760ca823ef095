"""The figures of a generator's evaluation: texture beside real images, nearest neighbours, distances."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mlproject.evaluation.figures import PALETTE, new_figure, style_axes
from mlproject.evaluation.generator_report import Sample
from mlproject.evaluation.grids import labelled_grid_figure
from mlproject.evaluation.membership import nearest
from mlproject.evaluation.texture import grey_histograms, radial_power_spectra, speckle_profiles

_REAL, _SYNTHETIC = PALETTE[0], PALETTE[3]


def texture_figure(real: np.ndarray, synthetic: np.ndarray) -> Figure:
    """Grey levels, power over spatial frequency and axial and lateral autocorrelation of both sets, uint8 [n, s, s]."""
    figure = new_figure(1100, 760)
    axes = figure.subplots(2, 2).ravel()
    for images, name, colour in ((real, "real", _REAL), (synthetic, "synthetic", _SYNTHETIC)):
        histogram = grey_histograms(images).mean(axis=0).reshape(64, 4).sum(axis=1)
        axes[0].plot(np.arange(2, 256, 4), histogram, color=colour, label=name)
        power = radial_power_spectra(images).mean(axis=0)
        axes[1].plot(np.arange(1, len(power) + 1), 10 * np.log10(power + 1e-6), color=colour, label=name)
        for axis, profile in zip(axes[2:], speckle_profiles(images), strict=True):
            axis.plot(np.nanmean(profile, axis=0)[:12], color=colour, label=name, marker="o", markersize=3)
    style_axes(axes[0], "grey level", "share of pixels", "Grey levels")
    style_axes(axes[1], "cycles per image", "power (dB)", "Radial power spectrum")
    style_axes(axes[2], "lag (px)", "autocorrelation", "Speckle along the beam")
    style_axes(axes[3], "lag (px)", "autocorrelation", "Speckle across the beam")
    axes[0].legend(frameon=False)
    return figure


def closest_pairs_figure(
    synthetic: np.ndarray, train: np.ndarray, pairs: Sequence[Sequence[int]], space: str
) -> Figure:
    """Synthetic images above the training images that they are nearest to, nearest pair first.

    Args:
        synthetic, train: uint8 [n, s, s].
        pairs: (synthetic, training) indices.
        space: in which they are near.
    """
    rows: dict[str, np.ndarray] = {}
    for start in range(0, len(pairs), 8):
        part = pairs[start : start + 8]
        rank = f"{start + 1} to {start + len(part)}"
        rows[f"synthetic, pairs {rank}"] = synthetic[[pair[0] for pair in part]]
        rows[f"nearest training image, pairs {rank}"] = train[[pair[1] for pair in part]]
    return labelled_grid_figure(rows, columns=8, title=f"Closest pairs of synthetic and training images, in {space}")


def distances_figure(sets: Mapping[str, Sample], space: str) -> Figure:
    """Distances to the nearest training image, of synthetic images and of hold-out images.

    Args:
        sets: train, hold_out and synthetic.
        space: pixels or features.
    """
    rows = {
        name: (sets[name].images if space == "pixels" else sets[name].features).reshape(len(sets[name]), -1)
        for name in ("train", "hold_out", "synthetic")
    }
    distances = {name: nearest(rows[name], rows["train"])[0] for name in ("hold_out", "synthetic")}
    figure = new_figure(800, 460)
    axes = figure.subplots()
    bins = np.histogram_bin_edges(np.concatenate(list(distances.values())), bins=40)
    for (name, values), colour in zip(distances.items(), (_REAL, _SYNTHETIC), strict=True):
        axes.hist(
            values,
            bins=bins.tolist(),
            density=True,
            histtype="step",
            linewidth=2,
            color=colour,
            label=name.replace("_", "-"),
        )
    style_axes(axes, f"distance to the nearest training image ({space})", "density", "Nearest training images")
    axes.legend(frameon=False)
    return figure
