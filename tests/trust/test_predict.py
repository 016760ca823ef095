"""`predict` on a person's own folder: a table that says what the classifier says, and pictures when asked."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from mlproject import registry
from mlproject.classifier.inference import load_classifier
from mlproject.data.crops import cut_crop
from mlproject.data.images import encode_png

FRAME = np.random.default_rng(1).integers(0, 256, (300, 400), dtype=np.uint8)
BOX = (120, 150, 180, 260)


def png(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))


@pytest.fixture
def scans(tmp_path):
    """A crop, a whole frame in a folder of its own, and what is no image."""
    folder = tmp_path / "scans"
    png(folder / "crop.png", FRAME[:64, :64])
    png(folder / "Visit 2" / "whole frame (1).png", FRAME)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image either")
    return folder


@pytest.fixture
def champion(finished_workshop):
    folder = finished_workshop.model_folder(registry.CLASSIFIER) / "artifacts" / "classifier"
    return load_classifier(folder)


def write_boxes(folder, *rows):
    path = folder / "boxes.csv"
    path.write_text("\n".join(["image_path,h_min,w_min,h_max,w_max", *rows]) + "\n")
    return str(path)


def test_a_folder_with_boxes_and_pictures(finished_workshop, champion, scans, tmp_path):
    boxes = write_boxes(tmp_path, f"Visit 2/whole frame (1).png,{','.join(map(str, BOX))}")
    out = tmp_path / "out"
    given = ("--images", str(scans), "--boxes", boxes, "--gradcam", "true", "--out", str(out))
    printed = finished_workshop.succeed("predict", *given)
    table = pd.read_csv(out / "predictions.csv")
    assert table["image_path"].tolist() == ["Visit 2/whole frame (1).png", "crop.png"]
    assert table["box"].tolist()[0] == "120,150,180,260"
    assert pd.isna(table["box"][1])
    cut = champion.meta["preprocessing"]
    crops = np.stack([cut_crop(FRAME, np.array(BOX, float), cut), cut_crop(FRAME[:64, :64], None, cut)])
    np.testing.assert_allclose(table["probability"], champion.probabilities(crops), rtol=1e-6)
    np.testing.assert_array_equal(table["decision"], (table["probability"] >= table["threshold"]).astype(int))
    assert set(table["model_sha256"]) == {champion.digest}
    assert set(table["model_data_kind"]) == {"user_images"}
    for picture in table["gradcam"]:
        assert cv2.imread(str(out / picture)).shape == (192, 192, 3)
    assert "1 of 2 files have no box" in printed
    assert "whole frames" not in printed, "the frame has its box"
    run = finished_workshop.client.search_runs(["1"], "tags.stage = 'predict'")[0]
    assert run.data.metrics["predict.images"] == 2
    # again, without pictures: nothing of the first answer stays
    finished_workshop.succeed("predict", "--images", str(scans), "--boxes", boxes, "--out", str(out))
    assert [path.name for path in out.iterdir()] == ["predictions.csv"]


def test_whole_frames_without_boxes_are_asked_about(finished_workshop, scans):
    printed = finished_workshop.succeed("predict", "--images", str(scans))
    assert "1 of 2 files have no box and are much larger than the 128 pixels" in printed
    assert "--boxes" in printed


def test_every_frame_of_a_dicom_file_is_a_row_and_its_header_stays_behind(finished_workshop, champion, tmp_path):
    pytest.importorskip("pydicom")
    from dicom_files import PATIENT, write_dicom

    frames = np.stack([FRAME[:64, :64], 255 - FRAME[:64, :64]])
    write_dicom(tmp_path / "scans" / "loop.dcm", frames)
    out = tmp_path / "out"
    given = ("--images", str(tmp_path / "scans"), "--gradcam", "true", "--out", str(out))
    printed = finished_workshop.succeed("predict", *given)
    table = pd.read_csv(out / "predictions.csv")
    assert table["frame"].tolist() == [1, 2]
    crops = np.stack([cut_crop(frame, None, champion.meta["preprocessing"]) for frame in frames])
    np.testing.assert_allclose(table["probability"], champion.probabilities(crops), rtol=1e-6)
    assert table["gradcam"].nunique() == 2
    assert "do not say whether text is burned in" in printed
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert PATIENT.encode() not in path.read_bytes()


def test_a_name_that_looks_like_a_formula_is_only_shown(finished_workshop, tmp_path):
    png(tmp_path / "scans" / "=1+1.png", FRAME[:64, :64])
    finished_workshop.succeed("predict", "--images", str(tmp_path / "scans"), "--out", str(tmp_path / "out"))
    assert "\n'=1+1.png,1," in (tmp_path / "out" / "predictions.csv").read_text()


def test_of_a_data_set_the_test_images_are_left_out(finished_workshop, tmp_path):
    folder = finished_workshop.folder / "set"
    printed = finished_workshop.succeed("predict", "--images", str(folder), "--out", str(tmp_path / "out"))
    manifest = pd.read_csv(folder / "manifest.csv")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(table["image_path"]) == set(manifest.loc[manifest["split"] != "test", "image_path"])
    assert f"{(manifest['split'] == 'test').sum()} test images are left out" in printed


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        (["gone.png,1,1,9,9"], "1 of its images are not in"),
        (["crop.png,1,1,90,9"], "reaches out of the image, 64 high and 64 wide"),
        (["crop.png,9,1,1,9"], "is empty"),
        (["crop.png,1,1,9,9", "crop.png,1,1,9,9"], "twice"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(finished_workshop, scans, tmp_path, boxes, told):
    given = ("--images", str(scans), "--boxes", write_boxes(tmp_path, *boxes), "--out", str(tmp_path / "out"))
    done = finished_workshop.run("predict", *given)
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "out").exists()


def test_every_unreadable_image_is_named_at_once(finished_workshop, scans, tmp_path):
    for name in ("first.png", "second.jpg"):
        (scans / name).write_text("no image")
    done = finished_workshop.run("predict", "--images", str(scans), "--out", str(tmp_path / "out"))
    assert done.code == 2
    assert "first.png" in done.err
    assert "second.jpg" in done.err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_is_never_emptied_of_other_things(finished_workshop, scans, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.json").write_text(json.dumps("years of work"))
    chapter = tmp_path / "thesis" / "chapter.json"
    refused = {tmp_path / "thesis": "holds chapter.json", chapter: "is a file", scans / "out": "lies in the images"}
    for out, told in refused.items():
        done = finished_workshop.run("predict", "--images", str(scans), "--out", str(out))
        assert done.code == 2
        assert told in done.err
    assert json.loads((tmp_path / "thesis" / "chapter.json").read_text()) == "years of work"


@pytest.mark.parametrize(("images", "told"), [("", "nothing was named"), ("nowhere", "does not exist")])
def test_nothing_to_judge_is_told(finished_workshop, images, told):
    done = finished_workshop.run("predict", "--images", images)
    assert done.code == 2
    assert told in done.err
