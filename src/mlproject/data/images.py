"""Image files in and out: one decoder for importing, training and serving, so that all see the same grey levels."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mlproject.data.dicom import holds_dicom
from mlproject.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
WHITE = 255
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# a file of a few bytes can claim any size: 8192 x 8192 is far above every scanner's frame and fits into memory
MAX_PIXELS = 2**26
# what is wrong with a file is told once, in the refusal; odd metadata beside good pixels is nobody's concern here
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_grey(content: bytes, where: str) -> np.ndarray:
    """The image in `content` as uint8 [height, width].

    Colour becomes luma (ITU-R 601), alpha is dropped, of several frames the first counts. 16-bit grey is scaled by
    its full range, 65535 -> 255, never by the image's own range, which would change grey levels from image to image.

    Args:
        content: bytes of a PNG, JPEG, BMP or TIFF file.
        where: name of the file in messages.

    Raises:
        UserError: empty, truncated or no such image; more than `MAX_PIXELS`; floating-point pixels; 16-bit pixels that
            use less than a sixteenth of their range (12 bits in 16), which full-range scaling would turn black.
    """
    if not content:
        raise UserError(f"{where}: the file is empty (0 bytes); copy it again")
    if holds_dicom(content):
        raise UserError(f"{where}: a DICOM file; prepare_data with source=classes and predict read these")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
        image.load()
        if image.mode != "L" and image.mode != "F" and not image.mode.startswith("I"):
            # a palette with transparency goes through RGB, so that alpha is dropped and not blended
            image = image.convert("RGB").convert("L")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers let out whatever the damage of a file leads to
        reason = " ".join(str(error).split()).replace(repr(content[:0]), "") or type(error).__name__
        reason = "no PNG, JPEG, BMP or TIFF" if "cannot identify" in reason else reason
        raise UserError(f"{where}: cannot be read as an image ({reason}); copy it again or leave it out") from None
    if image.mode == "F":
        raise UserError(f"{where}: floating-point pixels; convert it to 8-bit grey")
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int32)
        brightest = int(deep.max())
        if deep.min() < 0 or brightest > 65535:
            raise UserError(f"{where}: 32-bit pixels; convert it to 8-bit grey")
        if brightest < 4096:
            raise UserError(
                f"{where}: 16-bit pixels that reach {brightest} of 65535; convert it to 8-bit grey with the window "
                "you intend"
            )
        return ((deep + 128) // 257).astype(np.uint8)
    return np.array(image, dtype=np.uint8)


def read_grey(path: str | Path, where: str | None = None) -> np.ndarray:
    """`decode_grey` of a file; `where` defaults to its path.

    Raises:
        UserError: the file cannot be opened, and all that `decode_grey` refuses.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{where or path}: cannot be opened ({error.strerror or error})") from None
    return decode_grey(content, where or str(path))


def encode_png(image: np.ndarray) -> bytes:
    """uint8 [height, width] as PNG bytes at its true grey levels; compression 1, which is fast and lossless."""
    assert image.dtype == np.uint8
    assert image.ndim == 2
    done, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return content.tobytes()


def image_grid(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images side by side, row after row, as one image.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
        columns: images in a row; the rest of the last row stays white.
        gap: pixels of white between them.

    Returns:
        uint8 [height, width] or [height, width, 3] of them all. Grey levels are kept as they are.

    Raises:
        UserError: no images, not uint8, or no column.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images) or columns < 1:
        raise UserError(
            f"image grid: got {images.dtype} of shape {images.shape} in {columns} columns; expected at least one uint8 "
            "image and one column"
        )
    count, height, width = images.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    picture = np.full(shape, WHITE, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        picture[top : top + height, left : left + width] = image
    return picture


def grid(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """`image_grid` of uint8 [n, height, width] in a white frame, so that grids can be stacked."""
    return np.pad(image_grid(images, columns, gap), gap, constant_values=WHITE)
