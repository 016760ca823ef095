"""Promotion through the gates that registry/models.yaml declares, and the release of a version."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlproject import registry
from mlproject.cards import write_card
from mlproject.checksums import verify_checksums
from mlproject.config import PROJECT_ROOT, nearest, read_yaml
from mlproject.errors import UserError
from mlproject.files import atomic_folder, atomic_write_text
from mlproject.registry import ModelReference
from mlproject.released import record_release
from mlproject.signing import Signer, signature_in_registry
from mlproject.tracking import MlflowException, Store

DECLARED = PROJECT_ROOT / "registry" / "models.yaml"
_MODEL_KEYS = {"description", "must_carry", "gates"}
_CONDITIONS = {"equals", "at_least", "above"}
# what environment.git_tags says where there is no checkout
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Gate:
    """A condition on one figure of a version; exactly one of `equals`, `at_least` and `above` is set.

    `above` names the figure, or by `*` the figures, that `figure` must exceed.
    """

    name: str
    figure: str
    equals: str | None = None
    at_least: float | None = None
    above: str | None = None


@dataclass(frozen=True)
class Rules:
    """What is declared of one model: tags that every version carries, and its gates."""

    must_carry: tuple[str, ...]
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class Outcome:
    """A gate, whether a version passes it, and the figure beside what is asked."""

    gate: str
    passed: bool
    figure: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.gate}: {self.figure}"


def read_rules(path: Path = DECLARED) -> dict[str, Rules]:
    """The rules of every declared model.

    Raises:
        UserError: an unknown key, a gate without or with several conditions, a limit that is no number, no gates.
    """
    rules = {}
    for model, content in read_yaml(path).items():
        where = f"{path}: {model}"
        if not isinstance(content, dict) or not content.keys() <= _MODEL_KEYS:
            raise UserError(f"{where}: expected the keys {', '.join(sorted(_MODEL_KEYS))}")
        gates = tuple(_gate(entry, where) for entry in content.get("gates") or ())
        if not gates:
            raise UserError(f"{where}: declares no gate, so every version would pass")
        rules[model] = Rules(tuple(content.get("must_carry") or ()), gates)
    return rules


def _gate(entry: Any, where: str) -> Gate:
    conditions = _CONDITIONS & entry.keys() if isinstance(entry, dict) else set()
    if len(conditions) != 1 or entry.keys() != conditions | {"name", "figure"}:
        raise UserError(f"{where}: gate {entry!r} needs name, figure and one of {', '.join(sorted(_CONDITIONS))}")
    limit = entry.get("at_least", 0.0)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise UserError(f"{where}: gate {entry['name']!r}: at_least is {limit!r}, expected a number")
    words = {key: str(value) for key, value in entry.items() if key != "at_least"}
    return Gate(
        words["name"],
        words["figure"],
        equals=words.get("equals"),
        at_least=float(limit) if "at_least" in entry else None,
        above=words.get("above"),
    )


def check_gates(rules: Rules, tags: Mapping[str, str], metrics: Mapping[str, float]) -> list[Outcome]:
    """What every rule says of a version with these tags, made by a run with these metrics."""
    outcomes = []
    for key in rules.must_carry:
        value = tags.get(key, "")
        outcomes.append(Outcome(f"carries {key}", value not in ("", _UNKNOWN), value[:16] or "missing"))
    return outcomes + [_judge(gate, tags, metrics) for gate in rules.gates]


def _judge(gate: Gate, tags: Mapping[str, str], metrics: Mapping[str, float]) -> Outcome:
    if gate.equals is not None:
        found = tags.get(gate.figure, "missing")
        return Outcome(gate.name, found == gate.equals, f"{gate.figure} is {found}, expected {gate.equals}")
    value = _largest(gate.figure, tags, metrics)
    if gate.above is None:
        assert gate.at_least is not None
        passed = value is not None and value >= gate.at_least
        return Outcome(gate.name, passed, f"{gate.figure} is {_told(value)}, expected at least {gate.at_least:g}")
    other = _largest(gate.above, tags, metrics)
    # a figure that is not a number compares false, so it does not pass
    passed = value is not None and other is not None and value > other
    return Outcome(gate.name, passed, f"{gate.figure} is {_told(value)}, expected above {gate.above}, {_told(other)}")


def _told(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"


def _largest(pattern: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> float | None:
    """The largest figure whose name matches, NaN if one of them is no number; None when there is none."""
    values: list[float] = []
    figures: dict[str, float | str] = {**metrics, **tags}
    for name, found in figures.items():
        if fnmatchcase(name, pattern):
            try:
                values.append(float(found))
            except ValueError:
                values.append(math.nan)
    if not values or any(math.isnan(value) for value in values):
        return math.nan if values else None
    return max(values)


def examine(store: Store, name: str, version: str, public_key: str = "") -> tuple[ModelReference, list[Outcome]]:
    """A version, verified, and what each gate says of it.

    Args:
        version: its number, or `@alias`.
        public_key: file of the key that must have signed it; "": it need not be signed.

    Raises:
        UserError: no such model or version.
        IntegrityError: it does not verify.
    """
    rules = read_rules()
    if name not in rules:
        raise UserError(f"model {name!r} is not declared in registry/{DECLARED.name}; {nearest(name, list(rules))}")
    if not version:
        raise UserError(f"no version given; name one of {name} with --version <number> or --version @<alias>")
    number = version.removeprefix("@")
    model = registry.resolve(store, f"models:/{name}{'@' if number != version else '/'}{number}", name, public_key)
    found = store.client.get_model_version(name, model.version)
    try:
        metrics = store.metrics_of(model.run_id)
    except MlflowException:
        metrics = {}  # its run was deleted: every figure is missing
    return model, check_gates(rules[name], found.tags, metrics)


def promote(store: Store, name: str, version: str, alias: str, public_key: str = "") -> ModelReference:
    """Move an alias to a version that verifies and passes every gate; prints each gate with its figure.

    Args:
        public_key: as in `examine`.

    Raises:
        UserError: a gate is not passed; the message names it with its figure, and the alias stays where it was.
    """
    if not alias:
        raise UserError("no alias given; name one with --alias, such as champion")
    model, outcomes = examine(store, name, version, public_key)
    for outcome in outcomes:
        print(outcome, flush=True)
    if failed := [outcome for outcome in outcomes if not outcome.passed]:
        told = "; ".join(f"{outcome.gate} ({outcome.figure})" for outcome in failed)
        raise UserError(f"{name} version {model.version} does not become {alias}, it fails {told}")
    registry.set_alias(store, name, alias, model.version)
    print(f"{name}@{alias} is now version {model.version}", flush=True)
    return model


def release(store: Store, name: str, version: str, folder: Path, signing_key: str = "") -> Path:
    """Copy the weights of a version for publication, record its digest in registry/released.json and write its card.

    From then on no load accepts other files for that version, even with a manifest and a tag to match. A version is
    released as it is, gates passed or not: the text beside its folder says what each gate says.

    Args:
        folder: receives `<name>-<version>/` with weights, description and checksums.json, and `<name>-<version>.txt`
            with the digests and gates.
        signing_key: file of a private key: what is published and what is registered are signed, see `signing`.

    Returns:
        The folder with the weights.

    Raises:
        UserError: no such version, a place cannot be written, or a key that cannot sign.
        IntegrityError: it does not verify, or another digest was released for it.
    """
    signer = Signer(signing_key) if signing_key else None
    model, outcomes = examine(store, name, version)
    tags = store.client.get_model_version(name, model.version).tags
    target = folder / f"{name}-{model.version}"
    with atomic_folder(target) as unfinished:
        shutil.copytree(model.folder, unfinished, dirs_exist_ok=True)
        # read back: what is published is what was verified
        verify_checksums(unfinished, model.digest)
    lines = [
        f"{name} version {model.version}",
        f"data kind        {model.meta['data_kind']}",
        f"sha256           {tags['sha256']}  (registered folder)",
        f"payload sha256   {model.digest}  (this folder: SHA-256 of its checksums)",
        *map(str, outcomes),
    ]
    atomic_write_text(target.with_name(f"{target.name}.txt"), "\n".join(lines) + "\n")
    path = record_release(name, model.version, model.run_id, tags["sha256"], model.digest)
    written = [path, write_card(store, model, [str(outcome) for outcome in outcomes], path.parent)]
    if signer is not None:
        written.append(signature_in_registry(path.parent, name, tags["sha256"]))
        signer.sign(target, target.with_name(f"{target.name}.sig"))
        signer.sign(model.registered_folder, written[-1])
    print("\n".join(lines), flush=True)
    told = ", ".join(str(file.relative_to(path.parent.parent)) for file in written)
    print(f"released to {target}{'' if signer else ', unsigned'}; commit {told}", flush=True)
    return target
