"""YAML without what a configuration has no use for: tags, aliases, and more than its size can need."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mlproject.config.values import shown
from mlproject.errors import UserError, one_line

# the project's own files are far below it; YAML of this size still reads in seconds
_MOST_BYTES = 256 * 1024


class _PlainLoader(yaml.SafeLoader):
    """YAML without what a configuration has no use for: aliases, which can multiply without bound, and keys that stand
    twice, of which all but the last would be lost without a word."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "found an alias (*name); write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"found the key {shown(key.value)} a second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, read without tags and aliases.

    Raises:
        UserError: no file, more than 256 KiB, no YAML, a key that stands twice, or no mapping at the top.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES // 1024} KiB")
        content = yaml.load(text.decode("utf-8"), _PlainLoader)
    except FileNotFoundError:
        raise UserError(f"configuration {path} does not exist; configs/ holds those of the project") from None
    except Exception as error:  # PyYAML lets out whatever a scalar's own conversion or a deep nesting raises
        raise UserError(f"configuration {path} cannot be read as YAML: {one_line(error, 500)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"configuration {path}: expected keys with values, found {type(content).__name__}")
    return content
