"""Who is scanned: hand-worked centiles, labels, nesting, and the acceptance bands of the population."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mlproject.data.phantom import Subject, draw_subjects
from mlproject.data.phantom.population import centile_95_mm, median_mm
from mlproject.errors import UserError

SEEN = ("A", "B")


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return draw_subjects(3, 4000, SEEN, 0.5)


def column(subjects: list[Subject], name: str) -> np.ndarray:
    return np.array([getattr(subject, name) for subject in subjects])


def test_published_anchors_and_linear_between():
    # PMID 16363364: 1.2/2.1 mm at 45 mm, 1.9/2.7 mm at 84 mm; halfway, at 64.5 mm, the means of the anchors
    assert (median_mm(45), centile_95_mm(45)) == (pytest.approx(1.2), pytest.approx(2.1))
    assert (median_mm(84), centile_95_mm(84)) == (pytest.approx(1.9), pytest.approx(2.7))
    assert (median_mm(64.5), centile_95_mm(64.5)) == (pytest.approx(1.55), pytest.approx(2.4))


def test_prevalence_zone_and_noise(subjects):
    label, margin = column(subjects, "label"), column(subjects, "thickness_mm") - column(subjects, "q95_mm")
    assert label.mean() == pytest.approx(0.5, abs=0.03)
    assert 0.12 <= np.mean(np.abs(margin) < 0.3) <= 0.25
    assert 0.03 <= np.mean((margin >= 0) != label) <= 0.08
    # noise of measurement, SD 0.2 mm, cannot turn a label far from the threshold
    assert not np.any((np.abs(margin) > 1.0) & ((margin >= 0) != label))


def test_label_is_the_measurement_against_the_centile(subjects):
    assert np.array_equal(column(subjects, "label"), column(subjects, "measured_mm") >= column(subjects, "q95_mm"))


def test_ceiling_of_the_true_thickness(subjects):
    ratio = column(subjects, "thickness_mm") / column(subjects, "q95_mm")
    assert 0.985 <= roc_auc_score(column(subjects, "label"), ratio) < 1.0


def test_length_and_site_say_nothing_of_the_label(subjects):
    label = column(subjects, "label")
    # 4000 subjects: the standard error of an AUC at 0.5 is 0.0091
    assert roc_auc_score(label, column(subjects, "crl_mm")) == pytest.approx(0.5, abs=0.03)
    assert roc_auc_score(label, column(subjects, "site") == "A") == pytest.approx(0.5, abs=0.03)


def test_ranges_and_shares(subjects):
    crl, thickness = column(subjects, "crl_mm"), column(subjects, "thickness_mm")
    assert 45 <= crl.min() < 46
    assert 83 < crl.max() <= 84
    assert thickness.min() >= 0.6
    assert thickness.max() <= 7.5
    assert np.mean(column(subjects, "site") == "A") == pytest.approx(0.6, abs=0.03)
    thick = [subject for subject in subjects if subject.thickness_mm >= 3.5]
    assert np.mean(column(thick, "septum")) == pytest.approx(0.3, abs=0.06)
    assert not any(subject.septum for subject in subjects if subject.thickness_mm < 3.5)


@given(st.integers(0, 2**31 - 1), st.integers(0, 12), st.integers(0, 12), st.integers(0, 40_000_000))
def test_first_n_are_nested_and_ranges_join(seed, shorter, more, first):
    longer = draw_subjects(seed, shorter + more, SEEN, 0.5, first)
    assert longer[:shorter] == draw_subjects(seed, shorter, SEEN, 0.5, first)
    assert longer[shorter:] == draw_subjects(seed, more, SEEN, 0.5, first + shorter)


def test_seeds_differ_and_prevalence_is_obeyed():
    assert draw_subjects(1, 5, SEEN, 0.5) != draw_subjects(2, 5, SEEN, 0.5)
    assert not any(subject.label for subject in draw_subjects(0, 40, SEEN, 0.0))
    assert all(subject.label for subject in draw_subjects(0, 40, SEEN, 1.0))
    assert {subject.site for subject in draw_subjects(0, 10, ("C",), 0.5)} == {"C"}


def test_another_thickness_keeps_the_rest():
    subject = draw_subjects(0, 1, SEEN, 0.5)[0]
    other = subject.with_thickness(5.0)
    assert other.measured_mm - 5.0 == pytest.approx(subject.measured_mm - subject.thickness_mm)
    assert (other.index, other.site, other.crl_mm, other.q95_mm) == (
        subject.index,
        subject.site,
        subject.crl_mm,
        subject.q95_mm,
    )
    # 5 mm lies at least 2.3 mm above any 95th centile, 0.6 mm at least 1.5 mm below: eleven and seven SDs of error
    assert other.label == 1
    assert subject.with_thickness(0.6).label == 0
    with pytest.raises(ValueError, match="thickness_mm"):
        subject.with_thickness(8.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((-1, SEEN, 0.5), "must not be negative"),
        ((1, (), 0.5), "site"),
        ((1, ("A", "Z"), 0.5), "'Z'"),
        ((1, SEEN, 1.5), "prevalence"),
    ],
)
def test_mistakes_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        draw_subjects(0, *arguments)
