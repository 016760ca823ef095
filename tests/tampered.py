"""A stored file that is no longer what was written."""

from pathlib import Path


def flip_a_bit(path: Path) -> None:
    """Change the lowest bit of the byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
