"""The front door's machinery: options built from the configuration, one line for a mistake, exit code 2.

Imports nothing heavy, so that `--help`, a typing error and `--dry_run true` answer at once.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from mlproject.config import DEFAULT_CONFIG, SECTIONS, Configuration, as_yaml, load_config
from mlproject.errors import UserError

EXIT_USER_ERROR = 2
_CONTEXT = {
    # -P passes keys as they are written: both --dry_run and --dry-run are taken
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}


class _EntryPoint(click.Command):
    """A command whose mistakes end in one line on stderr and exit code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            sys.exit(super().main(*args, **kwargs) or 0)
        except click.ClickException as error:
            _fail(f"{error.format_message()} (--help lists the options)")
        except click.Abort:
            _fail("interrupted", code=130)
        except UserError as error:
            _fail(str(error))


def _fail(message: str, code: int = EXIT_USER_ERROR) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def _metavar(field: dataclasses.Field) -> str:
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    return {bool: "true|false", int: "INTEGER", float: "NUMBER"}.get(field.type, "TEXT")  # type: ignore[arg-type]


def _section_options(sections: tuple[str, ...], plain: tuple[str, ...], aliases: dict[str, str]) -> list[Callable]:
    """A click option for every key: `--section.key` always, `--key` for `plain` sections where it is unambiguous."""
    count: dict[str, int] = {}
    for section in plain:
        for field in dataclasses.fields(SECTIONS[section]):
            count[field.name] = count.get(field.name, 0) + 1
    decorators = []
    for section in sections:
        for field in dataclasses.fields(SECTIONS[section]):
            names = [f"--{section}.{field.name}"]
            if section in plain and count[field.name] == 1:
                names.insert(0, f"--{field.name}")
            names += [f"--{alias}" for alias, target in aliases.items() if target == f"{section}.{field.name}"]
            decorators.append(
                click.option(
                    *names, f"{section}__{field.name}", default="", metavar=_metavar(field), help=field.metadata["help"]
                )
            )
    return decorators


def entry_point(
    own: tuple[str, ...],
    upstream: tuple[str, ...] = (),
    *,
    references: dict[str, str] | None = None,
    aliases: dict[str, str] | None = None,
    default_config: str = "",
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a click command of `body(config, **references)`.

    Args:
        own: sections whose keys are options under their plain name (`--lambda_gp`).
        upstream: sections of earlier stages, whose keys are options under dotted names (`--data.n_train`).
        references: name -> help of text options that are not configuration (a folder, `runs:/...`); "" when not given.
            A name may carry aliases after a slash (`generator/checkpoint`).
        aliases: further spelling -> `section.key`.
        default_config: configuration file taken when `--config` is not given, relative to the project.

    An option given as the empty string counts as not given: MLproject's declared parameters use that to say "what
    the configuration file says".
    """
    sections = (*own, *upstream, "run")

    def decorate(body: Callable[..., None]) -> click.Command:
        @functools.wraps(body)
        def command(config: str, seed_of_all: str = "", **values: str) -> None:
            path = config or (str(DEFAULT_CONFIG.parent / default_config) if default_config else None)
            overrides: dict[str, Any] = {}
            if seed_of_all:
                seeded = [name for name in (*own, *upstream) if "seed" in _names(name) and name != "evaluation"]
                overrides.update({f"{name}.seed": seed_of_all for name in seeded})
            given = {name: values.pop(name) for name in list(values) if "__" in name}
            overrides.update({name.replace("__", ".", 1): value for name, value in given.items() if value != ""})
            resolved = load_config(path, overrides)
            shown = tuple(name for name in SECTIONS if name in sections)
            click.echo(f"# {body.__doc__.strip().splitlines()[0]}" if body.__doc__ else "")
            click.echo(as_yaml(resolved, shown).rstrip())
            for name, value in values.items():
                click.echo(f"{name}: {value or '(resolved)'}")
            sys.stdout.flush()
            if resolved.run.dry_run:
                click.echo("dry run: nothing was done")
                return
            body(resolved, **values)

        params: list[Callable] = [
            click.option("--config", default="", metavar="FILE", help="YAML file over configs/default.yaml"),
        ]
        if len(own) > 1:
            every = click.option("--seed", "seed_of_all", default="", metavar="INTEGER", help="seed of every stage")
            params.append(every)
        for name, text in (references or {}).items():
            spellings = name.split("/")
            params.append(click.option(*[f"--{s}" for s in spellings], spellings[0], default="", help=text))
        params += _section_options(sections, (*own, "run"), aliases or {})
        for option in reversed(params):
            command = option(command)
        return click.command(cls=_EntryPoint, context_settings=_CONTEXT)(command)

    return decorate


def _names(section: str) -> set[str]:
    return {field.name for field in dataclasses.fields(SECTIONS[section])}


__all__ = ["Configuration", "entry_point"]
