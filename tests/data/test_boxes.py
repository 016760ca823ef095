"""A box is four sides inside a frame; a file of boxes is told with its lines."""

import numpy as np
import pytest

from mlproject.data.boxes import box_of, check_inside, read_boxes
from mlproject.errors import UserError


def test_four_sides_as_text_or_numbers():
    assert box_of(["1", " 2.5", "30", "40"], "x").tolist() == [1, 2.5, 30, 40]
    assert box_of([0, 0, 1, 1], "x").dtype == np.float32


@pytest.mark.parametrize("sides", ["1,2,3", "1,2,3,4,5", "a,2,3,4", ""])
def test_what_is_no_four_numbers_is_told(sides):
    with pytest.raises(UserError, match="image 3: box '.*' is not `h_min,w_min,h_max,w_max` in pixels"):
        box_of(sides.split(","), "image 3")


@pytest.mark.parametrize("sides", ["5,1,5,9", "9,1,5,9", "1,9,5,9", "-1,0,5,5", "0,0,nan,5", "0,0,inf,5", "nan,0,1,5"])
def test_an_empty_box_is_refused(sides):
    with pytest.raises(UserError, match="is empty or begins outside"):
        box_of(sides.split(","), "x")


def test_a_box_ends_with_its_image():
    box = box_of([0, 0, 10, 20], "x")
    check_inside(box, (10, 20), "x")
    for shape in ((9, 20), (10, 19)):
        with pytest.raises(UserError, match=f"x: box h 0-10, w 0-20 reaches out of the image, {shape[0]} high"):
            check_inside(box, shape, "x")


def test_boxes_of_a_file(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(
        "\ufeffimage_path,note,h_min, w_min,h_max,w_max\na.png,x,1,2,3,4\nb/c.png,y,,,,\nd.png,,0,0,9.5,9\n"
    )
    found = read_boxes(path)
    assert {name: box.tolist() for name, box in found.items()} == {"a.png": [1, 2, 3, 4], "d.png": [0, 0, 9.5, 9]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image_path,h_min,w_min,h_max\na.png,1,2,3\n", "column w_max is missing; columns: image_path, h_min"),
        (
            "image_path,h_min,w_min,h_max,w_max\na.png,1,2,3,4\na.png,1,2,3,4\n",
            "line 3: image a.png stands there twice",
        ),
        ("image_path,h_min,w_min,h_max,w_max\na.png,1,2,3,\n", "line 2: a.png: box '1,2,3,' is not"),
        ("", "cannot be read as CSV"),
        (None, "does not exist; expected a CSV with the columns image_path,h_min"),
    ],
)
def test_a_file_that_holds_no_boxes_is_told(tmp_path, text, told):
    path = tmp_path / "boxes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=told):
        read_boxes(path)
