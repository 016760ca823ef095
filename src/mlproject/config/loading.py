"""The whole configuration, read from `configs/default.yaml`, one other file, and options."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlproject.config.stage_sections import (
    ClassifierConfig,
    DataConfig,
    EvaluationConfig,
    FidelityConfig,
    GanConfig,
    PredictConfig,
    RunConfig,
    SynthesisConfig,
)
from mlproject.config.study_sections import StudyConfig, TuneConfig
from mlproject.config.values import convert, nearest, shown
from mlproject.config.yaml_reader import read_yaml
from mlproject.errors import UserError

PROJECT_ROOT = Path(__file__).resolve().parents[3]
DEFAULT_CONFIG = PROJECT_ROOT / "configs" / "default.yaml"


@dataclass(frozen=True)
class Configuration:
    """Every section. A stage takes those that are its own."""

    run: RunConfig
    data: DataConfig
    gan: GanConfig
    synthesis: SynthesisConfig
    classifier: ClassifierConfig
    evaluation: EvaluationConfig
    predict: PredictConfig
    fidelity: FidelityConfig
    study: StudyConfig
    tune: TuneConfig


SECTIONS: dict[str, type] = {field.name: field.type for field in dataclasses.fields(Configuration)}  # type: ignore[misc]


def _merge(known: dict[str, dict[str, Any]], changes: Mapping[str, Any], where: str) -> None:
    """Overlay `changes` (section -> key -> value) on `known`, refusing names that the sections do not have."""
    for section, values in changes.items():
        if section not in SECTIONS:
            raise UserError(f"{where}: unknown section {shown(section)}; {nearest(str(section), list(SECTIONS))}")
        if not isinstance(values, dict):
            raise UserError(f"{where}: section {section} holds {shown(values)} instead of keys with values")
        fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
        for key, value in values.items():
            if key not in fields:
                raise UserError(f"{where}: unknown key {section}.{str(key)[:100]}; {nearest(str(key), list(fields))}")
            known[section][key] = convert(f"{where}: {section}.{key}", fields[key], value)


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Configuration:
    """The default configuration, overlaid with the file at `path`, then with `overrides` under dotted keys.

    Example: `load_config("configs/smoke.yaml", {"gan.lambda_gp": 5})`.

    Raises:
        UserError: unreadable file, unknown section or key (the nearest known one is named), bad value.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    _merge(values, read_yaml(DEFAULT_CONFIG), DEFAULT_CONFIG.name)
    if path is not None and Path(path).resolve() != DEFAULT_CONFIG:
        _merge(values, read_yaml(path), str(path))
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        _merge(values, {section: {key: value}}, "option")
    for section, schema in SECTIONS.items():
        missing = [field.name for field in dataclasses.fields(schema) if field.name not in values[section]]
        if missing:
            raise UserError(f"{DEFAULT_CONFIG}: section {section} lacks {', '.join(missing)}")
    return Configuration(**{section: schema(**values[section]) for section, schema in SECTIONS.items()})


def as_nested(config: Configuration) -> dict[str, dict[str, Any]]:
    """The resolved configuration as plain dictionaries, as it is printed and logged."""
    return dataclasses.asdict(config)


def as_yaml(config: Configuration, sections: tuple[str, ...] = tuple(SECTIONS)) -> str:
    """The resolved configuration of some sections as YAML that `load_config` reads again."""
    nested = as_nested(config)
    return yaml.safe_dump({section: nested[section] for section in sections}, sort_keys=False, width=100)
