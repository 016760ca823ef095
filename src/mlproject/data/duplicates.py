"""Exact and near-duplicate images: the same picture on both sides of a split is a leak."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image

from mlproject.data.images import decode_grey
from mlproject.errors import UserError

THUMBNAIL = 48
# A pair is a near-duplicate when both hold. The hash finds candidates quickly, but frames of one kind resemble each
# other: the correlation of the downsampled frames decides. Measured: frames of different subjects correlate by at most
# 0.76 (phantom and clinical frames alike); recompressed, rescaled, brightened, noisy copies by 0.99 and more, copies
# cropped by 4 pixels by 0.94.
HASH_DISTANCE = 8
CORRELATION = 0.93


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image file after reading it once."""

    sha256: str
    height: int
    width: int
    perceptual_hash: int
    thumbnail: np.ndarray  # uint8 [THUMBNAIL, THUMBNAIL]


def inspect_image(path: Path, where: str) -> ImageFacts:
    """Read one image file: content hash, size, 64-bit perceptual hash (DCT) and thumbnail.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot be opened ({error.strerror or error})") from None
    image = decode_grey(content, where)
    thumbnail = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    # the hash of the thumbnail is that of the frame, thirty times as quick: it looks at the lowest frequencies only
    bits = imagehash.phash(Image.fromarray(thumbnail)).hash.ravel()
    return ImageFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        height=image.shape[0],
        width=image.shape[1],
        perceptual_hash=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        thumbnail=thumbnail,
    )


def inspect_images(paths: Sequence[Path], names: Sequence[str], workers: int) -> list[ImageFacts | UserError]:
    """`inspect_image` of many files in threads; a file that cannot be read yields its error instead."""

    def inspect(pair: tuple[Path, str]) -> ImageFacts | UserError:
        try:
            return inspect_image(*pair)
        except UserError as error:
            return error

    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(inspect, zip(paths, names, strict=True)))


def near_duplicates(
    facts: Sequence[ImageFacts],
    groups: Sequence[str],
    *,
    hash_distance: int = HASH_DISTANCE,
    correlation: float = CORRELATION,
) -> list[tuple[int, int, float]]:
    """Pairs of images of different groups (splits, or subjects) that show the same picture.

    Candidates differ in at most `hash_distance` of the 64 bits of the perceptual hash; a candidate counts when the
    Pearson correlation of the two thumbnails is at least `correlation`. A recompressed, resized or brightened copy
    is found; another frame of similar anatomy is not.

    Returns:
        (first index, second index, correlation), first < second, in order.
    """
    n = len(facts)
    if n < 2:
        return []
    hashes = np.array([fact.perceptual_hash for fact in facts], dtype=np.uint64)
    flat = np.stack([fact.thumbnail for fact in facts]).reshape(n, -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    # a uniform image has no correlation; zero keeps it out of the pairs
    flat /= np.where(norm > 0, norm, 1)
    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    pairs: list[tuple[int, int, float]] = []
    for first in range(n - 1):
        distance = np.bitwise_count(hashes[first + 1 :] ^ hashes[first])
        close = np.flatnonzero((distance <= hash_distance) & (group[first + 1 :] != group[first])) + first + 1
        if close.size:
            similarity = flat[close] @ flat[first]
            pairs += [
                (first, int(second), float(value))
                for second, value in zip(close, similarity, strict=True)
                if value >= correlation
            ]
    return pairs


def merge_groups(names: Sequence[str], pairs: Sequence[tuple[int, int, float]]) -> list[str]:
    """Subject names after joining the subjects of each pair; a joined subject takes its first member's name.

    Example: with names a, b, c and the pair (0, 2): a, b, a.
    """
    parent = {name: name for name in names}
    order = {name: position for position, name in reversed(list(enumerate(names)))}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for first, second, _ in pairs:
        one, other = sorted((root(names[first]), root(names[second])), key=order.__getitem__)
        parent[other] = one
    return [root(name) for name in names]
