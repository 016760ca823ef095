"""DICOM images, through pydicom (the extra `[dicom]`): grey levels as a viewer shows them, and nothing of the header.

What is taken from a file is its pixels alone. The header, with the patient's name and identifiers, is read in memory
and copied nowhere. Text that is burned into the pixels stays there: `burned_in_text_warning` says where to look.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mlproject.errors import UserError, one_line

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
# a file begins with 128 bytes of anything and these four
_MAGIC_AT, _MAGIC = 128, b"DICM"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
# of 16 bits: pixels that use less than a sixteenth of their range would come out black (as for a 16-bit PNG)
_LEAST_SHARE = 1 / 16
# values in all frames of a file: 200 frames of 1024 x 768 in colour; a header can claim any number
_MAX_VALUES = 2**29
_FAR = 1e12


@dataclass(frozen=True)
class DicomFrames:
    """The frames of one file.

    Attributes:
        images: uint8 [frames, height, width]; a single image has one frame.
        burned_in: the tag BurnedInAnnotation: YES, NO, or "" where the file does not say.
    """

    images: np.ndarray
    burned_in: str


def holds_dicom(content: bytes) -> bool:
    """Whether these are the bytes of a DICOM file."""
    return content[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def is_dicom(path: Path) -> bool:
    """Whether a file is taken for DICOM: by its suffix, or without any suffix by the mark in it."""
    if path.suffix.lower() in SUFFIXES:
        return True
    # archives often name files by an identifier, 1.2.840.113619.2.1, whose last number looks like a suffix
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as stream:
            return holds_dicom(stream.read(_MAGIC_AT + len(_MAGIC)))
    except OSError:
        return False


def read_dicom(path: str | Path, where: str | None = None) -> DicomFrames:
    """Every frame of a DICOM file as uint8 grey levels.

    Grey images pass through their modality transformation and their first VOI window or table, the grey levels that
    the device meant to be seen, and the range of that is scaled to 0..255; without a window 8 bits are taken as they
    are and more bits are scaled by their full range. MONOCHROME1, where the lowest value is white, is inverted. Colour,
    as many scanners store B-mode, becomes luma (ITU-R 601), as in a colour PNG.

    Args:
        path: the file.
        where: its name in messages; default: the path.

    Raises:
        UserError: pydicom is not installed; no DICOM, no pixels, more of them than fit into memory, a compression that
            cannot be decoded here, a palette, pixels that are no image, or deep pixels without a window that use less
            than a sixteenth of their range.
    """
    where = where or str(path)
    try:
        return _read(path, where)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # pydicom converts an element when it is asked for it, and raises whatever that leads to
        raise UserError(
            f"{where}: cannot be read as DICOM ({one_line(error, 200)}); copy it again or leave it out"
        ) from None


def _read(path: str | Path, where: str) -> DicomFrames:
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.uid import DeflatedExplicitVRLittleEndian
    except ImportError:
        raise UserError(f"{where}: DICOM needs pydicom; install it with `pip install -e '.[dicom]'`") from None
    try:
        if _transfer_syntax(path) == DeflatedExplicitVRLittleEndian:
            # pydicom would unpack all of it at once, and a few bytes of it can unpack to any size
            raise ValueError("the whole file is deflated")
        header = pydicom.dcmread(path)
    except InvalidDicomError:
        raise UserError(f"{where}: is no DICOM file; copy it again or leave it out") from None
    kind = str(header.get("PhotometricInterpretation", ""))
    if "PixelData" not in header:
        raise UserError(f"{where}: holds no image (no PixelData); leave it out")
    if kind not in (*_GREY, *_COLOUR):
        raise UserError(f"{where}: its pixels are {kind or 'of no named kind'}; export it as grey or RGB")
    _refuse_too_large(header, where)
    try:
        pixels = header.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds
        syntax = header.file_meta.get("TransferSyntaxUID", None)
        name = getattr(syntax, "name", None) or "unknown transfer syntax"
        raise UserError(
            f"{where}: its pixels cannot be decoded ({name}: {one_line(error, 200)}); export it uncompressed or as JPEG"
        ) from None
    axes = 2 if kind in _GREY else 3
    if pixels.ndim == axes:
        pixels = pixels[None]
    if pixels.ndim != axes + 1 or 0 in pixels.shape:
        raise UserError(f"{where}: pixels of shape {list(pixels.shape)}, expected frames of height and width")
    images = _grey(header, pixels, where) if kind in _GREY else _luma(pixels, where)
    return DicomFrames(images, str(header.get("BurnedInAnnotation", "") or "").strip().upper())


def _transfer_syntax(path: str | Path) -> str:
    """The transfer syntax that the first elements of a file name, "" where they name none."""
    from pydicom.filereader import read_file_meta_info

    return str(read_file_meta_info(path).get("TransferSyntaxUID", ""))


def _refuse_too_large(header: "Dataset", where: str) -> None:
    """Refuse what a header claims before anything of that size is made."""
    try:
        frames, *sides = (
            int(header.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")
        )
    except (TypeError, ValueError):
        raise UserError(f"{where}: the number of its frames or their size is no number; export it again") from None
    if frames * math.prod(sides) > _MAX_VALUES:
        raise UserError(
            f"{where}: {frames} frames of {sides[0]} x {sides[1]} pixels, more than are read at once; split it"
        )


def burned_in_text_warning(answers: Iterable[str]) -> str:
    """What to tell a person about the text in the pixels of files with these `burned_in`; "" for no files."""
    counts = Counter(answers)
    if not counts:
        return ""
    yes, no = counts["YES"], counts["NO"]
    silent = sum(counts.values()) - yes - no
    found = [
        f"{count} {words}"
        for count, words in (
            (yes, "say that text is burned into the pixels"),
            (silent, "do not say whether text is burned in"),
            (no, "say that none is"),
        )
        if count
    ]
    told = f"DICOM: of {sum(counts.values())} files {', '.join(found)}."
    if yes or silent:
        told += " Look at the frames before you share them: names and dates in the picture are not removed."
    return f"{told} Patient identifiers of the header are not copied; names of files and folders are."


def _grey(header: "Dataset", pixels: np.ndarray, where: str) -> np.ndarray:
    """uint8 of grey pixels [frames, height, width]."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    stored = int(header.BitsStored)
    try:
        values = apply_modality_lut(pixels, header)
        windows = (header.get("WindowCenter"), header.get("WindowWidth"))
        if header.get("VOILUTSequence") or None not in windows:
            shown = apply_voi_lut(values, header).astype(np.float64)
            low, high = _shown_range(header)
        else:
            shown = values.astype(np.float64)
            low, high = _full_range(header, pixels.dtype)
            if stored > 8 and float(shown.max()) - low < (high - low) * _LEAST_SHARE:
                raise UserError(
                    f"{where}: {stored}-bit pixels that reach {shown.max():g} of {high:g} and no window; convert it "
                    "to 8-bit grey with the window you intend"
                )
    except UserError:
        raise
    except Exception as error:  # tables and windows that break the standard
        raise UserError(
            f"{where}: its grey levels cannot be shown ({one_line(error, 200)}); export it as PNG"
        ) from None
    if high == low:
        raise UserError(f"{where}: its window shows no range of grey levels; export it as PNG")
    grey = np.rint(np.clip((shown - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _full_range(header: "Dataset", dtype: np.dtype) -> tuple[float, float]:
    """The least and the largest value that stored pixels can have after their modality transformation."""
    from pydicom.pixels import apply_modality_lut

    if header.get("ModalityLUTSequence"):
        return 0.0, float(2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    stored = int(header.BitsStored)
    least = -(2 ** (stored - 1)) if int(header.PixelRepresentation) else 0
    low, high = sorted(
        float(end) for end in apply_modality_lut(np.array([least, least + 2**stored - 1], dtype), header)
    )
    return low, high


def _shown_range(header: "Dataset") -> tuple[float, float]:
    """The darkest and the brightest value that the VOI transformation of a file can give."""
    from pydicom.pixels import apply_windowing

    if header.get("VOILUTSequence"):
        return 0.0, float(2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    # far below and far above every window stand its two ends
    low, high = apply_windowing(np.array([-_FAR, _FAR]), header)
    return float(low), float(high)


def _luma(pixels: np.ndarray, where: str) -> np.ndarray:
    """uint8 [frames, height, width] of red, green and blue [frames, height, width, 3]."""
    if pixels.dtype != np.uint8 or pixels.shape[-1] != 3:
        raise UserError(f"{where}: colour of {pixels.dtype} in {pixels.shape[-1]} planes; export it as 8-bit RGB")
    return np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in pixels])
