"""Figures agree with torch-fidelity's on the same features."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from mlproject.evaluation.distribution import (
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
)


@pytest.fixture(scope="module")
def features():
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(24, 24)) / 5
    real = np.abs(generator.normal(size=(400, 24)) @ mixing)
    synthetic = np.abs(generator.normal(0.15, 1.1, size=(400, 24)) @ mixing)
    return real, synthetic


def test_kid_agrees_with_torch_fidelity(features):
    real, synthetic = features
    # one subset of every image is the statistic itself
    theirs = kid_features_to_metric(
        torch.from_numpy(real), torch.from_numpy(synthetic), kid_subsets=1, kid_subset_size=400, verbose=False
    )
    ours = kernel_distance(real, synthetic, level=0.95, seed=0).value
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_frechet_agrees_with_torch_fidelity(features):
    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in features]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(*features) == pytest.approx(theirs, rel=1e-4)


def test_precision_and_recall_agree_with_torch_fidelity(features):
    real, synthetic = features
    # theirs takes the generated images first; k = 5 as ours
    theirs = prc_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        prc_neighborhood=5,
        prc_batch_size=400,
        verbose=False,
        save_cpu_ram=False,
    )
    ours = precision_recall_density_coverage(real, synthetic, level=0.95, seed=0)
    assert ours["precision"].value == pytest.approx(theirs["precision"], abs=5e-5)
    assert ours["recall"].value == pytest.approx(theirs["recall"], abs=5e-5)
