"""From a prepared data set of one's own to a study of it: what `main` says to type next."""

import dataclasses

import pytest

from mlproject.config import load_config
from mlproject.data.manifest import load_dataset
from mlproject.errors import UserError
from mlproject.stages.own_images import study_options
from mlproject.stages.study import refuse_too_many
from mlproject.study.design import design_of
from mlproject.tracking import attach_store

ALL = {"study.subjects": "0", "study.primary": "hybrid_0.5_add - real_augmented in auc"}


class StoreWithoutRuns:
    """A store that never saw prepare_data."""

    def find(self, *_: object) -> list[str]:
        return []


@pytest.fixture
def config(finished_workshop):
    return load_config(finished_workshop.folder / "config.yaml")


def test_a_study_takes_the_images_from_where_they_were_imported_and_splits_them_anew(finished_workshop, config) -> None:
    experiment = finished_workshop.client.get_experiment_by_name("nt-synthetic")
    store = attach_store(finished_workshop.store, experiment.experiment_id)
    folder = str(finished_workshop.folder / "set")
    own = {"val_fraction": "0.3", "test_fraction": "0.3", "split": "fractions", "size": "32"}
    own |= {"source": "classes", "path": str(finished_workshop.folder / "pictures")}
    data = {f"data.{key}": value for key, value in own.items()}
    # the default study asks for 200 training subjects, of which this set has 8
    assert study_options(store, config, folder) == data | ALL
    few = dataclasses.replace(config, study=dataclasses.replace(config.study, subjects="4, 8", primary="any"))
    assert study_options(store, few, folder) == data


def test_a_study_of_a_folder_that_the_store_does_not_know_reads_its_manifest(finished_workshop, config) -> None:
    folder = finished_workshop.folder / "set"
    expected = {"data.source": "manifest", "data.path": str(folder / "manifest.csv")}
    assert study_options(StoreWithoutRuns(), config, str(folder)) == expected | ALL


def test_a_study_of_more_subjects_than_there_are_is_refused_before_its_first_fit(finished_workshop, config) -> None:
    design, data = design_of(dataclasses.replace(config, data=dataclasses.replace(config.data, source="classes"))), {}
    data[0] = load_dataset(finished_workshop.folder / "set")
    with pytest.raises(UserError, match=r"200 training subjects are wanted, pictures has 8 at seed 0; .* --subjects 0"):
        refuse_too_many(design, data)
    refuse_too_many(dataclasses.replace(design, subjects=(4, 8)), data)
    refuse_too_many(dataclasses.replace(design, subjects=(4, 0)), data)
