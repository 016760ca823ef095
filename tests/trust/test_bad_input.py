"""Every mistake of a user, through the real entry points: one clear line, exit code 2, nothing half-written.

The table docs/errors.md is what these commands print; `WRITE_DOCS=1 pytest tests/trust/test_bad_input.py` rewrites it.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from workshops import unfinished_runs

from mlproject.checksums import write_checksums
from mlproject.config import PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "errors.md"


@dataclass(frozen=True)
class Mistake:
    """What is wrong, the entry point it is given to, how to make it, and what the line must say."""

    title: str
    entry_point: str
    prepare: Callable[..., tuple[str, ...]]
    told: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()


def options(*given: str) -> Callable[..., tuple[str, ...]]:
    return lambda place, workshop: given


def with_set(*given: str) -> Callable[..., tuple[str, ...]]:
    return lambda place, workshop: ("--data", str(workshop.folder / "set"), *given)


def yaml_file(text: str) -> Callable[..., tuple[str, ...]]:
    def prepare(place: Path, workshop: object) -> tuple[str, ...]:
        (place / "mine.yaml").write_text(text)
        return ("--config", str(place / "mine.yaml"))

    return prepare


def manifest_with(change: Callable[[pd.DataFrame, Path], pd.DataFrame]) -> Callable[..., tuple[str, ...]]:
    """A folder with the prepared images and a manifest.csv that `change` spoils."""

    def prepare(place: Path, workshop) -> tuple[str, ...]:
        source = place / "mine"
        shutil.copytree(workshop.folder / "set" / "images", source / "images")
        table = pd.read_csv(workshop.folder / "set" / "manifest.csv", dtype=str)
        table = table[["image_path", "label", "subject_id", "split"]]
        change(table, source).to_csv(source / "manifest.csv", index=False)
        return ("--source", "manifest", "--path", str(source / "manifest.csv"), "--out", str(place / "made"))

    return prepare


def image_that(change: Callable[[Path], object]) -> Callable[..., tuple[str, ...]]:
    def spoil(table: pd.DataFrame, source: Path) -> pd.DataFrame:
        change(source / table["image_path"][0])
        return table

    return manifest_with(spoil)


def set_cell(column: str, row: int, value: str) -> Callable[..., tuple[str, ...]]:
    def spoil(table: pd.DataFrame, source: Path) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return manifest_with(spoil)


def drop_column(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    return table.drop(columns="subject_id")


def shared_subject(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    train, test = (table.index[table["split"] == name][0] for name in ("train", "test"))
    table.loc[test, "subject_id"] = table.loc[train, "subject_id"]
    return table


def one_class_in_test(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    return table[~((table["split"] == "test") & (table["label"] == "1"))]


def brighter_copy(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    """The same picture, a little brighter and compressed again, under a new name and subject in test."""
    train = table.index[(table["split"] == "train") & (table["label"] == "0")][0]
    image = cv2.imread(str(source / table["image_path"][train]), cv2.IMREAD_GRAYSCALE)
    copy = np.clip(image.astype(float) * 1.05 + 3, 0, 255).astype(np.uint8)
    cv2.imwrite(str(source / "images" / "copy.jpg"), copy, [cv2.IMWRITE_JPEG_QUALITY, 92])
    planted = {"image_path": "images/copy.jpg", "label": "0", "subject_id": "another", "split": "test"}
    return pd.concat([table, pd.DataFrame([planted])], ignore_index=True)


def exact_copy(table: pd.DataFrame, source: Path) -> pd.DataFrame:
    train = table.index[(table["split"] == "train") & (table["label"] == "0")][0]
    shutil.copy(source / table["image_path"][train], source / "images" / "copy.png")
    planted = {"image_path": "images/copy.png", "label": "0", "subject_id": "another", "split": "test"}
    return pd.concat([table, pd.DataFrame([planted])], ignore_index=True)


def twelve_bits(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 15)


def generator_with(change: Callable[[dict], dict], *more: str) -> Callable[..., tuple[str, ...]]:
    """A copy of the generator whose description was rewritten, with checksums that fit."""

    def prepare(place: Path, workshop) -> tuple[str, ...]:
        folder = place / "generator"
        shutil.copytree(workshop.model_folder("nt-gan"), folder)
        (folder / "registered_model_meta").unlink(missing_ok=True)
        description = folder / "generator.json"
        description.write_text(json.dumps(change(json.loads(description.read_text()))))
        write_checksums(folder)
        data = ("--data", str(workshop.folder / "set")) if more else ()
        return ("--generator", str(folder), *data, *more)

    return prepare


def saw_test_subjects(place: Path, workshop) -> tuple[str, ...]:
    table = pd.read_csv(workshop.folder / "set" / "manifest.csv", dtype=str)
    subjects = sorted(set(table.loc[table["split"] == "test", "subject_id"]))
    spoil = generator_with(lambda info: info | {"train_subjects": info["train_subjects"] + subjects}, "--mix", "hybrid")
    return spoil(place, workshop)


def classifier_that_saw_test(place: Path, workshop) -> tuple[str, ...]:
    table = pd.read_csv(workshop.folder / "set" / "manifest.csv", dtype=str)
    folder = place / "classifier"
    shutil.copytree(workshop.model_folder("nt-classifier") / "artifacts" / "classifier", folder)
    description = folder / "classifier.json"
    info = json.loads(description.read_text())
    info["train_subjects"] = sorted(set(table["subject_id"]))
    description.write_text(json.dumps(info))
    write_checksums(folder)
    return ("--classifier", str(folder), "--data", str(workshop.folder / "set"))


def pickle_file(place: Path, workshop: object) -> tuple[str, ...]:
    (place / "generator.pth").write_bytes(b"\x80\x04N.")
    return ("--generator", str(place / "generator.pth"))


def pickled_weights(place: Path, workshop) -> tuple[str, ...]:
    (place / "weights.pth").write_bytes(b"\x80\x04N.")
    return ("--data", str(workshop.folder / "set"), "--weights", str(place / "weights.pth"))


def below_a_file(place: Path, workshop) -> tuple[str, ...]:
    (place / "file").write_text("")
    return ("--source", "classes", "--path", str(workshop.folder / "pictures"), "--out", str(place / "file" / "set"))


def folder_without_workbook(place: Path, workshop) -> tuple[str, ...]:
    images = place / "download" / "Dataset for Fetus Framework" / "Set1-Training&Validation Sets CNN" / "Standard"
    images.mkdir(parents=True)
    for number, source in enumerate(sorted((workshop.folder / "pictures").rglob("*.png"))[:4]):
        shutil.copy(source, images / f"{number}.png")
    return ("--source", "fetus", "--path", str(place / "download"))


def prepared_set_with(change: Callable[[Path], object]) -> Callable[..., tuple[str, ...]]:
    def prepare(place: Path, workshop) -> tuple[str, ...]:
        shutil.copytree(workshop.folder / "set", place / "set")
        change(place / "set")
        return ("--data", str(place / "set"))

    return prepare


def change_an_image(folder: Path) -> None:
    path = sorted((folder / "images").rglob("*.png"))[0]
    path.write_bytes(path.read_bytes() + b"\0")


MISTAKES = [
    # the command line and the configuration
    Mistake("an unknown mix", "train_classifier", with_set("--mix", "both"), ("classifier.mix", "'both'", "hybrid")),
    Mistake(
        "a fraction out of range",
        "train_classifier",
        with_set("--mix", "hybrid", "--synthetic_fraction", "1.5"),
        ("synthetic_fraction: 1.5 is not between 0 and 1",),
    ),
    Mistake("text where a number belongs", "train_gan", with_set("--lambda_gp", "ten"), ("gan.lambda_gp", "'ten'")),
    Mistake("half a step", "train_gan", with_set("--steps", "2.5"), ("gan.steps", "'2.5'", "whole number")),
    Mistake("an unknown option", "train_gan", with_set("--lamda_gp", "5"), ("--lamda_gp", "--lambda_gp")),
    Mistake(
        "an unknown configuration key",
        "train_gan",
        yaml_file("gan: {lambda_gpp: 5}"),
        ("mine.yaml", "gan.lambda_gpp", "did you mean lambda_gp"),
    ),
    Mistake(
        "an unknown configuration section",
        "train_gan",
        yaml_file("gann: {steps: 5}"),
        ("mine.yaml", "'gann'", "did you mean gan"),
    ),
    Mistake("no YAML", "train_gan", yaml_file("gan: ["), ("mine.yaml", "YAML")),
    Mistake("a missing configuration file", "train_gan", options("--config", "nowhere.yaml"), ("nowhere.yaml",)),
    # images and manifests
    Mistake("a missing manifest column", "prepare_data", manifest_with(drop_column), ("subject_id is missing",)),
    Mistake(
        "a missing image",
        "prepare_data",
        set_cell("image_path", 0, "images/gone.png"),
        ("line 2", "images/gone.png does not exist"),
    ),
    Mistake("a missing manifest", "prepare_data", options("--source", "manifest", "--path", "gone.csv"), ("gone.csv",)),
    Mistake("a missing data set", "train_gan", options("--data", "gone"), ("gone",)),
    Mistake(
        "a corrupt image", "prepare_data", image_that(lambda path: path.write_bytes(b"no image")), ("cannot be read",)
    ),
    Mistake(
        "a truncated image",
        "prepare_data",
        image_that(lambda path: path.write_bytes(path.read_bytes()[:-200])),
        ("cannot be read", "truncated"),
    ),
    Mistake("an empty image file", "prepare_data", image_that(lambda path: path.write_bytes(b"")), ("0 bytes",)),
    Mistake("a 16-bit image that uses 12 bits", "prepare_data", image_that(twelve_bits), ("16-bit", "8-bit grey")),
    Mistake("label 3", "prepare_data", set_cell("label", 4, "3"), ("line 6", "label '3'")),
    Mistake("a subject in two splits", "prepare_data", manifest_with(shared_subject), ("is in train and test",)),
    Mistake(
        "a class that is absent from a split",
        "prepare_data",
        manifest_with(one_class_in_test),
        ("split test has no anomalous image",),
    ),
    Mistake(
        "the same picture in two splits",
        "prepare_data",
        manifest_with(exact_copy),
        ("copy.png", "are the same file in train and test"),
    ),
    Mistake(
        "nearly the same picture in two splits",
        "prepare_data",
        manifest_with(brighter_copy),
        ("copy.jpg", "show the same picture"),
    ),
    Mistake(
        "a path that leads out of the folder",
        "prepare_data",
        set_cell("image_path", 0, "../../etc/passwd"),
        ("line 2", "leads out of the manifest's folder"),
    ),
    Mistake(
        "an absolute path",
        "prepare_data",
        set_cell("image_path", 0, "/etc/passwd"),
        ("line 2", "must be relative"),
    ),
    Mistake(
        "an import root without the workbook",
        "prepare_data",
        folder_without_workbook,
        ("ObjectDetection.xlsx is missing",),
    ),
    Mistake("an image changed after preparation", "train_gan", prepared_set_with(change_an_image), ("images/",)),
    Mistake("an output that cannot be written", "prepare_data", below_a_file, ("cannot write", "file/set")),
    # models
    Mistake(
        "hybrid with no generator",
        "train_classifier",
        with_set("--mix", "hybrid", "--subjects", "4"),
        ("no generator", "train_gan"),
    ),
    Mistake(
        "a generator trained on test subjects",
        "train_classifier",
        saw_test_subjects,
        ("leak", "test subjects", "train_gan"),
    ),
    Mistake(
        "a classifier trained on test subjects",
        "eval_classifier",
        classifier_that_saw_test,
        ("training subjects are in the test split",),
    ),
    Mistake(
        "a checkpoint of another architecture",
        "generate_synthetic",
        generator_with(lambda info: info | {"config": info["config"] | {"architecture": "dcgan"}}),
        ("architecture 'dcgan'",),
    ),
    Mistake("a pickle offered as a generator", "generate_synthetic", pickle_file, ("generator.pth", "pickle")),
    Mistake("a pickle offered as weights", "train_classifier", pickled_weights, ("weights.pth", "pickle")),
    Mistake(
        "a version that does not exist",
        "eval_classifier",
        with_set("--classifier", "models:/nt-classifier/99"),
        ("models:/nt-classifier/99", "train_classifier"),
    ),
    Mistake(
        "promotion of a version that fails its gates",
        "promote",
        options("--name", "nt-gan", "--version", "1", "--alias", "approved"),
        ("nt-gan version 1", "privacy audit (audit is missing, expected pass)"),
    ),
    # the store
    Mistake(
        "a store that cannot be opened",
        "verify_models",
        options(),
        ("sqlite:////nowhere/at/all/mlflow.db", "MLFLOW_TRACKING_URI"),
        (("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all/mlflow.db"),),
    ),
]
# each of another kind of refusal; the others call the same command without a new interpreter
IN_A_PROCESS_OF_THEIR_OWN = ("an unknown mix", "label 3")


def anonymous(text: str, place: Path, folder: Path) -> str:
    """Without what differs from machine to machine and from run to run."""
    for path, name in ((str(place), "…"), (str(folder), "…"), (str(PROJECT_ROOT), "…")):
        text = text.replace(path, name)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "<digest>", text)
    return re.sub(r"correlation 0\.\d+", "correlation 0.99", text)


def told_in_one_message(err: str) -> str:
    """The message on stderr, after checking that nothing else is there."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.strip() and "%|" not in line]
    assert lines[0].startswith("error: "), err
    # several problems of one file are a list under one line
    assert all(line.startswith("  ") for line in lines[1:]), err
    return "\n".join(lines).removeprefix("error: ")


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    """Filled by the cases, compared with the document by the last test."""
    return {}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_a_mistake_is_told_in_one_line(finished_workshop, tmp_path, messages, mistake):
    given = mistake.prepare(tmp_path, finished_workshop)
    before = finished_workshop.files(), set(tmp_path.rglob("*"))
    versions = len(finished_workshop.client.search_model_versions())
    call = finished_workshop.script if mistake.title in IN_A_PROCESS_OF_THEIR_OWN else finished_workshop.run
    done = call(mistake.entry_point, *given, **dict(mistake.variables))
    assert done.code == 2, done.out + done.err
    message = told_in_one_message(done.err)
    for text in mistake.told:
        assert text in message
    assert finished_workshop.files() == before[0]
    assert set(tmp_path.rglob("*")) == before[1]
    assert unfinished_runs(finished_workshop) == []
    assert len(finished_workshop.client.search_model_versions()) == versions
    messages[mistake.title] = anonymous(message, tmp_path, finished_workshop.folder)


@pytest.mark.parametrize("kind", ["sixteen_bit", "rgba"])
def test_16_bit_and_rgba_images_are_converted(finished_workshop, tmp_path, kind):
    """16-bit grey by its full range (65535 is 255), RGBA to luma without alpha: grey in, the same grey out."""

    def convert(path: Path) -> None:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if kind == "sixteen_bit":
            cv2.imwrite(str(path), grey.astype(np.uint16) * 257)
        else:
            Image.merge("RGBA", [Image.fromarray(grey)] * 3 + [Image.new("L", grey.shape[::-1], 40)]).save(path)

    given = image_that(convert)(tmp_path, finished_workshop)
    finished_workshop.succeed("prepare_data", *given)
    from mlproject.data.images import read_grey

    table = pd.read_csv(finished_workshop.folder / "set" / "manifest.csv")
    original = read_grey(finished_workshop.folder / "set" / table["image_path"][0])
    made = pd.read_csv(tmp_path / "made" / "manifest.csv")
    assert (read_grey(tmp_path / "made" / made["image_path"][0]) == original).all()


def document(messages: dict[str, str]) -> str:
    lines = [
        "# What is refused, and how it is told",
        "",
        "Every line below was printed by the command named beside it: `error: ` and the message on stderr, exit code",
        "2, no traceback, nothing left half-written. The test that makes each mistake writes this table",
        "(tests/trust/test_bad_input.py). `…` stands for a folder, `<digest>` for a digest or id.",
        "",
        "Two kinds of image are converted, not refused: 16-bit grey by its full range (65535 becomes 255), and RGBA,",
        "whose colours become luma and whose alpha is dropped.",
        "",
        "| mistake | entry point | message |",
        "|---|---|---|",
    ]
    for mistake in MISTAKES:
        message = messages[mistake.title].replace("|", "\\|").replace("\n", "<br>")
        message = message.replace("<digest>", "&lt;digest&gt;")
        lines.append(f"| {mistake.title} | `{mistake.entry_point}` | {message} |")
    return "\n".join(lines) + "\n"


def test_the_table_in_docs_is_what_the_commands_say(messages):
    if len(messages) < len(MISTAKES):
        pytest.skip("needs the cases above in the same process")
    text = document(messages)
    if os.environ.get("WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert text == DOCUMENT.read_text(encoding="utf-8"), "run with WRITE_DOCS=1 and look at the difference"
