"""Hostile input: files that lie about their size, lead out of their folder, or carry commands."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import cv2
import hostile
import numpy as np
import pandas as pd
import pytest
import yaml
from hostile import refused

from mlproject.config import PROJECT_ROOT, load_config, read_yaml
from mlproject.data.checks import Problems, check_paths, manifest_text, read_manifest
from mlproject.data.dicom import read_dicom
from mlproject.data.fetus_framework import find_frames, read_boxes
from mlproject.data.images import decode_grey
from mlproject.data.prepare import prepare
from mlproject.stages.predict import _of_folder

MEGABYTE = 2**20


def peak_of(call, *given) -> tuple[str, float]:
    """The refusal of a call and the most memory, in MiB, that Python and NumPy held for it."""
    tracemalloc.start()
    try:
        message = refused(call, *given)
        return message, tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def claimed_png(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header claims `side` x `side` pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [60_000, 12_000, 8_193])
def test_a_png_that_claims_more_pixels_than_memory_holds(fault, side):
    message, peak = peak_of(decode_grey, claimed_png(side), "bomb.png")
    assert "bomb.png: cannot be read as an image" in message
    assert "ixels" in message
    assert peak < 5
    fault("a PNG of 400 bytes that claims 60 000 x 60 000 pixels", "refused by its header, below 5 MiB of memory")


@pytest.fixture
def dicom_file(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra [dicom]")
    from pydicom.examples import get_path

    def write(syntax: str, **elements: object) -> Path:
        header = pydicom.dcmread(get_path("ct"))
        for name, value in elements.items():
            setattr(header, name, value)
        header.file_meta.TransferSyntaxUID = syntax
        header.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
        return tmp_path / "scan.dcm"

    return write


def test_a_dicom_file_that_claims_more_than_it_holds(fault, dicom_file):
    path = dicom_file("1.2.840.10008.1.2.1", Rows=65_535, Columns=65_535, NumberOfFrames=1_000)
    assert "1000 frames of 65535 x 65535 pixels" in refused(read_dicom, path)
    path = dicom_file("1.2.840.10008.1.2.1.99")
    assert "the whole file is deflated" in refused(read_dicom, path)
    fault(
        "a DICOM header that claims 1000 frames of 65 535 x 65 535; one that is deflated as a whole",
        "both refused before a pixel is unpacked",
    )


def write_zip(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def good_parts() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(hostile.workbook())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sheet_of(rows: bytes, dimension: str = "A1:F3") -> bytes:
    space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    inside = f'<dimension ref="{dimension}"/>'.encode() + b"<sheetData>" + rows + b"</sheetData>"
    return b"<worksheet " + space + b">" + inside + b"</worksheet>"


def laughs(levels: int = 8) -> bytes:
    lines = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, levels))
    return b'<?xml version="1.0"?><!DOCTYPE worksheet [<!ENTITY e0 "ha">' + lines + b"]>"


WORKBOOKS = {
    "50 MB of blanks in 50 kB": (sheet_of(b" " * 50_000_000), "unpacks to 48 MiB"),
    "entities that multiply": (laughs() + sheet_of(b"<row><c><v>&e7;</v></c></row>"), "has a document type"),
    "a last row of 10^9": (sheet_of(b'<row r="1000000000"><c r="A1"/></row>'), "more than 100000 rows"),
    "100 000 rows said to be 16 384 wide": (
        sheet_of(b"<row><c><v>1</v></c></row>" * 99_999, "A1:XFD1048576"),
        "column fname",
    ),
    "a position of 400 digits": (
        hostile.sheet().replace(b"<v>30</v>", b"<v>" + b"9" * 400 + b"</v>"),
        "no image number with four whole pixel positions",
    ),
}


@pytest.mark.parametrize("bomb", WORKBOOKS)
def test_a_workbook_that_is_a_bomb(fault, tmp_path, bomb):
    sheet, told = WORKBOOKS[bomb]
    write_zip(tmp_path / "ObjectDetection.xlsx", good_parts() | {"xl/worksheets/sheet1.xml": sheet})
    message, peak = peak_of(read_boxes, tmp_path)
    assert told in message
    assert peak < 250
    fault(
        "a workbook that unpacks to 48 MiB, multiplies entities, or says it has 10^9 rows or 16 384 columns",
        "each refused in one line, below 250 MiB of memory",
    )


def test_a_workbook_of_the_release_s_size_is_read(fault, tmp_path):
    rows = b"".join(
        b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>%d.png</t></is></c>'
        b'<c r="B%d" t="inlineStr"><is><t>%s</t></is></c>'
        b'<c r="C%d"><v>1</v></c><c r="D%d"><v>2</v></c><c r="E%d"><v>30</v></c><c r="F%d"><v>40</v></c></row>'
        % (row, row, (row - 2) // 9, row, b"NT" if row % 9 == 2 else b"palate", row, row, row, row)
        for row in range(2, 2 + 1684 * 9)
    )
    header = hostile.sheet().split(b"<sheetData>")[1].split(b"</row>")[0] + b"</row>"
    sheet = sheet_of(header + rows, "A1:F15157")
    assert len(sheet) < 4 * MEGABYTE
    write_zip(tmp_path / "ObjectDetection.xlsx", good_parts() | {"xl/worksheets/sheet1.xml": sheet})
    assert len(read_boxes(tmp_path)) == 1684
    fault("a workbook as large as the release's can be", "read: 1684 boxes of 15 156 rows")


YAMLS = {
    "a tag that makes an object": ("!!python/object/apply:os.system ['touch ran']", "python/object/apply"),
    "a tag in a value": ("gan: {steps: !!python/name:os.getcwd ''}", "python/name"),
    "anchors that multiply": (
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "found an alias",
    ),
    "anchors that multiply in merge keys": ("gan: &a {<<: [*a, *a]}", "found an alias"),
    "ten thousand brackets": ("gan: " + "[" * 10_000, "cannot be read as YAML"),
    "a number of 5000 digits": ("gan: {steps: " + "9" * 5000 + "}", "cannot be read as YAML"),
    "a number of 400 digits": ("gan: {lambda_gp: " + "9" * 400 + "}", "is not a number"),
    "a day that does not exist": ("run: {experiment: 2020-02-31}", "cannot be read as YAML"),
    "a number that is none": ("gan: {steps: !!int ''}", "cannot be read as YAML"),
    "a key that stands twice": ("gan: {steps: 1}\ngan: {steps: 2}", "the key 'gan' a second time"),
    "a megabyte": ("gan: {steps: 1}\n" + "#" * 2**20, "more than 256 KiB"),
    "a value that fills the screen": ("gan: {steps: '" + "x" * 200_000 + "'}", "is not a whole number"),
}


@pytest.mark.parametrize("kind", YAMLS)
def test_a_configuration_that_attacks_its_reader(fault, tmp_path, monkeypatch, kind):
    text, told = YAMLS[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    message, peak = peak_of(load_config, "mine.yaml")
    assert told in message
    assert len(message) < 700
    assert peak < 60
    assert not (tmp_path / "ran").exists()
    fault(
        "YAML that makes objects by tags, multiplies by anchors, nests 10 000 deep, or has numbers without end",
        "each refused in one line below 700 characters, below 60 MiB of memory; nothing was run",
    )


def test_the_plain_loader_reads_what_yaml_s_own_does(fault):
    for path in (PROJECT_ROOT / "configs").glob("*.yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text())
    fault("the project's own configurations, through the same reader", "read as YAML's own loader reads them")


def write_classes(folder: Path) -> Path:
    for label, name in enumerate(("normal", "anomalous")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            image = np.random.default_rng((label, number)).integers(0, 255, (40, 40), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{name[0]}{number}_0.png"), image)
    return folder


def importing(folder: Path, **changes) -> None:
    data = {"data.source": "classes", "data.path": str(folder), "data.split": "fractions", "data.size": 32}
    prepare(load_config(None, data | changes).data, folder.parent / "made", workers=1)


def test_links_that_lead_out_of_a_folder_of_images(fault, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "patient.png").write_bytes(hostile.png(40))
    folder = write_classes(tmp_path / "unpacked")
    (folder / "normal" / "n9_0.png").symlink_to(secret / "patient.png")
    (folder / "anomalous" / "loop.png").symlink_to("loop.png")
    told = "normal/n9_0.png is a link that leads out of the folder"
    assert told in refused(importing, folder)
    assert not (tmp_path / "made").exists()
    assert told in refused(_of_folder, folder, "", hostile.CUT, 1)
    release = tmp_path / "release" / "Set1" / "Standard"
    release.mkdir(parents=True)
    (release / "1.png").symlink_to(secret / "patient.png")
    assert "1.png is a link that leads out of the folder" in refused(find_frames, tmp_path / "release")
    (tmp_path / "release" / "ObjectDetection.xlsx").symlink_to("/etc/hostname")
    assert "is a link that leads out" in refused(read_boxes, tmp_path / "release")
    # one that stays inside is as good as a copy, and a whole folder that is a link was named by its owner
    (folder / "normal" / "n9_0.png").unlink()
    (folder / "anomalous" / "loop.png").unlink()
    (tmp_path / "linked").symlink_to(folder)
    importing(tmp_path / "linked")
    fault(
        "links in an unpacked folder that lead to a file elsewhere (import, predict, the clinical download)",
        "each named and refused; nothing was copied",
    )


def test_links_and_paths_of_a_manifest_that_lead_out_or_nowhere(fault, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.png").write_bytes(hostile.png())
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    names = ["link.png", "loop.png", "x/../../out.png", "C:x.png", "x" * 300 + ".png"]
    path = tmp_path / "in" / "manifest.csv"
    path.write_text("image_path,label,subject_id\n" + "".join(f"{name},0,s\n" for name in names))
    problems = Problems(str(path))
    check_paths(read_manifest(path, need_split=False), path.parent, problems)
    found = [text.partition(":")[0] for text in problems.found]
    assert found == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert "leads out" in problems.found[0]
    assert "does not exist" in problems.found[4]
    fault("manifest paths through links, loops, `..`, a drive, or 300 characters", "all five told with their lines")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('a.png,0,"s\r0"', "subject_id 's\\r0' holds a line break"),
        ("a.png,0,s\x1b[2J", "subject_id 's\\x1b[2J' holds a line break or a control"),
        ("a.png,0,s,99999999999999999999", "h_min '99999999999999999999' is not a whole number"),
        ("a.png,0,s,1e400", "h_min '1e400' is not a whole number"),
    ],
)
def test_cells_of_a_manifest_that_break_lines_or_numbers(fault, tmp_path, row, told):
    path = tmp_path / "manifest.csv"
    path.write_text("image_path,label,subject_id,h_min,w_min,h_max,w_max\n" + row + "\n", newline="")
    assert told in refused(read_manifest, path, need_split=False)
    fault("cells with line breaks, terminal commands or numbers without end", "refused with line, column and value")


def test_names_of_files_that_are_no_plain_text(fault, tmp_path):
    folder = write_classes(tmp_path / "unpacked")
    (folder / "normal" / "a\r=1+1.png").write_bytes(hostile.png(40))
    (folder / "normal" / "\udcff.png").write_bytes(hostile.png(41))
    message = refused(importing, folder)
    assert "a\\r=1+1.png: a name with control characters" in message
    assert "\\udcff.png: a name with control characters, or that is no UTF-8" in message
    names = _of_folder(folder, "", hostile.CUT, 1).paths
    assert "normal/a\\r=1+1.png" in names
    assert all(name.isprintable() for name in names)
    fault("file names with line breaks or bytes that are no UTF-8", "import refuses them, predict writes them escaped")


def test_a_manifest_keeps_ids_that_begin_like_formulas(fault, tmp_path):
    ids = ["=cmd|'/C calc'!A0", "+1-1", "-1", "@SUM(1)", "'=x", "''=x", "plain"]
    path = tmp_path / "manifest.csv"
    table = pd.DataFrame({"image_path": [f"{n}.png" for n in range(7)], "label": 0, "subject_id": ids})
    path.write_text(manifest_text(table))
    written = [line.split(",", 2)[2].strip('"') for line in path.read_text().splitlines()[1:]]
    assert [cell[0] for cell in written] == ["'", "'", "-", "'", "'", "'", "p"]
    assert read_manifest(path, need_split=False)["subject_id"].tolist() == ids
    fault("subject ids that begin like formulas, in a data set's manifest", "written with an apostrophe, read without")
