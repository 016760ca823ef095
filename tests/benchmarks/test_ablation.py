"""The ablation's variants are configurations that exist, and its table says what was measured."""

import pytest
from ablation import COLUMNS, VARIANTS, interval_text, table

from mlproject.config import load_config


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_variant_is_a_valid_configuration_that_differs_from_the_default(name):
    changed = load_config(None, {f"gan.{key}": value for key, value in VARIANTS[name].items()})
    assert (changed.gan == load_config().gan) == (name == "default")


def test_mean_and_interval_by_hand():
    # standard deviation 1, three values: 4.303 / sqrt(3) = 2.48
    assert interval_text([1.0, 2.0, 3.0]) == "2 ± 2.5"
    assert interval_text([0.12345]) == "0.123"


def test_the_table_has_a_row_for_each_variant():
    fit = dict.fromkeys(COLUMNS, 1.0)
    lines = table({"default": [fit, fit], "other": [fit]}).splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == len(COLUMNS) + 3 for line in lines)
    assert lines[2].startswith("| default | 2 | 1 ± 0 |")
