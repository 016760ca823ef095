"""Importers, on small trees of the same shape as what they read."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest

from mlproject.config import load_config
from mlproject.data.images import encode_png
from mlproject.data.prepare import prepare, preview
from mlproject.errors import UserError

FOLDERS = {
    "set1": "Set1-Training&Validation Sets CNN/Standard",
    "set2": "Set2-Training&Validation Sets ANN Scoring system/Standard",
    "set2n": "Set2-Training&Validation Sets ANN Scoring system/Non-standard",
    "external": "External Test Set/Standard",
    "internal": "Internal Test Set/Standard",
    "internaln": "Internal Test Set/Non-standard",
}
NUMBERS = {
    "set1": range(0, 16),
    "set2": range(812, 816),
    "set2n": range(1061, 1071),
    "external": range(1372, 1374),
    "internal": range(1528, 1540),
    "internaln": range(1600, 1606),
}


def picture(key: int) -> np.ndarray:
    coarse = np.random.default_rng(key).integers(0, 256, (8, 12), dtype=np.uint8)
    return cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_CUBIC)


def release(root: Path, heights: dict[int, int] | None = None) -> Path:
    """The download in small: every folder, and NT boxes on the standard planes of Set1, Set2 and Internal."""
    inner = root / "Dataset for Fetus Framework" / "Dataset for Fetus Framework"
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "ObjectDetection"
    sheet.append(["fname", "structure", "h_min", "w_min", "h_max", "w_max"])
    for name, numbers in NUMBERS.items():
        (inner / FOLDERS[name]).mkdir(parents=True)
        for number in numbers:
            (inner / FOLDERS[name] / f"{number}.png").write_bytes(encode_png(picture(number)))
            sheet.append([f"{number}.png", "thalami", 1, 1, 9, 9])
            if name in ("set1", "set2", "internal"):
                # heights 11, 12, ... in the order of the numbers of a folder
                height = (heights or {}).get(number, 11 + number - numbers[0])
                sheet.append([f"{number}.png", "NT", 40, 20, 40 + height, 100])
    book.save(inner.parent / "ObjectDetection.xlsx")
    return root


def config(path: Path, source: str = "fetus", **changes):
    settings = {"source": source, "path": str(path), "split": "kfold", "folds": 3, "window_px": 48, "size": 32}
    return load_config(None, {f"data.{key}": value for key, value in {**settings, **changes}.items()}).data


def imported(tmp_path, *arguments, **changes):
    return prepare(config(*arguments, **changes), tmp_path / "out", workers=1)


@pytest.fixture
def download(tmp_path):
    return release(tmp_path / "download")


def test_frames_with_a_box_are_imported_with_the_rule_s_labels(tmp_path, download):
    dataset = imported(tmp_path, download)
    assert dataset.data_kind == "clinical_frames"
    # 16 of Set1, 4 of Set2, 12 of Internal; External and Non-standard have no NT box
    assert len(dataset.table) == 32
    # heights of the pool: 11..26 (Set1) and 11..14 (Set2); sorted, the 10th and 11th of the 20 are 16 and 17
    rule = dataset.label_rule
    assert (rule["rule"], rule["threshold"], rule["pool_subjects"]) == ("height_median", 16.5, 20)
    assert "proxy derived from annotation, not a clinical outcome" in rule["text"]
    height = dataset.table["h_max"] - dataset.table["h_min"]
    assert (dataset.table["label"] == (height > 16.5)).all()
    assert dataset.table.set_index("image_path").loc["images/812.png", "subject_id"] == "812"
    assert set(dataset.table["site"]) == {"set1", "set2", "internal"}
    source = dataset.info["source"]
    assert len(source["frames_without_box"]) == 18
    assert source["exact_duplicates_removed"] == []
    assert source["near_duplicates_merged"] == []
    assert str(tmp_path) not in (dataset.root / "dataset.json").read_text()
    assert preview(dataset, 3).shape == (2 * 34 + 2, 3 * 34 + 2)


def test_the_threshold_does_not_depend_on_the_split(tmp_path, download):
    thresholds = {
        imported(tmp_path, download, **changes).label_rule["threshold"]
        for changes in ({"fold": 1}, {"seed": 9}, {"split": "official", "fold": 0}, {"split": "fractions"})
    }
    assert thresholds == {16.5}


@pytest.mark.parametrize(
    ("changes", "threshold", "anomalous"),
    [
        # the pool's 20 heights: 11, 11, 12, 12, 13, 13, 14, 14, 15, 16, ..., 26; the 0.8 quantile lies at place
        # 0.8 * 19 = 15.2, between 22 and 23; Set1 has 23..26 above it, Internal reaches 22 only
        ({"label_rule": "height_quantile", "label_quantile": 0.8}, 22.2, 4),
        # the median stays the median, whatever the quantile of the other rules is
        ({"label_rule": "height_median", "label_quantile": 0.8}, 16.5, 16),
        # every image is 100 high
        ({"label_rule": "relative_height_quantile", "label_quantile": 0.8}, 0.222, 4),
        ({"label_rule": "height_pixels", "label_pixels": 20}, 20.0, 8),
    ],
)
def test_label_rules_by_hand(tmp_path, download, changes, threshold, anomalous):
    dataset = imported(tmp_path, download, **changes)
    assert dataset.label_rule["threshold"] == pytest.approx(threshold)
    assert dataset.table["label"].sum() == anomalous


def test_planes_need_no_box_and_keep_none(tmp_path, download):
    shutil.copy(next(download.rglob("1070.png")), next(download.rglob("1605.png")))
    dataset = imported(tmp_path, download, label_rule="plane")
    # 50 frames less one: 1070 and 1605 are the same picture, as two are in the release
    assert len(dataset.table) == 49
    assert dataset.table["label"].sum() == 15
    assert "h_min" not in dataset.table
    assert dataset.info["source"]["exact_duplicates_removed"] == [{"kept": 1070, "removed": 1605}]


def test_official_test_folders_are_test(tmp_path, download):
    dataset = imported(tmp_path, download, split="official", val_fraction=0.25)
    split = dataset.table.groupby("site")["split"].agg(set)
    assert split["internal"] == {"test"}
    assert split["set1"] | split["set2"] == {"train", "val"}
    # 10 normal and 10 anomalous of the pool: 0.25 * 10 = 2.5, rounded to the even number
    assert dataset.info["counts"]["val"] == {"images": 4, "subjects": 4, "normal": 2, "anomalous": 2}


def test_an_official_test_split_with_too_little_points_to_kfold(tmp_path, download):
    for number in range(1531, 1540):
        next(download.rglob(f"{number}.png")).unlink()
    with pytest.raises(UserError, match=r"hold 3 usable frames .* use split=kfold"):
        imported(tmp_path, download, split="official")
    assert imported(tmp_path, download).info["split"]["kind"] == "kfold"


def flattened(root: Path) -> Path:
    flat = root.parent / "flat"
    flat.mkdir()
    for path in root.rglob("*.*"):
        shutil.copy(path, flat / path.name)
    return flat


def respelled(root: Path) -> Path:
    inner = root / "Dataset for Fetus Framework" / "Dataset for Fetus Framework"
    for folder in sorted(inner.iterdir()):
        folder.rename(inner / folder.name.replace("&", "-").lower())
    return root


def renested(root: Path) -> Path:
    deeper = root.parent / "a" / "b" / "download"
    deeper.parent.mkdir(parents=True)
    root.rename(deeper)
    (deeper / "__MACOSX").mkdir()
    (deeper / "__MACOSX" / "._0.png").write_bytes(b"no image")
    (deeper / "readme.png").write_bytes(b"not numbered")
    return root.parent / "a"


def inner(root: Path) -> Path:
    return root / "Dataset for Fetus Framework" / "Dataset for Fetus Framework"


def upper_case(root: Path) -> Path:
    for path in root.rglob("*.png"):
        path.rename(path.with_name(f"{int(path.stem):04d}.PNG"))
    return root


@pytest.mark.parametrize("variant", [flattened, respelled, renested, inner, upper_case])
def test_copies_of_other_shape_are_the_same_data_set(tmp_path, variant):
    digest = imported(tmp_path, release(tmp_path / "one")).digest
    assert imported(tmp_path, variant(release(tmp_path / "two" / "download"))).digest == digest


def test_exact_and_near_duplicates(tmp_path, download):
    shutil.copy(next(download.rglob("3.png")), next(download.rglob("9.png")))
    brighter = np.clip(picture(4).astype(int) + 10, 0, 255).astype(np.uint8)
    next(download.rglob("812.png")).write_bytes(encode_png(brighter))
    dataset = imported(tmp_path, download)
    source = dataset.info["source"]
    assert source["exact_duplicates_removed"] == [{"kept": 3, "removed": 9}]
    assert [pair["images"] for pair in source["near_duplicates_merged"]] == [[4, 812]]
    assert dataset.table.set_index("image_path").loc["images/812.png", "subject_id"] == "4"
    assert "images/9.png" not in set(dataset.table["image_path"])
    # the duplicate does not count twice in the pool either
    assert dataset.label_rule["pool_subjects"] == 19


def test_an_official_test_frame_that_training_has_nearly_is_left_out(tmp_path, download):
    next(download.rglob("1530.png")).write_bytes(encode_png(np.clip(picture(5) * 0.95, 0, 255).astype(np.uint8)))
    dataset = imported(tmp_path, download, split="official")
    assert dataset.info["source"]["test_images_left_out_as_near_duplicates_of_training"] == [1530]
    assert len(dataset.rows("test")) == 11
    assert "images/1530.png" not in set(dataset.table["image_path"])


def without_workbook(root):
    next(root.rglob("*.xlsx")).unlink()


def damaged_workbook(root):
    next(root.rglob("*.xlsx")).write_bytes(b"PK no workbook")


def other_columns(root):
    book = openpyxl.Workbook()
    book.active.append(["file", "structure", "x", "y"])
    book.save(next(root.rglob("*.xlsx")))


def bad_rows(root):
    path = next(root.rglob("*.xlsx"))
    book = openpyxl.load_workbook(path)
    book.active.append(["77.png", "NT", 5, 5, 5, 9])
    book.active.append(["78.png", "NT", "high", 5, 9, 9])
    book.save(path)


def box_outside(root):
    path = next(root.rglob("*.xlsx"))
    book = openpyxl.load_workbook(path)
    book.active.cell(3, 3).value, book.active.cell(3, 5).value = 500, 520
    book.save(path)


def moved(root):
    next(root.rglob("1061.png")).rename(next(root.rglob("0.png")).with_name("1061.png"))


def two_files(root):
    (root / "again").mkdir()
    (root / "again" / "0.png").write_bytes(encode_png(picture(77)))


def no_images(root):
    for path in root.rglob("*.png"):
        path.unlink()


def truncated(root):
    path = next(root.rglob("7.png"))
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (without_workbook, "ObjectDetection.xlsx is missing"),
        (damaged_workbook, "cannot be read as an Excel workbook"),
        (other_columns, "column fname, h_min, w_min, h_max, w_max is missing"),
        (bad_rows, "2 problems"),
        (box_outside, "lies outside the image, 100 high and 120 wide"),
        (moved, "lies in a folder Set1"),
        (two_files, "number 0 has two files that differ"),
        (no_images, "no images 0.png to 1683.png"),
        (truncated, "7.png: cannot be read as an image"),
    ],
)
def test_a_damaged_download_is_refused(tmp_path, download, damage, expected):
    damage(download)
    with pytest.raises(UserError) as caught:
        imported(tmp_path, download)
    assert expected in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_box_that_overlaps_the_border_is_clipped_and_reported(tmp_path, download):
    path = next(download.rglob("*.xlsx"))
    book = openpyxl.load_workbook(path)
    book.active.cell(3, 6).value = 125
    book.save(path)
    dataset = imported(tmp_path, download)
    assert dataset.info["source"]["boxes_clipped_to_the_image"] == [0]
    assert dataset.table["w_max"].tolist()[0] == 120


def classes(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture(1000 + number)))
    return root


def test_a_folder_per_class_and_its_subjects(tmp_path):
    names = [f"Normal/P{subject}_{image}.png" for subject in range(6) for image in range(2)]
    names += [f"1/Q{subject}/frame {image}.png" for subject in range(5) for image in range(2)]
    names += ["1/P0_7.png", "1/alone.png", "Normal/alone.png"]
    dataset = imported(tmp_path, classes(tmp_path / "images", names), source="classes")
    assert dataset.data_kind == "user_images"
    subjects = dataset.table.set_index("image_path")["subject_id"]
    assert subjects["images/Normal/P3_1.png"] == "P3"
    assert subjects["images/1/Q2/frame 1.png"] == "Q2"
    # a patient seen in both classes is one subject; names without _ are not mistaken for patients
    assert subjects["images/1/P0_7.png"] == "P0"
    assert subjects["images/1/alone.png"] == "1/alone"
    assert subjects["images/Normal/alone.png"] == "normal/alone"
    assert dataset.table.set_index("image_path").loc["images/1/P0_7.png", "label"] == 1
    assert (dataset.table.groupby("subject_id")["split"].nunique() == 1).all()


def test_class_folders_under_train_val_and_test_keep_that_split(tmp_path):
    names = [f"{split}/{name}/{split}{number}.png" for split in ("train", "val", "test")
             for name in ("normal", "anomalous") for number in range(2)]  # fmt: skip
    dataset = imported(tmp_path, classes(tmp_path / "images", names), source="classes")
    assert dataset.info["split"] == {"kind": "given"}
    assert all(row.image_path.split("/")[1] == row.split for row in dataset.table.itertuples())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "no images in normal/"),
        (["benign/1.png", "normal/1.png"], "is in no class folder"),
        (["1.png"], r"1.png is in no class folder; expected normal/ and anomalous/ \(or 0/ and 1/\)$"),
        ([f"abnormal/{n}.png" for n in range(9)], "0.png and 8 more are in no class folder; .*: rename abnormal/"),
        (["normal/ward/P1/1.png"], "is not at normal/<picture> or normal/<person>/<picture>"),
        ([f"{name}/img_{n}.png" for name in ("normal", "anomalous") for n in range(9)], "before the first _"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path, names, expected):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=expected):
        imported(tmp_path, classes(tmp_path / "images", names), source="classes")


def own_manifest(folder: Path, **columns) -> Path:
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").write_bytes(encode_png(picture(2000 + number)))
    table = {"image_path": [f"{n}.png" for n in range(12)], "label": [0, 1] * 6}
    table |= {"subject_id": [f"{n:02d}" for n in range(12)], "gain": 3, **columns}
    pd.DataFrame(table).to_csv(folder / "manifest.csv", index=False)
    return folder


def test_a_manifest_keeps_its_split_and_its_ids(tmp_path):
    folder = own_manifest(tmp_path / "own", split=["train"] * 4 + ["val"] * 4 + ["test"] * 4)
    for path in (folder, folder / "manifest.csv"):
        dataset = imported(tmp_path, path, source="manifest")
        assert dataset.table["split"].tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
        # leading zeros are part of an id
        assert dataset.table["subject_id"].tolist()[:2] == ["00", "01"]
        assert "gain" not in dataset.table


def test_a_manifest_without_split_is_split_and_near_duplicates_are_merged(tmp_path):
    folder = own_manifest(tmp_path / "own")
    (folder / "6.png").write_bytes(encode_png(np.clip(picture(2000) * 0.9, 0, 255).astype(np.uint8)))
    dataset = imported(tmp_path, folder, source="manifest", split="fractions")
    subjects = dataset.table.set_index("image_path")["subject_id"]
    assert subjects["images/6.png"] == subjects["images/0.png"] == "00"
    assert dataset.info["source"]["near_duplicates_merged"][0]["images"] == ["images/0.png", "images/6.png"]
    assert set(dataset.table["split"]) == {"train", "val", "test"}


def test_a_manifest_with_split_refuses_near_duplicates_across_it(tmp_path):
    folder = own_manifest(tmp_path / "own", split=["train"] * 4 + ["val"] * 4 + ["test"] * 4)
    (folder / "6.png").write_bytes(encode_png(np.clip(picture(2000) * 0.9, 0, 255).astype(np.uint8)))
    with pytest.raises(UserError, match=r"images/0.png \(line 2, train\) and images/6.png \(line 8, val\)"):
        imported(tmp_path, folder, source="manifest")


def test_a_data_set_folder_can_be_imported_again(tmp_path):
    folder = own_manifest(tmp_path / "own", split=["train"] * 4 + ["val"] * 4 + ["test"] * 4)
    first = prepare(config(folder, "manifest"), tmp_path / "first", workers=1)
    assert prepare(config(first.root, "manifest"), tmp_path / "second", workers=1).digest == first.digest


@pytest.mark.parametrize("source", ["fetus", "classes", "manifest"])
def test_a_source_that_is_not_there_is_told(tmp_path, source):
    for path in ("", str(tmp_path / "none")):
        with pytest.raises(UserError, match="data.path"):
            prepare(config(Path(path) if path else "", source), tmp_path / "out", workers=1)


def test_a_data_set_never_replaces_its_own_source(tmp_path):
    folder = own_manifest(tmp_path / "own")
    for out in (folder, tmp_path):
        with pytest.raises(UserError, match="would replace its own source"):
            prepare(config(folder, "manifest"), out, workers=1)
    assert (folder / "0.png").exists()
