"""DICOM files written here with pydicom: grey levels by hand, and a patient's name that must not come through."""

import numpy as np
import pytest

pytest.importorskip("pydicom")

from dicom_files import write_dicom
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import load_config
from mlproject.data.dicom import burned_in_text_warning, is_dicom, read_dicom
from mlproject.data.images import decode_grey, read_grey
from mlproject.data.prepare import prepare
from mlproject.errors import UserError

RAMP = np.array([[0, 1, 100], [200, 254, 255]])


def test_eight_bits_without_a_window_are_taken_as_they_are(tmp_path):
    found = read_dicom(write_dicom(tmp_path / "a.dcm", RAMP))
    assert found.images.dtype == np.uint8
    assert found.images.tolist() == [RAMP.tolist()]
    assert found.burned_in == ""


def test_monochrome1_is_inverted(tmp_path):
    """In MONOCHROME1 the lowest value is white."""
    found = read_dicom(write_dicom(tmp_path / "a.dcm", RAMP, kind="MONOCHROME1"))
    assert found.images[0].tolist() == (255 - RAMP).tolist()


def test_the_window_is_applied(tmp_path):
    """PS3.3 C.11.2.1.2.1: centre 2048 and width 1001 reach from 1547.5 to 2547.5, so 2047.5 would be the middle.

    At and below the lower end stands black, above the upper one white; 1797.5, a quarter of the way, would be 63.75:
    1797 gives (1797 - 1547.5) / 1000 x 255 = 63.6, that is 64.
    """
    pixels = np.array([[0, 1547, 1797], [2548, 3000, 4095]])
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=12, WindowCenter=2048, WindowWidth=1001)
    assert read_dicom(path).images[0].tolist() == [[0, 0, 64], [255, 255, 255]]
    inverse = write_dicom(tmp_path / "b.dcm", pixels, bits=12, kind="MONOCHROME1", WindowCenter=2048, WindowWidth=1001)
    assert read_dicom(inverse).images[0].tolist() == [[255, 255, 191], [0, 0, 0]]


def test_the_first_of_several_windows_counts(tmp_path):
    pixels = np.array([[0, 4095]])
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=12, WindowCenter=[10_000, 2048], WindowWidth=[1000, 4096])
    assert read_dicom(path).images[0].tolist() == [[0, 0]]


@given(level=st.integers(-2000, 2000))
def test_rescaling_before_the_window_changes_nothing_that_the_window_undoes(tmp_path_factory, level):
    """Stored s means s x 2 - 100; a window around the rescaled middle gives what the plain window gives of s."""
    folder = tmp_path_factory.mktemp("rescaled")
    pixels = np.array([[level, -2048, 2047]])
    plain = write_dicom(folder / "a.dcm", pixels, bits=12, signed=True, WindowCenter=100, WindowWidth=1000,
                  VOILUTFunction="LINEAR_EXACT")  # fmt: skip
    scaled = write_dicom(folder / "b.dcm", pixels, bits=12, signed=True, RescaleSlope=2, RescaleIntercept=-100,
                   WindowCenter=100, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")  # fmt: skip
    expected = read_dicom(plain).images[0]
    assert expected[0].tolist() == [round(255 * min(max((level + 400) / 1000, 0), 1)), 0, 255]
    assert read_dicom(scaled).images[0].tolist() == expected.tolist()


def test_deep_pixels_without_a_window_are_scaled_by_their_full_range(tmp_path):
    """As a 16-bit PNG is: 4095 of 12 bits is white, whatever the brightest pixel; 2048 / 4095 x 255 = 127.5."""
    path = write_dicom(tmp_path / "a.dcm", np.array([[0, 2049, 3000]]), bits=12)
    assert read_dicom(path).images[0].tolist() == [[0, 128, 187]]
    dim = write_dicom(tmp_path / "b.dcm", np.array([[0, 100, 255]]), bits=16)
    with pytest.raises(UserError, match="16-bit pixels that reach 255 of 65535 and no window"):
        read_dicom(dim)


def test_colour_becomes_luma(tmp_path):
    """ITU-R 601: 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.2."""
    path = write_dicom(tmp_path / "a.dcm", np.tile(np.array([200, 100, 50]), (2, 3, 1)), kind="RGB")
    assert read_dicom(path).images.tolist() == [[[124] * 3] * 2]


def test_every_frame_is_read(tmp_path):
    pixels = np.arange(24).reshape(4, 2, 3)
    found = read_dicom(write_dicom(tmp_path / "a.dcm", pixels, kind="MONOCHROME1", BurnedInAnnotation="YES"))
    assert found.images.tolist() == (255 - pixels).tolist()
    assert found.burned_in == "YES"


def test_a_file_is_known_by_its_suffix_or_by_its_mark(tmp_path):
    dicom = write_dicom(tmp_path / "A.DCM", RAMP)
    for name, expected in (("noname", True), ("1.2.840.113619.7", True), ("notes.txt", False)):
        (tmp_path / name).write_bytes(dicom.read_bytes())
        assert is_dicom(tmp_path / name) is expected
    (tmp_path / "other").write_bytes(b"x" * 500)
    assert not is_dicom(tmp_path / "other")
    assert not is_dicom(tmp_path)
    assert is_dicom(dicom)


def without_pixels(path):
    import pydicom

    header = pydicom.dcmread(path)
    del header.PixelData
    header.save_as(path)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("spoil", "tags", "told"),
    [
        (lambda path: path.write_bytes(b"no dicom"), {}, "is no DICOM file"),
        (without_pixels, {}, "holds no image"),
        (cut_short, {}, "its pixels cannot be decoded .Explicit VR Little Endian"),
        (lambda path: None, {"kind": "PALETTE COLOR"}, "its pixels are PALETTE COLOR"),
        (lambda path: None, {"WindowCenter": 5, "WindowWidth": 0}, "its grey levels cannot be shown"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, spoil, tags, told):
    path = write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    spoil(path)
    with pytest.raises(UserError, match=f"scan: {told}"):
        read_dicom(path, "scan")


def test_other_doors_say_where_dicom_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    with pytest.raises(UserError, match="a DICOM file; prepare_data with source=classes and predict read these"):
        decode_grey(path.read_bytes(), "image 0")


def test_the_warning_counts_what_the_files_say():
    assert burned_in_text_warning([]) == ""
    told = burned_in_text_warning(["YES", "", "NO", "YES"])
    assert told.startswith("DICOM: of 4 files 2 say that text is burned into the pixels, 1 do not say")
    assert "Look at the frames" in told
    assert "Patient identifiers of the header are not copied" in told
    assert "Look at the frames" not in burned_in_text_warning(["NO"])


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)


def test_a_folder_per_class_takes_dicom_and_leaves_the_patient_behind(tmp_path):
    source = tmp_path / "images"
    for number in range(6):
        for label, name in enumerate(("normal", "anomalous")):
            frames = np.stack([picture(100 * label + 10 * number + frame) for frame in range(2)])
            write_dicom(source / name / f"{name[0]}{number}.dcm", frames, BurnedInAnnotation="YES")
    write_dicom(source / "normal" / "s_1", picture(999), kind="MONOCHROME1")
    config = load_config(None, {"data.source": "classes", "data.path": str(source), "data.split": "fractions"}).data
    dataset = prepare(config, tmp_path / "set", workers=1)
    table = dataset.table.set_index("image_path")
    assert len(table) == 25
    assert table.loc["images/normal/n3.dcm-frame0002.png", "subject_id"] == "normal/n3"
    assert table.loc["images/normal/n3.dcm-frame0001.png", "subject_id"] == "normal/n3"
    assert table.loc["images/normal/s_1.png", "subject_id"] == "s"
    assert (read_grey(dataset.root / "images/anomalous/a2.dcm-frame0002.png") == picture(121)).all()
    assert (read_grey(dataset.root / "images/normal/s_1.png") == 255 - picture(999)).all()
    assert "12 say that text is burned" in dataset.info["source"]["dicom"]
    for path in dataset.root.rglob("*"):
        if path.is_file():
            assert b"JANE" not in path.read_bytes()
            assert b"4711-0815" not in path.read_bytes()


def test_a_damaged_dicom_file_is_listed_with_the_others(tmp_path):
    for number in range(2):
        (tmp_path / "images" / "normal").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "normal" / f"{number}.dcm").write_bytes(b"x")
    config = load_config(None, {"data.source": "classes", "data.path": str(tmp_path / "images")}).data
    with pytest.raises(UserError, match="normal/0.dcm: is no DICOM file.*\n.*normal/1.dcm: is no DICOM file"):
        prepare(config, tmp_path / "set", workers=1)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    path = write_dicom(tmp_path / "a.dcm", RAMP)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"needs pydicom; install it with `pip install -e '.\[dicom\]'`"):
        read_dicom(path)
