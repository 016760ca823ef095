"""A hook of mkdocs: pages that are files of the root, and links out of docs/ shown as what they name."""

import os
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_DOCS = _ROOT / "docs"
# a page that says `{{ CONTRIBUTING.md }}` and nothing else is that file
_INCLUDED = re.compile(r"\s*\{\{ (\S+) \}\}\s*")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text; mkdocs itself tells of a link that leads to no file at all."""
    here = (_DOCS / page.file.src_uri).parent
    base = here
    if included := _INCLUDED.fullmatch(markdown):
        source = _ROOT / included.group(1)
        markdown, base = source.read_text(encoding="utf-8"), source.parent

    def shown(link: re.Match[str]) -> str:
        text, target, anchor = link.group(1), link.group(2), link.group(3) or ""
        path = (base / target).resolve()
        if not path.exists() or not path.is_relative_to(_ROOT):
            return link.group(0)
        if path.is_relative_to(_DOCS):
            return f"[{text}]({Path(os.path.relpath(path, here)).as_posix()}{anchor})"
        named = path.relative_to(_ROOT).as_posix()
        return f"`{named}`" if text.strip("`") in named else f"{text} (`{named}`)"

    return _LINK.sub(shown, markdown)


def on_config(config: Any) -> Any:
    """Pages that the navigation does not name yet stand at its end, so that every page is reached."""
    named = set(re.findall(r"[\w/.-]+\.md", str(config["nav"])))
    pages = {path.relative_to(_DOCS).as_posix() for path in _DOCS.rglob("*.md")}
    if rest := sorted(pages - named):
        config["nav"].append({"More": list(rest)})
    return config
