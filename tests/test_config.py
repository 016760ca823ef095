"""The configuration refuses what it does not know and says what was meant."""

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import DEFAULT_CONFIG, SECTIONS, as_yaml, load_config
from mlproject.errors import UserError

CONFIGS = sorted(DEFAULT_CONFIG.parent.glob("*.yaml"))


def test_default_file_holds_every_key_once_and_no_other() -> None:
    written = yaml.safe_load(DEFAULT_CONFIG.read_text())
    declared = {name: {field.name for field in dataclasses.fields(schema)} for name, schema in SECTIONS.items()}
    assert {section: set(keys) for section, keys in written.items()} == declared


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_of_the_project_loads(path) -> None:
    load_config(path)


@pytest.mark.parametrize("path", [path for path in CONFIGS if path != DEFAULT_CONFIG], ids=lambda path: path.stem)
def test_other_files_repeat_no_section_wholesale(path) -> None:
    """A key of another file may equal the default (it then states a setting of its own), but most must differ."""
    default, changes = yaml.safe_load(DEFAULT_CONFIG.read_text()), yaml.safe_load(path.read_text())
    pairs = [(default[s][k], v) for s, keys in changes.items() for k, v in keys.items()]
    assert sum(old != new for old, new in pairs) >= len(pairs) / 2


def test_thesis_keeps_the_settings_of_the_seed() -> None:
    gan = load_config(DEFAULT_CONFIG.parent / "thesis.yaml").gan
    assert (gan.architecture, gan.latent_dim, gan.lambda_gp, gan.critic_steps) == ("dcgan", 100, 10, 5)
    assert (gan.batch_size, gan.learning_rate, gan.epochs, gan.penalty_every) == (32, 1e-4, 1501, 1)


def test_file_over_default_and_option_over_file(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("gan: {lambda_gp: 3, steps: 7}")
    config = load_config(path, {"gan.steps": "9"})
    default = load_config()
    assert (config.gan.lambda_gp, config.gan.steps) == (3.0, 9)
    assert dataclasses.replace(config.gan, lambda_gp=default.gan.lambda_gp, steps=default.gan.steps) == default.gan


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"gan.lamda_gp": 5}, ("gan.lamda_gp", "lambda_gp?")),
        ({"gam.steps": 5}, ("gam", "gan?")),
        ({"gan.steps": "many"}, ("gan.steps", "'many'", "whole number")),
        ({"gan.steps": 1.5}, ("1.5", "whole number")),
        ({"gan.steps": True}, ("True", "number")),
        ({"gan.lambda_gp": "nan"}, ("nan", "finite")),
        ({"gan.lambda_gp": -1}, ("-1", "between 0 and")),
        ({"classifier.synthetic_fraction": 1.01}, ("1.01", "between 0 and 1")),
        ({"classifier.mix": "hybird"}, ("hybird", "hybrid?")),
        ({"run.reuse": "perhaps"}, ("perhaps", "true or false")),
        ({"data.path": None}, ("data.path", "text")),
    ],
)
def test_a_mistake_is_named_with_its_remedy(override, words) -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, override)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["- a\n- b", "gan: 5", "gan: {steps: [1]}", "gan: [", "!!python/object/apply:os.getcwd []", "nosuch: {}"]
)
def test_files_that_are_no_configuration_are_refused(tmp_path, text) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"odd\.yaml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="absent.yaml does not exist"):
        load_config(tmp_path / "absent.yaml")


def test_numbers_in_scientific_notation_are_read_although_yaml_takes_them_for_text(tmp_path) -> None:
    path = tmp_path / "rate.yaml"
    path.write_text("gan: {learning_rate: 1e-3}")
    assert load_config(path).gan.learning_rate == 1e-3


@given(steps=st.integers(1, 10**6), rate=st.floats(1e-6, 1), mix=st.sampled_from(["real", "synthetic", "hybrid"]))
def test_printed_configuration_reads_back_the_same(tmp_path_factory, steps, rate, mix) -> None:
    config = load_config(None, {"gan.steps": steps, "classifier.learning_rate": rate, "classifier.mix": mix})
    path = tmp_path_factory.mktemp("printed") / "config.yaml"
    path.write_text(as_yaml(config))
    assert load_config(path) == config


@given(st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists)))
def test_any_mapping_is_read_or_refused_with_a_user_error(tmp_path_factory, content) -> None:
    path = tmp_path_factory.mktemp("any") / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    try:
        load_config(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017 - both outcomes are allowed, this one has a rule
