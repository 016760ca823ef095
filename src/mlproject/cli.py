"""The front door's machinery: options built from the configuration, one line for a mistake, exit code 2.

Imports nothing heavy, so that `--help`, a typing error and `--dry_run true` answer at once.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from mlproject import torchrun
from mlproject.config import DEFAULT_CONFIG, SECTIONS, Configuration, as_yaml, load_config
from mlproject.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from mlproject.terminal import EXIT_CODES, GroupedOption, Next, echo, help_records, say_next, through_mlflow

_CONTEXT = {
    # -P passes keys as they are written: both --dry_run and --dry-run are taken
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}
_REFERENCES = "What it works on"
# how a command runs; a repeat needs these as little as the next command does
_OF_THIS_COMMAND_ALONE = ("run.dry_run", "run.reuse", "run.processes")


class EntryPoint(click.Command):
    """A command whose mistakes end in one line on stderr and exit code 2.

    Attributes:
        default_config: path of the configuration file that it takes when none is named; "" for the defaults.
    """

    default_config = ""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            sys.exit(super().main(*args, **kwargs) or 0)
        except click.ClickException as error:
            _fail(f"{error.format_message()} (--help lists the options)")
        except click.Abort:
            _fail("interrupted", code=EXIT_INTERRUPTED)
        except UserError as error:
            _fail(str(error))
        except BrokenPipeError:
            # whoever reads our lines, such as `head`, has had enough; a second attempt to write them would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [parameter for parameter in self.params if isinstance(parameter, GroupedOption)]
        for heading, records in help_records(options, self.default_config).items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])


def _fail(message: str, code: int = EXIT_USER_ERROR) -> None:
    # of torchrun's processes every one on a machine makes the same mistake: the first says it
    if torchrun.local_rank() == 0:
        echo("error: ", to_stderr=True, fg="red", bold=True, nl=False)
        echo(message, to_stderr=True)
    sys.exit(code)


def _metavar(field: dataclasses.Field[Any]) -> str:
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    return {bool: "true|false", int: "INTEGER", float: "NUMBER"}.get(field.type, "TEXT")  # type: ignore[arg-type]


def _section_options(
    sections: tuple[str, ...], plain: tuple[str, ...], aliases: dict[str, str]
) -> list[Callable[..., Any]]:
    """A click option for every key: `--section.key` always, `--key` for `plain` sections where it is unambiguous."""
    count: dict[str, int] = {}
    for section in plain:
        for field in dataclasses.fields(SECTIONS[section]):
            count[field.name] = count.get(field.name, 0) + 1
    decorators = []
    for section in sections:
        about = (SECTIONS[section].__doc__ or section).strip().splitlines()[0]
        group = f"{about} Each also as --{section}.<name>" if section in plain else about
        for field in dataclasses.fields(SECTIONS[section]):
            names = [f"--{section}.{field.name}"]
            if section in plain and count[field.name] == 1:
                names.insert(0, f"--{field.name}")
            names += [f"--{alias}" for alias, target in aliases.items() if target == f"{section}.{field.name}"]
            option = click.option(
                *names,
                f"{section}__{field.name}",
                cls=GroupedOption,
                group=group.rstrip("."),
                field=field,
                default="",
                metavar=_metavar(field),
                help=field.metadata["help"],
            )
            decorators.append(option)
    return decorators


def entry_point(
    own: tuple[str, ...],
    upstream: tuple[str, ...] = (),
    *,
    references: dict[str, str] | None = None,
    aliases: dict[str, str] | None = None,
    default_config: str = "",
    together: bool = False,
) -> Callable[[Callable[..., list[Next] | None]], EntryPoint]:
    """Make a click command of `body(config, **references)`, which returns what to type next.

    Args:
        own: sections whose keys are options under their plain name (`--lambda_gp`).
        upstream: sections of earlier stages, whose keys are options under dotted names (`--data.n_train`).
        references: name -> help of text options that are not configuration (a folder, `runs:/...`); "" when not given.
            A name may carry aliases after a slash (`generator/checkpoint`).
        aliases: further spelling -> `section.key`.
        default_config: configuration file taken when `--config` is not given, relative to the project.
        together: it trains networks that several processes may train together (`run.processes`, torchrun).

    An option given as the empty string counts as not given: MLproject's declared parameters use that to say "what
    the configuration file says".
    """
    sections = (*own, *upstream, "run")
    default_path = str(DEFAULT_CONFIG.parent / default_config) if default_config else ""

    def decorate(body: Callable[..., list[Next] | None]) -> EntryPoint:
        @functools.wraps(body)
        def command(config: str, seed_of_all: str = "", **values: str) -> None:
            with_mlflow = through_mlflow()
            overrides: dict[str, Any] = {}
            if seed_of_all:
                seeded = [name for name in (*own, *upstream) if "seed" in _names(name) and name != "evaluation"]
                overrides.update({f"{name}.seed": seed_of_all for name in seeded})
            given = {name: values.pop(name) for name in list(values) if "__" in name}
            overrides.update({name.replace("__", ".", 1): value for name, value in given.items() if value != ""})
            resolved = load_config(config or default_path or None, overrides)
            several = max(torchrun.size(), resolved.run.processes) > 1
            if several and not together:
                raise UserError("run.processes: this command runs in one process; leave out --processes and torchrun")
            if several and torchrun.size() == 1 and not resolved.run.dry_run:
                torchrun.start_again(resolved.run.processes)
            work = functools.partial(body, resolved, **values)
            if torchrun.rank() > 0:
                if not resolved.run.dry_run:
                    _together(resolved, work)
                return
            shown = tuple(name for name in SECTIONS if name in sections)
            echo(f"# {body.__doc__.strip().splitlines()[0]}" if body.__doc__ else "", bold=True)
            click.echo(as_yaml(resolved, shown).rstrip())
            for name, value in values.items():
                click.echo(f"{name}: {value or '(resolved)'}")
            sys.stdout.flush()
            if resolved.run.dry_run:
                click.echo("dry run: nothing was done")
                return
            steps = _together(resolved, work) if several else work()
            say_next(steps or [], _carried(config, default_path, overrides, values), with_mlflow)

        params: list[Callable[..., Any]] = [
            _reference("--config", metavar="FILE", help="YAML file over configs/default.yaml")
        ]
        if len(own) > 1:
            params.append(_reference("--seed", "seed_of_all", metavar="INTEGER", help="seed of every stage"))
        for name, text in (references or {}).items():
            spellings = name.split("/")
            params.append(_reference(*[f"--{s}" for s in spellings], spellings[0], metavar="TEXT", help=text))
        params += _section_options(sections, (*own, "run"), aliases or {})
        for option in reversed(params):
            command = option(command)
        made = click.command(cls=EntryPoint, context_settings=_CONTEXT)(command)
        made.default_config = default_path
        return made

    return decorate


def _together(config: Configuration, work: Callable[[], list[Next] | None]) -> list[Next] | None:
    # imports torch, which a command that is only asked for its help does without
    from mlproject.together import run

    return run(config, work)


def _reference(*names: str, **settings: Any) -> Callable[..., Any]:
    return click.option(*names, cls=GroupedOption, group=_REFERENCES, default="", **settings)


def _carried(config: str, default_path: str, overrides: dict[str, Any], values: dict[str, str]) -> dict[str, str]:
    """What was given here and holds for the next command: its configuration file, data, and where and how to run."""
    usual = {os.path.realpath(path) for path in (DEFAULT_CONFIG, default_path) if path}
    carried = {"config": config} if config and os.path.realpath(config) not in usual else {}
    if values.get("data"):
        carried["data"] = values["data"]
    for key, value in overrides.items():
        if key.startswith(("data.", "run.")) and key not in _OF_THIS_COMMAND_ALONE:
            carried[key] = str(value)
    return carried


def _names(section: str) -> set[str]:
    return {field.name for field in dataclasses.fields(SECTIONS[section])}


__all__ = ["Configuration", "EntryPoint", "Next", "entry_point"]
