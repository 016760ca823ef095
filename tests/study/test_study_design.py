"""The design of a study: what is declared is what is run, and nothing else is declared."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import SECTIONS, load_config
from mlproject.data.augment import PIPELINES
from mlproject.errors import UserError
from mlproject.study import design as study_design
from mlproject.study.cost import REPORT_SECONDS, Timings, expected_seconds, makespan
from mlproject.study.design import (
    Comparison,
    all_fits,
    cell_config,
    design_of,
    fits_of_cell,
    parse_arm,
    parse_sizes,
    study_key,
    trials_of,
)

ARMS = "real, real_augmented, synthetic, hybrid_0.5_add"


def config(**study):
    return load_config(None, {f"study.{key}": value for key, value in study.items()})


@pytest.mark.parametrize(
    ("name", "mix", "fraction", "mode", "tuned", "oversample"),
    [
        ("real", "real", None, "add", "", "none"),
        ("real_augmented", "real", None, "add", "augment", "none"),
        ("synthetic", "synthetic", None, "add", "", "none"),
        ("hybrid_0.5_add", "hybrid", 0.5, "add", "", "none"),
        ("hybrid_0.25_replace", "hybrid", 0.25, "replace", "", "none"),
        ("hybrid_tuned", "hybrid", None, "add", "fraction", "none"),
        ("oversample_real", "real", None, "add", "", "real"),
        ("oversample_synthetic", "hybrid", None, "add", "", "synthetic"),
    ],
)
def test_the_grammar_of_arms(name, mix, fraction, mode, tuned, oversample) -> None:
    arm = parse_arm(name)
    assert (arm.name, arm.mix, arm.fraction, arm.mode, arm.tuned, arm.oversample) == (
        name, mix, fraction, mode, tuned, oversample,
    )  # fmt: skip
    assert arm.needs_generator == (mix != "real")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": "real, hybrid_0.5_ad"}, ("'hybrid_0.5_ad' is no arm", "did you mean hybrid_0.5_add?")),
        ({"arms": "real, hybrid_1.5_add"}, ("hybrid_1.5_add",)),
        ({"arms": "real, hybrid_0_add"}, ("between 0 and 1", "use real or synthetic")),
        ({"arms": f"{ARMS}, hybrid_.50_add"}, ("write it hybrid_0.5_add",)),
        ({"arms": f"{ARMS}, real"}, ("real stands twice",)),
        ({"arms": " , "}, ("study.arms", "names nothing")),
        ({"arms": f"{ARMS}, oversample_real"}, ("oversample_real without study.imbalance",)),
        ({"subjects": "50, many"}, ("study.subjects: 'many'",)),
        ({"subjects": "50, 1"}, ("'1' is no number of subjects",)),
        ({"subjects": "50, 050"}, ("names a number twice",)),
        ({"subjects": "50, 400"}, ("400 training subjects", "the 200 that the phantom draws", "raise data.n_train")),
        ({"primary": "hybrid_0.5_add"}, ("study.primary", "expected '<arm> - <reference> @ <subjects> in <metric>'")),
        ({"primary": "hybrid_0.5_add - real_augment"}, ("real_augment is not among", "did you mean real_augmented?")),
        ({"primary": "real - real"}, ("compared with itself",)),
        ({"primary": "synthetic - real @ 60"}, ("60 subjects are not among study.subjects", "50, 200")),
        ({"primary": "synthetic - real in acu"}, ("acu is no metric",)),
        ({"secondary": "synthetic - real @ 50, synthetic / real"}, ("study.secondary", "synthetic / real")),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(changes, words) -> None:
    with pytest.raises(UserError) as refused:
        design_of(config(**changes))
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_sizes_ascend_and_all_comes_last() -> None:
    assert parse_sizes("200,50, 0") == (50, 200, 0)


def test_contrasts_by_default_and_by_name() -> None:
    design = design_of(config(primary="hybrid_0.5_add - real_augmented @ 50", subjects="50, 200"))
    assert design.primary == Comparison("hybrid_0.5_add", "real_augmented", 50, "auc")
    # every other arm at both sizes, and the primary's arm at the other size
    assert {(found.arm, found.subjects) for found in design.secondary} == {
        ("real", 50), ("synthetic", 50), ("real", 200), ("synthetic", 200), ("hybrid_0.5_add", 200),
    }  # fmt: skip
    assert {found.reference for found in design.secondary} == {"real_augmented"}
    # without a size the largest, without a metric the AUC
    assert design_of(config(primary="synthetic - real in f1")).primary == Comparison("synthetic", "real", 200, "f1")
    assert design_of(config(secondary="none")).secondary == ()
    named = design_of(config(secondary="synthetic - real @ 50, real_augmented - real @ 200 in brier")).secondary
    assert named == (Comparison("synthetic", "real", 50), Comparison("real_augmented", "real", 200, "brier"))


def test_a_cell_has_subjects_generator_and_classifiers_of_its_own_seed() -> None:
    own = cell_config(config(first_seed=3), seed=4, subjects=50)
    assert own.data.seed == own.gan.seed == own.synthesis.seed == own.classifier.seed == 4
    assert own.gan.subjects == own.classifier.subjects == 50
    assert (own.run.threads, own.run.workers, own.run.aliases) == (1, 1, False)
    assert own.data.n_unseen_site == own.study.unseen_site_subjects
    assert own.gan.steps == own.study.gan_steps != load_config().gan.steps
    assert cell_config(config(gan_steps=0), 0, 50).gan.steps == load_config().gan.steps
    assert own.classifier.steps == own.study.classifier_steps != load_config().classifier.steps
    assert cell_config(config(classifier_steps=0), 0, 50).classifier.steps == load_config().classifier.steps
    assert cell_config(config(imbalance=0.15), 0, 50).gan.anomalous_share == 0.15
    # two sizes of a seed stand on one data set, so that the smaller set of subjects lies in the larger
    assert cell_config(config(), 4, 200).data == own.data


def test_folds_of_imported_images_cover_all_subjects_before_they_are_reshuffled() -> None:
    folds = load_config(None, {"data.source": "fetus", "data.split": "kfold", "data.folds": 5})
    walked = [cell_config(folds, seed, 0).data for seed in range(7)]
    assert [(data.fold, data.repeat) for data in walked] == [*((fold, 0) for fold in range(5)), (0, 1), (1, 1)]
    assert {data.seed for data in walked} == {folds.data.seed}


@pytest.mark.parametrize("trials", [1, 2, 3, 4])
def test_tuned_arms_get_the_same_number_of_trials_and_begin_with_the_default(trials) -> None:
    base = load_config().classifier
    augmented = trials_of(parse_arm("real_augmented"), base, trials)
    hybrid = trials_of(parse_arm("hybrid_tuned"), base, trials)
    assert len(augmented) == len(hybrid) == trials
    assert next(iter(augmented.values())) == dataclasses.replace(base, mix="real")
    assert next(iter(hybrid.values())) == trials_of(parse_arm("hybrid_0.5_add"), base, trials)[""]
    assert len({settings.augment for settings in augmented.values()}) == trials
    assert len({settings.synthetic_fraction for settings in hybrid.values()}) == trials


def test_every_augmentation_level_that_is_tried_exists() -> None:
    field = next(one for one in dataclasses.fields(SECTIONS["classifier"]) if one.name == "augment")
    assert set(study_design.LEVELS) <= set(PIPELINES) == set(field.metadata["choices"])


def test_the_default_study_has_these_fits() -> None:
    default = load_config()
    design = design_of(default)
    fits = [fit for _, _, cell in all_fits(design, default) for fit in cell]
    # 6 seeds x 2 sizes; a cell trains real, light ("none" is the arm real), synthetic and hybrid
    assert len(design.cells()) == 12
    assert sum(fit.stage == "train_gan" for fit in fits) == 12
    assert sum(fit.stage == "train_classifier" for fit in fits) == 12 * 4
    assert sum(fit.stage == "eval_classifier" for fit in fits) == 12 * 4
    assert len({fit.key for fit in fits}) == len(fits)


def test_cells_are_the_whole_grid_with_the_long_ones_first() -> None:
    design = design_of(config(subjects="0, 50, 200", seeds=2, first_seed=5, primary="real - synthetic @ 50"))
    assert design.cells() == [(5, 0), (6, 0), (5, 200), (6, 200), (5, 50), (6, 50)]


def test_a_slice_has_the_fits_of_the_whole() -> None:
    whole, part = config(seeds=6), config(seeds=2, first_seed=2, subjects="50", arms="real_augmented, hybrid_0.5_add")
    keys = {fit.key for _, _, cell in all_fits(design_of(whole), whole) for fit in cell}
    some = {fit.key for _, _, cell in all_fits(design_of(part), part) for fit in cell}
    assert some < keys


def test_keys_follow_what_decides_a_fit_and_nothing_else() -> None:
    def keys(settings):
        return [fit.key for _, _, cell in all_fits(design_of(settings), settings) for fit in cell]

    base = config()
    for free in ({"study.screening_prevalence": 0.2}, {"run.workers": 3}, {"run.outputs": "elsewhere"}):
        assert keys(load_config(None, free)) == keys(base)
    for deciding in ({"gan.lambda_gp": 3}, {"data.n_test": 80}, {"evaluation.bootstrap": 200}):
        assert keys(load_config(None, deciding)) != keys(base)
    # the classifier does not change the generator
    other = load_config(None, {"classifier.learning_rate": 0.01})
    assert [a == b for a, b in zip(keys(base), keys(other), strict=True)] == [
        fit.stage == "train_gan" for _, _, cell in all_fits(design_of(base), base) for fit in cell
    ]


def test_the_key_of_a_study_ignores_spelling_and_how_it_is_run() -> None:
    base = config(subjects="50, 200", arms=ARMS)
    key = study_key(design_of(base), base)
    same = config(subjects="200,50", arms=ARMS.replace(" ", ""))
    assert study_key(design_of(same), same) == key
    busy = dataclasses.replace(base, run=dataclasses.replace(base.run, workers=7, threads=3))
    assert study_key(design_of(busy), busy) == key
    for change in ({"seeds": 7}, {"primary": "real - synthetic"}, {"secondary": "none"}, {"trials": 3}):
        other = config(**{"subjects": "50, 200", "arms": ARMS, **change})
        assert study_key(design_of(other), other) != key


def test_makespan_by_hand() -> None:
    # 5 and 4 start; at 4 the second takes 3 (to 7), at 5 the first takes 3 (to 8), at 7 the second takes 1 (to 8)
    assert makespan([5, 4, 3, 3, 1], 2) == 8
    assert makespan([5, 4, 3, 3, 1], 1) == 16
    assert makespan([], 2) == 0


@given(st.lists(st.floats(0, 100), max_size=12), st.integers(1, 5))
def test_makespan_lies_between_its_bounds(seconds, workers) -> None:
    found = makespan(seconds, workers)
    least = max([sum(seconds) / workers, *seconds, 0])
    # list scheduling is within 2 - 1/w of the best (Graham 1966), which is at least `least`
    assert least - 1e-9 <= found <= (2 - 1 / workers) * least + 1e-9


def test_expected_time_by_hand_and_without_what_is_finished() -> None:
    settings = load_config(
        None,
        {
            "study.seeds": 2, "study.subjects": "50", "study.arms": "real, synthetic",
            "study.primary": "synthetic - real",
            "study.unseen_site_subjects": 0, "study.gan_steps": 10, "study.classifier_steps": 20,
            "classifier.eval_every": 10,
            "data.n_train": 50, "data.n_val": 10, "data.n_test": 20, "data.frames_per_subject": 1,
            "fidelity.while_training": 0,
        },
    )  # fmt: skip
    design = design_of(settings)
    timings = Timings(
        start=1.0, gan_step=2.0, classifier_step=0.5, image=0.1, frame=0.25, generator_extra=3.0, fit_extra=1.0,
        evaluation_extra=0.5,
    )  # fmt: skip
    # generator 10 x 2 + 3; two classifiers 20 x 0.5 + 2 validations x 10 images x 0.1 + 1 = 13; two evaluations of 20
    # images: 2.5; with the start of its process 55 a cell. 2 seeds draw 80 frames each in 20.
    cell = 1 + 23 + 2 * 13 + 2 * 2.5
    assert expected_seconds(design, settings, timings, 1, set()) == pytest.approx(2 * cell + 40 + REPORT_SECONDS)
    assert expected_seconds(design, settings, timings, 2, set()) == pytest.approx(cell + 20 + REPORT_SECONDS)
    # the first seed's generator is there: its data set is as well
    fits = fits_of_cell(design, cell_config(settings, 0, 50))
    done = {fit.key for fit in fits if fit.stage == "train_gan"}
    assert expected_seconds(design, settings, timings, 1, done) == pytest.approx(2 * cell - 23 + 20 + REPORT_SECONDS)
