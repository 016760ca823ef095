"""The text of a search space: every form, every mistake with its remedy, and one spelling for one space."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject.config import load_config
from mlproject.errors import UserError
from mlproject.tuning.space import parse_space, settings_of, space_text, with_settings


def test_the_forms() -> None:
    space = parse_space(
        "gan.lambda_gp: log-grid 1 100 5; classifier.synthetic_fraction: uniform 0 0.8\n"
        "classifier.learning_rate: log 1e-4 3e-3; gan.critic_steps: integer 1 3; classifier.augment: choice light none;"
    )
    found = {parameter.name: parameter for parameter in space}
    assert list(found) == sorted(found)
    # equal ratios of 100^(1/4) = 3.162..., in four digits
    assert found["gan.lambda_gp"].values == (1.0, 3.162, 10.0, 31.62, 100.0)
    assert (found["classifier.synthetic_fraction"].low, found["classifier.synthetic_fraction"].high) == (0.0, 0.8)
    assert (found["classifier.learning_rate"].kind, found["classifier.learning_rate"].low) == ("log", 1e-4)
    assert found["gan.critic_steps"].low == 1
    assert isinstance(found["gan.critic_steps"].low, int)
    assert found["classifier.augment"].values == ("light", "none")


def test_the_default_space_holds_the_untuned_settings() -> None:
    """Otherwise the search would not begin with what everything is compared with."""
    config = load_config()
    space = parse_space(config.tune.space)
    untuned = settings_of(config, space)
    assert untuned == {"gan.lambda_gp": 10.0, "classifier.synthetic_fraction": 0.5}
    assert all(parameter.contains(untuned[parameter.name]) for parameter in space)
    lambdas = next(parameter for parameter in space if parameter.name == "gan.lambda_gp").values
    assert 4 <= len(lambdas) <= 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("names nothing",)),
        ("gan.lamda_gp: grid 1 2", ("gan.lamda_gp", "lambda_gp?")),
        ("data.n_train: integer 10 20", ("gan, classifier",)),
        ("synthesis.per_class: integer 10 20", ("gan, classifier",)),
        ("gan.seed: integer 0 9", ("gan.seed", "cannot be searched")),
        ("classifier.mix: choice real hybrid", ("cannot be searched",)),
        ("gan.lambda_gp", ("no form", "log-grid <low> <high>")),
        ("gan.lambda_gp: normal 1 2", ("'normal 1 2'", "uniform <low> <high>")),
        ("gan.lambda_gp: uniform 1", ("expected uniform <low> <high>",)),
        ("gan.lambda_gp: grid 1", ("expected grid <value>",)),
        ("gan.lambda_gp: grid 1 1.0", ("twice",)),
        ("gan.lambda_gp: uniform 2 1", ("2 is not below 1",)),
        ("gan.lambda_gp: log 0 1", ("starts above 0",)),
        ("gan.lambda_gp: uniform 1 20000", ("between 0 and 10000",)),
        ("gan.lambda_gp: log-grid 1 100 one", ("'one' values",)),
        ("gan.lambda_gp: integer 1 4", ("integer does not fit", "uniform")),
        ("gan.critic_steps: uniform 1 4", ("uniform does not fit", "integer")),
        ("gan.critic_steps: log-grid 1 4 9", ("do not fit between 1 and 4",)),
        ("classifier.augment: uniform 0 1", ("choice",)),
        ("classifier.augment: choice light heavy", ("'heavy'", "one of")),
        ("gan.lambda_gp: grid 1 2; gan.lambda_gp: grid 3 4", ("gan.lambda_gp stands twice",)),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text, words) -> None:
    with pytest.raises(UserError) as caught:
        parse_space(text)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text) -> None:
    try:
        parse_space(text)
    except UserError as error:
        assert re.fullmatch("tune.space: .+", str(error))  # noqa: PT017 - both outcomes are allowed, this one has a rule


@given(st.permutations(["gan.lambda_gp: grid 1 5", "classifier.dropout: uniform 0 .5", "gan.latent_dim: integer 8 64"]))
def test_order_and_spaces_do_not_make_another_space(entries) -> None:
    first = space_text(parse_space("; ".join(sorted(entries))))
    assert space_text(parse_space("\n".join(f"  {entry} " for entry in entries))) == first
    assert space_text(parse_space("gan.lambda_gp: grid 1 6")) != space_text(parse_space("gan.lambda_gp: grid 1 5"))


@given(st.floats(0, 0.8))
def test_a_drawn_number_is_rounded_and_stays_inside(drawn) -> None:
    (parameter,) = parse_space("classifier.synthetic_fraction: uniform 0.00012345 0.7999999")
    rounded = parameter.rounded(drawn)
    assert parameter.contains(rounded)
    if parameter.low <= drawn <= parameter.high:
        assert rounded == pytest.approx(drawn, rel=5.1e-4)


def test_settings_reach_the_configuration_and_nothing_else_changes() -> None:
    config = load_config()
    changed = with_settings(config, {"gan.lambda_gp": 3.0, "classifier.augment": "none"})
    assert (changed.gan.lambda_gp, changed.classifier.augment) == (3.0, "none")
    assert with_settings(changed, settings_of(config, parse_space("gan.lambda_gp: grid 1 2; classifier.augment: "
                                                                  "choice none light"))) == config  # fmt: skip
