"""The manifest's contract: what is refused, and what the digest stands for."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from tampered import flip_a_bit

from mlproject.data.checks import read_manifest
from mlproject.data.images import encode_png
from mlproject.data.manifest import dataset_digest, load_dataset, write_dataset
from mlproject.errors import IntegrityError, UserError

INFO = {
    "name": "small",
    "data_kind": "user_images",
    "label_rule": {"rule": "given", "threshold": None, "pool": "none", "text": "given"},
    "split": {"kind": "given"},
    "preprocessing": {"crop": "square", "window_px": 16, "size": 16, "clahe_clip": 0, "clahe_tiles": 2},
}


def noise(key: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth noise: pictures of different keys resemble each other no more than by chance."""
    coarse = np.random.default_rng(key).integers(0, 256, (8, 12), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def small(folder, per_cell: int = 2) -> pd.DataFrame:
    """Images of both classes in the three splits under `folder`, one subject each, and their manifest."""
    rows = []
    for split in ("train", "val", "test"):
        for label in (0, 1):
            for _ in range(per_cell):
                number = len(rows)
                path = folder / "images" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(noise(number)))
                rows.append(
                    {
                        "image_path": f"images/{number}.png",
                        "label": label,
                        "subject_id": f"s{number}",
                        "split": split,
                        "h_min": 5,
                        "w_min": 10,
                        "h_max": 25,
                        "w_max": 50,
                    }
                )
    return pd.DataFrame(rows)


def written(tmp_path, change=lambda table, folder: table, info=INFO):
    def draw(folder):
        return change(small(folder), folder)

    return write_dataset(tmp_path / "set", draw, info)


def refused(tmp_path, change) -> str:
    with pytest.raises(UserError) as caught:
        written(tmp_path, change)
    assert not list(tmp_path.iterdir()), "nothing half-written stays behind"
    return str(caught.value)


def setting(row, column, value):
    def change(table, folder):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return change


def test_what_is_written_is_read_back(tmp_path):
    dataset = written(tmp_path)
    assert len(dataset.digest) == 64
    assert dataset.info["counts"]["val"] == {"images": 4, "subjects": 4, "normal": 2, "anomalous": 2}
    assert dataset.subjects("train") == ["s0", "s1", "s2", "s3"]
    assert dataset.table["h_max"].tolist() == [25] * 12
    assert load_dataset(tmp_path / "set").digest == dataset.digest


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("image_path,label,subject_id,split,label\na.png,0,s,train,1\n")
    with pytest.raises(UserError, match="column label stands there twice"):
        read_manifest(path)


def test_rows_with_too_few_or_too_many_fields_are_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("image_path,label,subject_id,split\na.png,0\n")
    with pytest.raises(UserError, match="line 2: subject_id is empty"):
        read_manifest(path)
    path.write_text("image_path,label,subject_id,split\na.png,0,s,train,x,y\n")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_manifest(path)
    path.write_text("")
    with pytest.raises(UserError, match="cannot be read as CSV"):
        read_manifest(path)


def test_columns_outside_the_contract_stay_out(tmp_path):
    def with_truth(table, folder):
        table["true_thickness_mm"] = 3.0
        return table

    assert "true_thickness_mm" not in written(tmp_path, with_truth).table
    assert "true_thickness_mm" not in (tmp_path / "set" / "manifest.csv").read_text()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (setting(0, "label", 2), "line 2: label '2' is neither 0"),
        (setting(3, "label", "anomalous"), "line 5: label 'anomalous'"),
        (setting(1, "split", "training"), "line 3: split 'training' is none of train, val, test"),
        (setting(1, "subject_id", ""), "line 3: subject_id is empty"),
        (setting(0, "image_path", "images/none.png"), "line 2: image images/none.png does not exist"),
        (setting(0, "image_path", "/etc/passwd"), "line 2: image_path '/etc/passwd' must be relative"),
        (setting(0, "image_path", "C:/x.png"), "must be relative"),
        (setting(0, "image_path", "images\\0.png"), "must be relative"),
        (setting(0, "image_path", "images/../../0.png"), "leads out of"),
        (setting(0, "image_path", "images/../images/0.png"), "leads out of"),
        (setting(0, "image_path", "images/1.png"), "image images/1.png stands in line 2 already"),
        (setting(0, "h_max", 5), "line 2: box h 5-5, w 10-50 is empty"),
        (setting(0, "w_max", 61), "reaches out of the image, 40 high and 60 wide"),
        (setting(0, "h_max", 41), "reaches out of the image"),
        (setting(0, "h_min", -1), "reaches out of the image"),
        (setting(0, "h_min", "x"), "line 2: h_min 'x' is not a whole number"),
        (setting(0, "h_min", "nan"), "h_min 'nan' is not a whole number"),
        (setting(0, "h_min", 1.5), "h_min '1.5' is not a whole number"),
        (setting(0, "h_min", None), "line 2: a box with some of its four sides missing"),
        (setting(4, "subject_id", "s0"), "subject s0 is in train and val (lines 2, 6)"),
        (lambda table, folder: table.drop(columns="subject_id"), "column subject_id is missing"),
        (lambda table, folder: table.drop(columns="w_max"), "a box takes all of h_min, w_min, h_max, w_max"),
        (lambda table, folder: table[table["split"] != "val"], "split val has no normal and no anomalous image"),
        (lambda table, folder: table.drop(index=[10, 11]), "split test has no anomalous image"),
        (lambda table, folder: table.iloc[:0], "no rows"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path, change, expected):
    assert expected in refused(tmp_path, change)


def test_all_problems_are_told_together_and_counted(tmp_path):
    def change(table, folder):
        table["label"] = 7
        return table

    message = refused(tmp_path, change)
    assert "12 problems" in message
    assert "line 2:" in message
    assert "line 11:" in message
    assert "line 12:" not in message
    assert message.endswith("and 2 more")


def broken_file(content):
    def change(table, folder):
        path = folder / "images" / "3.png"
        path.write_bytes(content(path.read_bytes()))
        return table

    return change


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda whole: b"", "the file is empty"),
        (lambda whole: whole[: len(whole) // 2], "cannot be read as an image"),
        (lambda whole: b"no image at all", "no PNG, JPEG, BMP or TIFF"),
    ],
)
def test_unreadable_images_are_refused_with_their_line(tmp_path, content, expected):
    message = refused(tmp_path, broken_file(content))
    assert "line 5: images/3.png" in message
    assert expected in message


def copied(source, target, alter=lambda image: image, suffix=".png"):
    def change(table, folder):
        image = alter(cv2.imread(str(folder / "images" / f"{source}.png"), cv2.IMREAD_GRAYSCALE))
        path = folder / "images" / f"{target}{suffix}"
        (folder / "images" / f"{target}.png").unlink()
        cv2.imwrite(str(path), image)
        table.loc[target, "image_path"] = f"images/{target}{suffix}"
        return table

    return change


def test_one_file_in_two_splits_is_refused(tmp_path):
    def change(table, folder):
        (folder / "images" / "4.png").write_bytes((folder / "images" / "0.png").read_bytes())
        return table

    message = refused(tmp_path, change)
    assert "images/0.png (line 2) and images/4.png (line 6) are the same file in train and val" in message
    # the exact copy is told once, not again as a near-duplicate
    assert "same picture" not in message


def test_one_file_under_both_labels_is_refused(tmp_path):
    def change(table, folder):
        (folder / "images" / "2.png").write_bytes((folder / "images" / "0.png").read_bytes())
        return table

    assert "are the same file under both labels" in refused(tmp_path, change)


@pytest.mark.parametrize(
    "change",
    [
        copied(0, 8, suffix=".jpg"),
        copied(0, 8, lambda image: np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8)),
        copied(0, 8, lambda image: cv2.resize(image, (120, 80), interpolation=cv2.INTER_LINEAR)),
        copied(0, 8, lambda image: cv2.resize(image, (480, 320), interpolation=cv2.INTER_LINEAR)[8:-8, 8:-8]),
    ],
    ids=["recompressed", "brightened", "resized", "cropped"],
)
def test_nearly_the_same_picture_in_two_splits_is_refused(tmp_path, change):
    message = refused(tmp_path, change)
    assert "(line 2, train)" in message
    assert "(line 10, test) show the same picture" in message


def test_nearly_the_same_picture_within_a_split_is_allowed(tmp_path):
    assert len(written(tmp_path, copied(0, 1, suffix=".jpg")).table) == 12


def test_a_changed_image_is_an_integrity_error(tmp_path):
    written(tmp_path)
    flip_a_bit(tmp_path / "set" / "images" / "7.png")
    with pytest.raises(IntegrityError, match=r"images/7\.png"):
        load_dataset(tmp_path / "set")


@pytest.mark.parametrize("file", ["manifest.csv", "dataset.json"])
def test_a_label_or_digest_changed_by_hand_is_an_integrity_error(tmp_path, file):
    dataset = written(tmp_path)
    path = tmp_path / "set" / file
    if file == "manifest.csv":
        path.write_text(path.read_text().replace("images/0.png,0,", "images/0.png,1,"))
    else:
        path.write_text(path.read_text().replace(dataset.digest, "0" * 64))
    with pytest.raises(IntegrityError, match="changed by hand"):
        load_dataset(tmp_path / "set")


def test_no_data_set_and_another_schema_are_told(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.json is missing; make one with prepare_data"):
        load_dataset(tmp_path / "nowhere")
    written(tmp_path)
    path = tmp_path / "set" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    with pytest.raises(UserError, match="schema_version 2, this project reads 1"):
        load_dataset(tmp_path / "set")
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        load_dataset(tmp_path / "set")


def test_the_digest_means_content_and_not_order_or_paths():
    table = pd.DataFrame(
        {"image_path": ["a", "b"], "label": [0, 1], "subject_id": ["1", "2"], "split": "train", "sha256": ["x", "y"]}
    )
    digest = dataset_digest(table)
    assert dataset_digest(table.iloc[::-1].reset_index(drop=True)) == digest
    assert dataset_digest(table.assign(image_path=["c", "d"])) == digest
    for column, value in (("label", 0), ("subject_id", "1"), ("split", "val"), ("sha256", "x")):
        assert dataset_digest(table.assign(**{column: value})) != digest
    box = dict.fromkeys(("h_min", "w_min", "h_max", "w_max"), 1)
    assert dataset_digest(table.assign(**box)) != digest


def test_a_failed_rewrite_leaves_the_old_data_set(tmp_path):
    digest = written(tmp_path).digest
    with pytest.raises(UserError):
        written(tmp_path, setting(0, "label", 5))
    assert load_dataset(tmp_path / "set").digest == digest
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    outside.write_bytes(encode_png(noise(99)))

    def change(table, folder):
        (folder / "images" / "0.png").unlink()
        (folder / "images" / "0.png").symlink_to(outside)
        return table

    assert "leads out of" in refused(tmp_path, change)


def test_a_synthetic_set_is_train_alone_and_may_hold_one_class(tmp_path):
    info = {**INFO, "data_kind": "synthetic"}

    def one_class(table, folder):
        return table.iloc[:2]

    assert written(tmp_path, one_class, info).info["counts"]["train"]["anomalous"] == 0
    with pytest.raises(UserError, match="belong to train alone"):
        write_dataset(tmp_path / "other", small, info)
