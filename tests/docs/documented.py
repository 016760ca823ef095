"""The commands that the documentation shows, and what can be said of each without running it."""

import functools
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from reference import ENTRY_POINTS, command_of

from mlproject.config import PROJECT_ROOT

# stands for what a reader fills in, such as <folder>
PLACEHOLDER = "PLACEHOLDER"
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)
_SUBSTITUTION = re.compile(r"\$\([^()]*(\([^()]*\))?[^()]*\)")
# programs that are not ours, and where what they are used for is run
OTHER_PROGRAMS = {
    "source": "activates the environment",
    "export": "sets a variable",
    "cd": "changes the folder",
    "cp": "copies a file",
    "printf": "tests/trust/test_serving.py runs a server and asks it",
    "base64": "tests/trust/test_serving.py runs a server and asks it",
    "tr": "tests/trust/test_serving.py runs a server and asks it",
    "curl": "tests/trust/test_serving.py runs a server and asks it",
    "openssl": "tests/registry/test_signing.py makes such keys",
    "chromium": "takes the pictures of docs/ui.md",
    "docker": "tests/test_deploy.py reads the compose file",
}


@dataclass(frozen=True)
class Documented:
    """A command, word by word, and the page that shows it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def pages() -> list[Path]:
    """Every page with commands."""
    own = [PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
    return own + sorted((PROJECT_ROOT / "docs").rglob("*.md"))


def commands(path: Path) -> Iterator[Documented]:
    """The commands of a page's bash blocks; a line that ends with a backslash goes on."""
    page = path.relative_to(PROJECT_ROOT).as_posix()
    for block in _BLOCK.findall(path.read_text(encoding="utf-8")):
        text = re.sub(r"<[a-z][^<>|]*>", PLACEHOLDER, block.replace("\\\n", " "))
        for line in text.splitlines():
            # the words of a substitution, $(...), are not looked at; what stands around them is
            lexer = shlex.shlex(_SUBSTITUTION.sub("X", line), posix=True, punctuation_chars="|&;")
            lexer.whitespace_split, lexer.commenters = True, "#"
            command: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;"):
                    if command:
                        yield Documented(page, tuple(command))
                    command = []
                elif command or not re.fullmatch(r"[A-Z_]+=.*", word):
                    command.append(word)


def problem(command: Documented) -> str:
    """What is wrong with a command, in words; "" when nothing is."""
    program, *rest = command.words
    name = Path(program).name
    if name == "make":
        return _make(rest)
    if name == "mlflow":
        return _mlflow(rest)
    if name in ("python", "torchrun"):
        return _python(rest)
    if name == "pip":
        return _pip(rest)
    if name == "pre-commit":
        return "" if rest == ["install"] else "pre-commit: only install is known"
    return "" if name in OTHER_PROGRAMS else f"{program}: nothing is known of this program"


def _make(words: list[str]) -> str:
    text = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.M))
    for word in words:
        variable, equals, _ = word.partition("=")
        if equals and f"$({variable})" not in text:
            return f"make: no variable {variable}"
        if not equals and word not in targets:
            return f"make: no target {word}"
    return ""


def _mlflow(words: list[str]) -> str:
    from mlflow.cli import cli

    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"mlflow: no command {words[0]}"
        command, words = found, words[1:]
    try:
        given = command.make_context("mlflow", list(words), resilient_parsing=False).params
    except click.ClickException as error:
        return f"mlflow: {error.format_message()}"
    if command.name != "run":
        return ""
    arguments = [part for entry in given["param_list"] for part in _as_option(entry)]
    return entry_point_problem(given["entry_point"], arguments)


def _as_option(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return f"--{name}", value


def entry_point_problem(name: str, arguments: list[str]) -> str:
    """What an entry point says of these arguments when it only resolves its configuration."""
    if name not in ENTRY_POINTS:
        return f"no entry point {name}"
    for place, argument in enumerate(arguments[:-1]):
        if argument == "--config" and PLACEHOLDER not in arguments[place + 1]:
            if not (PROJECT_ROOT / arguments[place + 1]).is_file():
                return f"{arguments[place + 1]} does not exist"
            arguments[place + 1] = str(PROJECT_ROOT / arguments[place + 1])
        elif argument == "--config":
            arguments[place + 1] = ""
    command = _command(name)
    try:
        with command.make_context(name, list(arguments)) as context:
            pass
    except click.exceptions.Exit:
        return ""  # --help
    except click.ClickException as error:
        return f"{name}: {error.format_message()}"
    from mlproject.config import load_config
    from mlproject.errors import UserError

    given = {key.replace("__", ".", 1): value for key, value in context.params.items() if "__" in key and value}
    try:
        load_config(context.params["config"] or None, {k: v for k, v in given.items() if v != PLACEHOLDER})
    except UserError as error:
        return f"{name}: {error}"
    return ""


@functools.cache
def _command(name: str) -> click.Command:
    return command_of(name)


def _python(words: list[str]) -> str:
    """`python src/x.py ...`, `python -m src.x ...`, `torchrun ... src/x.py ...`, or another file of the project."""
    scripts = [place for place, word in enumerate(words) if word.endswith(".py")]
    if words[0] == "-m" and words[1].startswith("src."):
        return entry_point_problem(words[1].removeprefix("src."), words[2:])
    if words[0] == "-m":
        return "" if importlib.util.find_spec(words[1]) else f"no module {words[1]}"
    if not scripts:
        return "no script is named"
    script = Path(words[scripts[0]])
    if not (PROJECT_ROOT / script).is_file():
        return f"{script} does not exist"
    rest = words[scripts[0] + 1 :]
    if script.parent == Path("src"):
        return entry_point_problem(script.stem, rest)
    text = (PROJECT_ROOT / script).read_text(encoding="utf-8")
    unknown = [word for word in rest if word.startswith("--") and word not in text]
    return f"{script}: no option {', '.join(unknown)}" if unknown else ""


def _pip(words: list[str]) -> str:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        for extra in re.findall(r"^\.\[([\w,]+)\]", word):
            if missing := set(extra.split(",")) - project["optional-dependencies"].keys():
                return f"pip: no extra {', '.join(missing)}"
    return ""
