"""Rendered frames: contrast, determinism, counterfactual pairs, and no way around the anatomy to the label."""

import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlproject.config import PROJECT_ROOT
from mlproject.data.phantom import (
    Frame,
    Subject,
    draw_subjects,
    limit_threads,
    render_counterfactual,
    render_frame,
    render_subject,
)
from mlproject.data.phantom.anatomy import body_coordinates
from mlproject.data.phantom.frames import FrameParts, build_frame
from mlproject.data.phantom.imaging import to_grey
from mlproject.data.phantom.latents import HEIGHT_PX, WIDTH_PX, box_px, draw_body, draw_pose
from mlproject.data.phantom.sites import SITES, draw_acquisition
from mlproject.data.phantom.streams import Stream, generator

SEED = 11
N_PER_SITE = 30  # twice, as pairs: 60 frames


@pytest.fixture(scope="module")
def seen() -> list[Frame]:
    """One frame of each of 100 subjects of the seen sites."""
    return [render_frame(SEED, subject, 0) for subject in draw_subjects(SEED, 100, ("A", "B"), 0.5)]


# ---- contrast ----


def contrast_and_cnr(parts: FrameParts, subject: Subject) -> tuple[float, float]:
    """Median level of muscle over nuchal fluid in dB, and contrast-to-noise ratio of their grey levels.

    Measured about the nape, where calipers are set, on pixels that hold no echo of a border.
    """
    along, _ = body_coordinates(parts.pose, parts.acquisition.spacing_mm)
    near = np.abs(along) < 0.03 * subject.crl_mm
    fluid = parts.scene.nuchal & near & (parts.scene.lines < 0.01)
    muscle = parts.scene.muscle & near & (parts.scene.lines < 0.2)
    if fluid.sum() < 10:  # a band of less than about 0.8 mm is all border
        return np.nan, np.nan
    level_db = 20 * np.log10(parts.envelope + 1e-9)
    grey = to_grey(parts.envelope, SITES[subject.site], parts.acquisition, parts.curve_db).astype(np.float64)
    noise = np.sqrt(grey[fluid].var() + grey[muscle].var())
    return np.median(level_db[muscle]) - np.median(level_db[fluid]), (grey[muscle].mean() - grey[fluid].mean()) / noise


@pytest.mark.parametrize("site", ["A", "B", "C"])
def test_fluid_is_dark_and_as_dark_in_both_classes(site):
    subjects = draw_subjects(SEED, N_PER_SITE, (site,), 0.5)
    # pairs that differ in thickness alone: a usual and an enlarged band, about the medians of the two classes
    pairs = [
        [contrast_and_cnr(build_frame(SEED, subject.with_thickness(t_mm), 0), subject) for t_mm in (1.6, 3.2)]
        for subject in subjects
    ]
    contrast, cnr = np.array(pairs)[..., 0], np.array(pairs)[..., 1]
    assert 20 <= np.nanmedian(contrast) <= 35
    assert abs(np.nanmedian(contrast[:, 1] - contrast[:, 0])) < 4
    assert np.nanmedian(cnr) > 2


def test_grey_levels_are_used_and_not_blown_out(seen):
    images = np.stack([frame.image for frame in seen])
    assert images.dtype == np.uint8
    assert images.shape == (100, HEIGHT_PX, WIDTH_PX)
    assert 60 <= images.mean() <= 130
    assert np.mean(images == 255) < 0.01


# ---- determinism ----


def digest(seed: int, subject: Subject, frame_index: int) -> str:
    return hashlib.sha256(render_frame(seed, subject, frame_index).image.tobytes()).hexdigest()


def test_frames_are_the_same_in_any_order_and_any_number_of_processes():
    subjects = draw_subjects(5, 4, ("A", "B", "C"), 0.5)
    keys = [(5, subject, frame_index) for subject in subjects for frame_index in range(2)]
    here = [digest(*key) for key in keys]
    assert len(set(here)) == len(here)
    assert [digest(*key) for key in reversed(keys)] == here[::-1]
    for workers in (1, 2):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=limit_threads) as pool:
            per_subject = list(pool.map(render_subject, [5] * 4, subjects, [2] * 4))
        images = [frame.image for frames in per_subject for frame in frames]
        assert [hashlib.sha256(image.tobytes()).hexdigest() for image in images] == here


def test_global_random_state_is_neither_used_nor_changed():
    subject = draw_subjects(5, 1, ("A",), 0.5)[0]
    np.random.seed(0)  # noqa: NPY002
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    first = digest(5, subject, 0)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert digest(5, subject, 0) == first


DRAW_TO_FILE = """
import sys
import numpy as np
from mlproject.data.phantom import draw_subjects, limit_threads, render_frame
limit_threads()
subjects = draw_subjects(5, 6, ("A", "B", "C"), 0.5)
np.save(sys.argv[1], np.stack([render_frame(5, subject, 0).image for subject in subjects]))
"""


def test_another_processor_moves_few_pixels_by_one_level(tmp_path):
    """Other vector instructions round differently: hence no digest of pixels is ever committed."""
    older = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3", "OPENCV_CPU_DISABLE": "AVX2,FMA3,AVX512-SKX"}
    images = []
    for name, changes in (("this", {}), ("older", older)):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src"), **changes}
        command = [sys.executable, "-W", "ignore", "-c", DRAW_TO_FILE, str(tmp_path / f"{name}.npy")]
        subprocess.run(command, check=True, env=environment)
        images.append(np.load(tmp_path / f"{name}.npy").astype(int))
    difference = np.abs(images[0] - images[1])
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= 1e-4


def test_seed_subject_and_frame_each_change_the_image():
    first, second = draw_subjects(5, 2, ("A",), 0.5)
    assert len({digest(5, first, 0), digest(6, first, 0), digest(5, second, 0), digest(5, first, 1)}) == 4


# ---- counterfactual pairs ----


def test_another_thickness_changes_the_nape_and_nothing_else():
    subject = draw_subjects(SEED, 1, ("A",), 0.5)[0]
    thin, thick = (render_counterfactual(SEED, subject, 0, t_mm) for t_mm in (1.2, 3.2))
    assert thin.box == thick.box
    caused = {"t_mm", "t_measured_mm", "t_frame_mm"}
    assert {key for key in thin.truth if thin.truth[key] != thick.truth[key]} == caused
    assert thick.truth["t_frame_mm"] / thin.truth["t_frame_mm"] == pytest.approx(3.2 / 1.2)
    # far from the nape, sideways, even the speckle is the same
    changed = np.abs(thin.image.astype(int) - thick.image)
    column = thin.truth["nape_column_px"]
    distance_mm = np.abs(np.arange(WIDTH_PX) - column) * thin.truth["spacing_mm"]
    assert changed[:, distance_mm < 3].mean() > 8
    assert np.mean(changed[:, distance_mm > 0.25 * subject.crl_mm] <= 1) > 0.99


def test_own_thickness_gives_the_frame_itself():
    subject = draw_subjects(SEED, 2, ("B",), 0.5)[1]
    same = render_counterfactual(SEED, subject, 1, subject.thickness_mm)
    assert np.array_equal(same.image, render_frame(SEED, subject, 1).image)
    with pytest.raises(ValueError, match="thickness_mm"):
        render_counterfactual(SEED, subject, 0, 0.1)


def test_dark_band_is_as_thick_as_the_truth():
    """Without haze, rotation apart: the run of fluid across the band is its thickness, to a pixel on either side."""
    for subject in draw_subjects(SEED, 12, ("A", "B"), 0.5):
        parts = build_frame(SEED, subject.with_thickness(3.0), 0)
        along, inward = body_coordinates(parts.pose, parts.acquisition.spacing_mm)
        spacing_mm = parts.acquisition.spacing_mm
        widths = []
        for place_mm in np.arange(-0.03, 0.0301, 0.005) * subject.crl_mm:
            strip = parts.scene.nuchal & (np.abs(along - place_mm) < 2 * spacing_mm)
            widths.append(np.ptp(inward[strip]))
        # the strip is slanted at most as the skin is, and the thickness divided by its cosine: a tenth is allowed
        expected = parts.frame_thickness_mm
        assert expected - 3 * spacing_mm <= max(widths) <= 1.15 * expected + 3 * spacing_mm


def test_settings_can_be_imposed():
    subject = draw_subjects(SEED, 1, ("A",), 0.5)[0]
    drawn, bright = render_frame(SEED, subject, 0, gain_db=-3.0), render_frame(SEED, subject, 0, gain_db=3.0)
    assert bright.truth["gain_db"] == 3.0
    assert bright.image.mean() > drawn.image.mean() + 10
    with pytest.raises(TypeError, match="gian_db"):
        render_frame(SEED, subject, 0, gian_db=1.0)


# ---- no leak ----


def nuisances(subjects: list[Subject], frames: int) -> np.ndarray:
    """Box geometry, site and settings of each frame, float64 [subjects x frames, features]."""
    rows = []
    for subject in subjects:
        body = draw_body(generator(SEED, Stream.ANATOMY, subject.index), subject.crl_mm)
        for frame in range(frames):
            pose = draw_pose(generator(SEED, Stream.POSE, subject.index, frame), body)
            settings = draw_acquisition(generator(SEED, Stream.ACQUISITION, subject.index, frame), SITES[subject.site])
            top, left, bottom, right = box_px(pose, settings.spacing_mm)
            box = [top, left, bottom, right, bottom - top, right - left]
            chosen = [settings.spacing_mm, settings.gain_db, settings.dynamic_range_db]
            rows.append([*box, subject.site == "A", *chosen])
    return np.array(rows, np.float64)


def test_box_and_settings_do_not_tell_the_label():
    subjects = draw_subjects(SEED, 1600, ("A", "B"), 0.5)
    features, labels = nuisances(subjects, 2), np.repeat([subject.label for subject in subjects], 2)
    train, test = slice(0, 1600), slice(1600, None)  # 800 subjects each: the standard error of an AUC is about 0.02
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    for model in (linear, forest):
        scores = model.fit(features[train], labels[train]).predict_proba(features[test])[:, 1]
        assert roc_auc_score(labels[test], scores) == pytest.approx(0.5, abs=0.06)
    clipped = (features[:, 0] == 0) | (features[:, 1] == 0) | (features[:, 2] == HEIGHT_PX)
    assert np.mean(clipped | (features[:, 3] == WIDTH_PX)) < 0.01


def test_the_leak_test_sees_the_frames_boxes(seen):
    subjects = draw_subjects(SEED, 100, ("A", "B"), 0.5)
    assert nuisances(subjects, 1)[:, :4].tolist() == [list(frame.box) for frame in seen]


def test_box_is_whole_pixels_within_the_frame_and_holds_the_nape(seen):
    held = 0
    for frame in seen:
        top, left, bottom, right = frame.box
        assert all(type(side) is int for side in frame.box)
        assert 0 <= top < bottom <= HEIGHT_PX
        assert 0 <= left < right <= WIDTH_PX
        held += top <= frame.truth["nape_row_px"] < bottom and left <= frame.truth["nape_column_px"] < right
    # half a box is at least 0.07 CRL, three SDs of the centre's jitter
    assert held / len(seen) > 0.98


# ---- ceilings ----


def test_a_patch_can_show_the_label():
    """Thickness over box height is all that a crop stretched to a square keeps; it must nearly decide the label."""
    labels, ratios = [], []
    for subject in draw_subjects(SEED, 600, ("A", "B"), 0.5):
        pose = draw_pose(
            generator(SEED, Stream.POSE, subject.index),
            draw_body(generator(SEED, Stream.ANATOMY, subject.index), subject.crl_mm),
        )
        labels.append(subject.label)
        ratios.append(subject.thickness_mm * pose.thickness_factor / pose.box_size_mm[0])
    assert 0.93 <= roc_auc_score(labels, ratios) <= 0.99
