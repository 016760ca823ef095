"""Stage prepare_data: a data set folder from the phantom or from images, made once for each configuration."""

import dataclasses
from pathlib import Path

from mlproject.checksums import file_sha256
from mlproject.config import Configuration, DataConfig
from mlproject.data import kinds
from mlproject.data.manifest import DataSet, load_dataset
from mlproject.data.prepare import prepare, preview
from mlproject.errors import UserError
from mlproject.pipeline import stage_key, subjects_digest
from mlproject.plain_text import escaped
from mlproject.progress import bar
from mlproject.registry import ModelReference
from mlproject.stages.common import describe_dataset, say
from mlproject.tracking import Run


def _source_digest(config: DataConfig) -> str:
    """SHA-256 over what an import reads; the phantom reads nothing."""
    if config.source == "phantom":
        return ""
    path = Path(config.path)
    if not config.path or not path.exists():
        fault = f"{config.path} does not exist" if config.path else "nothing was named"
        raise UserError(f"data.path: {fault}; give the folder to import with --path")
    # the images of a manifest lie beside it
    files = (found for found in (path.parent if path.is_file() else path).rglob("*") if found.is_file())
    try:
        return subjects_digest([f"{escaped(str(file.relative_to(path.parent)))}:{file_sha256(file)}" for file in files])
    except OSError as error:
        raise UserError(f"data.path: {error.filename} cannot be opened ({error.strerror})") from None


def data_key(config: DataConfig) -> str:
    """The stage key of the data set that a configuration describes."""
    return stage_key("prepare_data", data=dataclasses.asdict(config), source=_source_digest(config))


def prepare_data(run: Run, config: Configuration, out: str = "") -> DataSet:
    """Make the data set that `config.data` describes, or take the one that a finished run made.

    Raises:
        UserError: whatever the importers and the manifest's checks refuse.
    """
    key = data_key(config.data)
    finished = run.reusable(key) if config.run.reuse and not out else None
    if finished is not None and (dataset := dataset_of_run(run, finished)) is not None:
        run.finish_as_reused(finished)
        say(f"data: {describe_dataset(dataset)}")
        return dataset
    run.begin_stage(key)
    folder = Path(out) if out else Path(config.run.outputs) / "data" / f"{config.data.source}-{key[:12]}"
    dataset = _prepared(config, folder)
    for told in ("subjects", "dicom"):
        if told in dataset.info.get("source", {}):
            say(dataset.info["source"][told])
    run.set_tags({"dataset_path": str(folder.resolve())})
    run.log_dataset(dataset, context="prepared")
    run.report_image(0, "crops", preview(dataset, 16))
    if dataset.data_kind in kinds.OPEN_KINDS:
        run.log_artifacts(folder, "dataset")
    else:
        # licensed images stay where they are; their description does not
        for name in ("manifest.csv", "dataset.json"):
            run.log_artifact(folder / name, "dataset")
    say(f"data: {describe_dataset(dataset)}")
    return dataset


def _prepared(config: Configuration, folder: Path) -> DataSet:
    """Drawn beside a progress bar, or imported."""
    data, workers = config.data, config.run.workers
    if data.source != "phantom":
        say(f"prepare_data: importing {data.path} ({data.source})")
        return prepare(data, folder, workers=workers)
    total = data.n_train + data.n_val + data.n_test + data.n_unseen_site
    with bar(total, "phantom subjects", "subject") as progress:
        return prepare(data, folder, workers=workers, progress=lambda done, _: progress.update(done - progress.n))


def dataset_of_run(run: Run, run_id: str) -> DataSet | None:
    """The data set of a finished run, from its folder or from the artifact store; None when neither has it.

    Another data set may have been written to the same folder since: the digest decides.
    """
    tags = run.store.tags_of(run_id)
    digest = tags.get("synthetic_digest") or tags.get("data_digest")
    folder = Path(tags.get("dataset_path", ""))
    if folder.joinpath("dataset.json").is_file():
        dataset = load_dataset(folder)
        if dataset.digest == digest:
            return dataset
    stored = run.store.download(run_id, "dataset")
    if stored is None or not (stored / "images").is_dir():
        return None
    dataset = load_dataset(stored)
    return dataset if dataset.digest == digest else None


def _data_of_model(run: Run, model: ModelReference) -> DataSet:
    """The data set that a model was trained on, with the crop it was trained on."""
    digest, crop = model.meta["data_digest"], model.meta["preprocessing"]
    for run_id in run.store.find("prepare_data", {"data_digest": digest}):
        dataset = dataset_of_run(run, run_id)
        if dataset is not None and dataset.preprocessing == crop:
            return dataset
    raise UserError(f"the data set {digest[:12]} that {model} was trained on is not in this store; name it with --data")


def resolve_data(run: Run, config: Configuration, reference: str, of: ModelReference | None = None) -> DataSet:
    """The data set that a stage works on.

    Args:
        reference: a folder or `runs:/<id>`; "" takes the data set of `of`, or else what `config.data` describes,
            prepared now if no finished run has it.
        of: the model that is evaluated; its data set is found by digest.

    Raises:
        UserError: the reference leads nowhere.
    """
    if reference.startswith("runs:/"):
        dataset = dataset_of_run(run, reference.removeprefix("runs:/").split("/")[0])
        if dataset is None:
            raise UserError(f"data {reference}: that run has no data set folder left; run prepare_data again")
    elif reference:
        dataset = load_dataset(reference)
    elif of is not None:
        dataset = _data_of_model(run, of)
    else:
        key = data_key(config.data)
        found = run.store.find("prepare_data", {"stage.key": key}) if config.run.reuse else []
        made = dataset_of_run(run, found[0]) if found else None
        if made is None:
            with run.child("prepare_data", config) as child:
                return prepare_data(child, config)
        dataset = made
    say(f"data: {describe_dataset(dataset)}")
    return dataset
