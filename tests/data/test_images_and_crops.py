"""Decoding and cutting: hand-worked pictures whose right crop is known pixel by pixel."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlproject.data.crops import (
    cut_crop,
    cut_surroundings,
    empty_crops,
    load_crops,
    load_surroundings,
    surroundings_scale,
)
from mlproject.data.images import decode_grey, encode_png, grid, read_grey
from mlproject.data.manifest import write_dataset
from mlproject.errors import UserError

PLAIN = {"crop": "square", "window_px": 16, "size": 16, "clahe_clip": 0, "clahe_tiles": 2}


def as_file(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def test_png_keeps_every_grey_level():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (decode_grey(encode_png(image), "x") == image).all()


def test_colour_becomes_luma_and_alpha_is_dropped():
    # ITU-R 601: 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    colour = Image.new("RGB", (4, 3), (200, 100, 50))
    transparent = Image.new("RGBA", (4, 3), (200, 100, 50, 0))
    assert (decode_grey(as_file(colour), "x") == 124).all()
    assert (decode_grey(as_file(transparent), "x") == 124).all()
    assert (decode_grey(as_file(Image.new("LA", (4, 3), (77, 0))), "x") == 77).all()
    assert (decode_grey(as_file(colour.quantize(2)), "x") == 124).all()


def test_sixteen_bits_are_scaled_by_the_full_range():
    # 65535 / 257 = 255, 25700 / 257 = 100 and 128 / 257 = 0.498, whatever the image's own maximum
    deep = np.array([[0, 25700], [128, 65535]], dtype=np.uint16)
    assert decode_grey(cv2.imencode(".png", deep)[1].tobytes(), "x").tolist() == [[0, 100], [0, 255]]
    # 129 / 257 = 0.502 is rounded, not cut
    assert decode_grey(cv2.imencode(".png", deep + np.uint16([[1, 0], [1, 0]]))[1].tobytes(), "x")[1, 0] == 1
    assert decode_grey(cv2.imencode(".png", deep[:1])[1].tobytes(), "x").tolist() == [[0, 100]]


def test_twelve_bits_in_sixteen_are_refused():
    deep = np.full((4, 4), 4095, dtype=np.uint16)
    with pytest.raises(UserError, match="reach 4095 of 65535"):
        decode_grey(cv2.imencode(".png", deep)[1].tobytes(), "scan.png")


def test_other_formats_and_missing_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no PNG, JPEG, BMP or TIFF"):
        decode_grey(as_file(Image.new("L", (4, 4)), "GIF"), "x")
    with pytest.raises(UserError, match="floating-point"):
        decode_grey(as_file(Image.new("F", (4, 4)), "TIFF"), "x")
    with pytest.raises(UserError, match="cannot be opened"):
        read_grey(tmp_path / "none.png")


def ramp(height: int, width: int) -> np.ndarray:
    """Every pixel differs from its neighbours and says where it is: 16 * row + column."""
    return (16 * np.arange(height)[:, None] + np.arange(width)[None, :]).astype(np.uint8)


def test_the_square_window_is_centred_on_the_box_at_the_frame_s_scale():
    image = ramp(64, 80)
    # centre (30, 40): rows 22-37 and columns 32-47, whatever the height of the box
    for box in ([28, 20, 32, 60], [20, 36, 40, 44]):
        assert (cut_crop(image, np.array(box, dtype=float), PLAIN) == image[22:38, 32:48]).all()


def test_the_square_window_is_shifted_inward_at_the_border():
    image = ramp(64, 80)
    assert (cut_crop(image, np.array([0, 0, 4, 4.0]), PLAIN) == image[:16, :16]).all()
    assert (cut_crop(image, np.array([60, 76, 64, 80.0]), PLAIN) == image[48:, 64:]).all()


def test_a_frame_smaller_than_the_window_is_mirrored():
    image = np.full((8, 40), 10, dtype=np.uint8)
    image[0] = 200
    crop = cut_crop(image, np.array([2, 10, 6, 30.0]), PLAIN)
    # four rows on either side; the mirror leaves out the edge row itself, so row 0 comes once, at 4
    assert crop.shape == (16, 16)
    assert np.flatnonzero(crop[:, 0] == 200).tolist() == [4]


def test_the_box_is_stretched_to_the_square():
    image = np.zeros((64, 80), dtype=np.uint8)
    image[20:24, 10:50] = 150
    crop = cut_crop(image, np.array([20, 10, 24, 50.0]), {**PLAIN, "crop": "box"})
    assert (crop == 150).all()


def test_area_averaging_keeps_the_mean():
    image = np.zeros((32, 32), dtype=np.uint8)
    image[::2] = 200
    # each output pixel averages a 2x2 cell of one bright and one dark row
    assert (cut_crop(image, None, PLAIN) == 100).all()


def test_without_a_box_the_centred_square_is_taken():
    image = ramp(16, 40)
    assert (cut_crop(image, None, PLAIN) == image[:, 12:28]).all()
    assert (cut_crop(image, np.full(4, np.nan), PLAIN) == image[:, 12:28]).all()


def test_clahe_widens_the_contrast_and_zero_turns_it_off():
    image = np.random.default_rng(0).integers(100, 120, (16, 16), dtype=np.uint8)
    assert (cut_crop(image, None, PLAIN) == image).all()
    assert cut_crop(image, None, {**PLAIN, "clahe_clip": 2.0}).std() > 2 * image.std()


def test_an_applied_crop_is_taken_as_it_is_and_its_size_is_checked():
    applied = {**PLAIN, "clahe_clip": 2.0, "applied": True}
    image = ramp(16, 16)
    assert (cut_crop(image, None, applied) == image).all()
    with pytest.raises(UserError, match="17x16 pixels, expected 16x16"):
        cut_crop(ramp(17, 16), None, applied)


def test_a_box_beside_the_image_is_refused():
    with pytest.raises(UserError, match="holds no pixel"):
        cut_crop(ramp(16, 16), np.array([20, 0, 30, 8.0]), {**PLAIN, "crop": "box"})


@given(
    height=st.integers(2, 90),
    width=st.integers(2, 90),
    centre=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    crop=st.sampled_from(["square", "box"]),
    window=st.integers(8, 100),
)
def test_any_box_in_any_image_gives_a_crop(height, width, centre, crop, window):
    h, w = centre[0] * (height - 1), centre[1] * (width - 1)
    box = np.array([int(h), int(w), int(h) + 1, int(w) + 1], dtype=np.float32)
    settings = {**PLAIN, "crop": crop, "window_px": window, "clahe_clip": 2.0}
    crop_image = cut_crop(ramp(height, width), box, settings)
    assert crop_image.shape == (16, 16)
    assert crop_image.dtype == np.uint8


def test_load_crops_keeps_rows_together(tmp_path):
    import pandas as pd

    levels = [10, 60, 110, 160, 210, 250]

    def draw(folder):
        rows = []
        for number, level in enumerate(levels):
            image = np.full((40, 40), level, dtype=np.uint8)
            image[number, number] = 0  # content differs, and the crop is one level
            (folder / f"{number}.png").write_bytes(encode_png(image))
            split = ("train", "val", "test")[number // 2]
            box = {"h_min": 20, "w_min": 20, "h_max": 30, "w_max": 32} if number != 1 else {}
            rows.append({"image_path": f"{number}.png", "label": number % 2, "subject_id": f"s{number}", **box})
            rows[-1] |= {"split": split, "site": "A" if number == 0 else ""}
        table = pd.DataFrame(rows)
        return table.astype(dict.fromkeys(("h_min", "w_min", "h_max", "w_max"), "Int64"))

    info = {"name": "x", "data_kind": "user_images", "label_rule": {}, "split": {}, "preprocessing": PLAIN}
    dataset = write_dataset(tmp_path / "set", draw, info)
    crops = load_crops(dataset, "train")
    assert crops.images.shape == (2, 16, 16)
    assert crops.images[:, 8, 8].tolist() == [10, 60]
    assert crops.labels.tolist() == [0, 1]
    assert crops.subjects.tolist() == ["s0", "s1"]
    assert crops.paths.tolist() == ["0.png", "1.png"]
    assert crops.sites.tolist() == ["A", ""]
    assert crops.boxes[0].tolist() == [20, 20, 30, 32]
    assert np.isnan(crops.boxes[1]).all()
    assert crops.select(crops.labels == 1).subjects.tolist() == ["s1"]
    assert crops.select(np.array([1, 0])).images[0, 8, 8] == 60
    assert len(empty_crops(16)) == 0
    around = load_surroundings(dataset, crops, 2)
    assert around.shape == (2, 20, 20)
    assert (around[:, 2:18, 2:18] == crops.images).all()


def test_grid_places_images_row_by_row():
    picture = grid(np.stack([np.full((2, 2), level, np.uint8) for level in (1, 2, 3)]), columns=2, gap=1)
    assert picture.shape == (7, 7)
    assert (picture[1, 1], picture[1, 4], picture[4, 1], picture[4, 4]) == (1, 2, 3, 255)


@pytest.mark.parametrize(
    "changes", [{}, {"crop": "box"}, {"clahe_clip": 2.0}, {"window_px": 40}, {"window_px": 48}, {"window_px": 16}]
)
@pytest.mark.parametrize("box", [(30, 30, 40, 44), (0, 0, 6, 8), (58, 50, 64, 60), None])
def test_the_middle_of_the_surroundings_is_the_crop(changes, box):
    image = np.random.default_rng(0).integers(0, 256, (64, 80), dtype=np.uint8)
    settings = {**PLAIN, "window_px": 32, **changes}
    given_box = None if box is None else np.array(box, dtype=np.float32)
    around = cut_surroundings(image, given_box, settings, 3)
    assert surroundings_scale(settings) == {"{}": 2, "{'window_px': 48}": 3, "{'window_px': 16}": 1}.get(
        str(changes), 0
    )
    scale = max(1, surroundings_scale(settings))
    assert around.shape == (scale * 21 + 1, scale * 21 + 1)
    assert (
        around[3 * scale : 19 * scale : scale, 3 * scale : 19 * scale : scale] == cut_crop(image, given_box, settings)
    ).all()


def test_surroundings_are_means_of_the_frame_and_its_mirror_beyond():
    image = np.random.default_rng(0).integers(0, 256, (64, 80), dtype=np.uint8)
    settings = {**PLAIN, "window_px": 32}
    inside = cut_surroundings(image, np.array([30, 30, 34, 50.0]), settings, 3)
    # a crop of one frame pixel further down and two to the left
    moved = cut_crop(image, np.array([31, 28, 35, 48.0]), settings)
    assert (inside[7:38:2, 4:36:2] == moved).all()
    # a crop at the frame's own scale has its surroundings in the frame as well
    assert (cut_surroundings(image, np.array([30, 30, 34, 50.0]), PLAIN, 3) == image[21:43, 29:51]).all()
    corner = cut_surroundings(image, np.array([0, 0, 4, 4.0]), settings, 3)
    assert (corner[:6][::-1] == corner[6:12]).all()


def test_between_the_pixels_of_a_crop_that_has_no_frame_is_interpolated():
    image = ramp(16, 16)
    around = cut_surroundings(image, None, {**PLAIN, "window_px": 32}, 0)
    assert (around[::2, ::2] == image).all()
    assert around[0, 1] in (0, 1)
    assert around[1, 0] == 8
