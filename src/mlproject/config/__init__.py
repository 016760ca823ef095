"""The configuration: what can be set, of which type, in which range.

The defaults stand in one place, `configs/default.yaml`; any other file names only what it changes. Each section
is a flat frozen dataclass whose fields carry their help and bounds; entry points build their options from them.
"""

from mlproject.config.loading import (
    DEFAULT_CONFIG,
    PROJECT_ROOT,
    SECTIONS,
    Configuration,
    as_nested,
    as_yaml,
    load_config,
)
from mlproject.config.stage_sections import ClassifierConfig, DataConfig, EvaluationConfig, GanConfig
from mlproject.config.values import convert, nearest
from mlproject.config.yaml_reader import read_yaml

__all__ = [
    "DEFAULT_CONFIG",
    "PROJECT_ROOT",
    "SECTIONS",
    "ClassifierConfig",
    "Configuration",
    "DataConfig",
    "EvaluationConfig",
    "GanConfig",
    "as_nested",
    "as_yaml",
    "convert",
    "load_config",
    "nearest",
    "read_yaml",
]
