"""Writes the pages of docs/ that are read from the source: `python tools/write_docs.py`."""

from pathlib import Path

import house
import plan
import reference

from mlproject.files import atomic_write_text


def generated() -> dict[Path, str]:
    """Path from the project's root -> text, of every page that is written by this command."""
    found = house.modules()
    return {plan.DRAWING: plan.drawing(found), plan.PAGE: plan.page(found)} | reference.pages()


def main() -> None:
    """Write what has changed, remove pages of entry points that are gone, and say both."""
    pages = generated()
    for path, text in pages.items():
        target = house.ROOT / path
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            atomic_write_text(target, text)
            print(f"written: {path}")
    for stray in sorted((house.ROOT / reference.FOLDER).glob("*.md")):
        if stray.relative_to(house.ROOT) not in pages:
            stray.unlink()
            print(f"removed: {stray.relative_to(house.ROOT)}")


if __name__ == "__main__":
    main()
