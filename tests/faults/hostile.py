"""Readers under hostile bytes: each takes anything and lets out nothing but the project's own refusal."""

import base64
import functools
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import openpyxl
import pydantic
import pytest
import torch
from safetensors.torch import save

from mlproject.checkpoint import latest_checkpoint, restore_optimizer
from mlproject.checksums import write_checksums
from mlproject.config import load_config
from mlproject.data import boxes, checks, fetus_framework, images
from mlproject.errors import UserError
from mlproject.served import ServedClassifier
from mlproject.served_requests import ImageToJudge

CUT = {"crop": "square", "window_px": 64, "size": 32, "clahe_clip": 2.0, "clahe_tiles": 4}
_SHEET = "xl/worksheets/sheet1.xml"


def png(side: int = 24) -> bytes:
    """A small grey PNG."""
    return cv2.imencode(".png", np.arange(side * side, dtype=np.uint8).reshape(side, side))[1].tobytes()


@functools.cache  # a workbook tells when it was written: the next one would have other bytes
def workbook() -> bytes:
    """A workbook as the release has one, with two boxes."""
    book = openpyxl.Workbook()
    book.active.title = "ObjectDetection"
    for row in (fetus_framework._COLUMNS, ("1.png", "NT", 1, 2, 30, 40), ("2.png", "NT", 5, 5, 20, 20)):
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def with_sheet(sheet: bytes) -> bytes:
    """That workbook with another text of its sheet."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook())) as good, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for part in good.infolist():
            made.writestr(part.filename, sheet if part.filename == _SHEET else good.read(part))
    return stream.getvalue()


def sheet() -> bytes:
    """The text of that workbook's sheet."""
    with zipfile.ZipFile(io.BytesIO(workbook())) as archive:
        return archive.read(_SHEET)


def manifest_reader(content: bytes, folder: Path) -> None:
    """As manifest.csv and as a file of boxes."""
    path = folder / "manifest.csv"
    path.write_bytes(content)
    try:
        table = checks.read_manifest(path, need_split=False)
        problems = checks.Problems(str(path))
        checks.check_paths(table, folder, problems)
        problems.raise_any()
        # what was read is written so that it reads the same
        path.write_text(checks.manifest_text(table), encoding="utf-8")
        assert checks.read_manifest(path, need_split=False).equals(table)
    except UserError as error:
        assert_told(error)
    path.write_bytes(content)
    try:
        boxes.read_boxes(path)
    except UserError as error:
        assert_told(error)


def configuration_reader(content: bytes, folder: Path) -> None:
    """As a configuration file."""
    path = folder / "mine.yaml"
    path.write_bytes(content)
    try:
        load_config(path)
    except UserError as error:
        assert_told(error)


def workbook_reader(content: bytes, folder: Path) -> None:
    """As a workbook (after a first byte of 0) or as the text of its sheet."""
    path = folder / "ObjectDetection.xlsx"
    path.write_bytes(content[1:] if content[:1] == b"\0" else with_sheet(content))
    try:
        fetus_framework.read_boxes(folder)
    except UserError as error:
        assert_told(error)


def checkpoint_reader(content: bytes, folder: Path) -> None:
    """As one of a checkpoint's files, with checksums that fit; what is taken is put into an optimiser."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([parameter])
    step = work / "step-00000003"
    step.mkdir(parents=True)
    which = content[0] % 3 if content else 0
    (step / "state.json").write_bytes(content[1:] if which == 0 else b'{"step": 3, "state": {}}')
    (step / "tensors.safetensors").write_bytes(content[1:] if which == 1 else save({"adam.0.step": torch.zeros(())}))
    write_checksums(step)
    if which == 2:
        (step / "checksums.json").write_bytes(content[1:])
    with redirect_stderr(io.StringIO()) as told:
        found = latest_checkpoint(work)
    if found is None:
        assert told.getvalue().startswith("warning: checkpoint ")
        assert told.getvalue().count("\n") == 1
        return
    assert isinstance(found.state, dict)
    try:
        restore_optimizer(optimizer, found.tensors, "adam")
    except UserError as error:
        assert_told(error)


def request_parser(content: bytes, folder: Path) -> None:
    """As the body of a request: what a server refuses with 400 is pydantic's refusal or a UserError."""
    served = ServedClassifier()
    served.classifier = SimpleNamespace(meta={"preprocessing": CUT})
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        return  # not a matter of the model: MLflow's server has refused it
    for number, given in enumerate(asked if isinstance(asked, list) else [asked]):
        try:
            crop = served._crop(number, ImageToJudge.model_validate(given))
        except pydantic.ValidationError:
            continue
        except UserError as error:
            assert_told(error, f"image {number}: ")
        else:
            assert crop.shape == (32, 32)


def image_reader(content: bytes, folder: Path) -> None:
    """As an image file."""
    try:
        assert images.decode_grey(content, "x.png").size > 0
    except UserError as error:
        assert_told(error)


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "manifest": manifest_reader,
    "configuration": configuration_reader,
    "workbook": workbook_reader,
    "checkpoint": checkpoint_reader,
    "request": request_parser,
    "image": image_reader,
}


def assert_told(error: UserError, start: str = "") -> None:
    """A refusal says something, in few words, and cannot move a terminal's cursor."""
    text = str(error)
    assert text.startswith(start)
    assert 10 < len(text) < 8000
    assert not any(ord(character) < 32 and character != "\n" for character in text), ascii(text)


def refused(call: Callable[..., object], *given: object, **named: object) -> str:
    """The refusal of a call."""
    with pytest.raises(UserError) as told:
        call(*given, **named)
    assert_told(told.value)
    return str(told.value)


def seeds(reader: str) -> list[bytes]:
    """Good input and near misses, from which mutations start."""
    image = base64.b64encode(png()).decode()
    tensors = {"adam.0.exp_avg": torch.zeros(3), "adam.0.step": torch.ones(()), "adam.group0.lr": torch.ones(())}
    ways = [cv2.imencode(suffix, np.full((9, 7), 90, np.uint8))[1].tobytes() for suffix in (".bmp", ".jpg", ".tiff")]
    return {
        "manifest": [
            b"image_path,label,subject_id,split,h_min,w_min,h_max,w_max\na.png,0,s0,train,1,2,30,40\n",
            b"image_path,label,subject_id\n../x.png,1,=1+1\n",
            b"image_path,h_min,w_min,h_max,w_max\na.png,0,0,9.5,9\n",
        ],
        "configuration": [
            b"gan: {steps: 5, lambda_gp: 1e1}\n",
            b"run:\n  experiment: 2020-01-01\ndata: {seed: 0x1f, crop: box}\n",
            b"a: &a [1]\ngan: *a\n",
        ],
        "workbook": [b"\0" + workbook(), sheet()],
        "checkpoint": [b'\0{"step": 3, "state": {"best": null}}', b"\1" + save(tensors), b'\2{"algorithm": "sha256"}'],
        "request": [
            json.dumps([{"image": image, "box": "1,2,20,22"}]).encode(),
            b'[{"pixels": [[1, 2], [3, 4]], "prepared": true}, {"box": "1,2,3,4"}]',
        ],
        "image": [png(), *ways],
    }[reader]
