"""What a search fits: the configuration of a trial, of the fresh seeds, and what makes two searches the same one."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlproject.config import Configuration, as_nested
from mlproject.errors import UserError
from mlproject.pipeline import chosen_by, stage_key
from mlproject.tuning.space import Parameter, space_text, with_settings

DIRECTIONS = {"auc": ("maximize",), "auc_and_kid": ("maximize", "minimize")}
# how often a trial whose process dies is tried again
RETRIES = 5
# drawn with probabilities, a split without the rarer class is then as rare as exp(-16)
_EXPECTED_OF_RARER_CLASS = 16
_SECTIONS = ("data", "gan", "synthesis", "classifier", "evaluation")


def trial_config(config: Configuration, settings: Mapping[str, Any] | None = None) -> Configuration:
    """The configuration of a trial: hybrid, with the search's own steps, checks and threads, and these settings.

    A generator is checked at equal parts of its training. Trials take no alias of the registry and always the same
    threads.
    """
    tune, gan, classifier = config.tune, config.gan, config.classifier
    if tune.gan_steps:
        gan = dataclasses.replace(gan, steps=tune.gan_steps, epochs=0)
    if not gan.epochs:
        between = math.ceil(gan.steps / tune.checks)
        gan = dataclasses.replace(gan, grid_every=between, checkpoint_every=min(gan.checkpoint_every, between))
    if tune.classifier_steps:
        classifier = dataclasses.replace(classifier, steps=tune.classifier_steps)
    own = dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, threads=tune.fit_threads, workers=1, aliases=False),
        gan=gan,
        classifier=dataclasses.replace(classifier, mix="hybrid"),
    )
    return with_settings(own, settings or {})


def confirm_seeds(config: Configuration) -> tuple[int, ...]:
    """The fresh seeds.

    Raises:
        UserError: a seed of the search is among them.
    """
    first = config.tune.first_confirm_seed
    seeds = tuple(range(first, first + config.tune.confirm_seeds))
    used = {"data.seed": config.data.seed, "gan.seed": config.gan.seed, "classifier.seed": config.classifier.seed}
    if taken := [name for name, seed in used.items() if seed in seeds]:
        raise UserError(
            f"tune.first_confirm_seed: {', '.join(taken)} lies in {seeds[0]} to {seeds[-1]}, so these seeds are not "
            "fresh; choose another first seed"
        )
    return seeds


def confirm_config(config: Configuration, seed: int, fresh_subjects: bool) -> Configuration:
    """A trial's configuration on a fresh seed.

    The seeds of generator, images and classifier are other ones. Test is not read, so the phantom draws only as much of
    it as is sure to hold both classes, which a data set must.

    Args:
        config: of the trial (`trial_config`).
        fresh_subjects: the phantom draws other subjects; otherwise data set and split stay.
    """
    data = config.data
    if fresh_subjects:
        enough = math.ceil(_EXPECTED_OF_RARER_CLASS / min(data.prevalence, 1 - data.prevalence))
        data = dataclasses.replace(data, seed=seed, n_test=min(data.n_test, enough), n_unseen_site=0)
    return dataclasses.replace(
        config,
        data=data,
        gan=dataclasses.replace(config.gan, seed=seed),
        synthesis=dataclasses.replace(config.synthesis, seed=seed),
        classifier=dataclasses.replace(config.classifier, seed=seed),
    )


def generator_key(config: Configuration, data_digest: str) -> str:
    """What trials share when they share a generator.

    Args:
        config: of a trial.
    """
    nested = as_nested(config)
    return stage_key("train_gan", gan=nested["gan"], chosen_by=chosen_by(config), data=[nested["data"], data_digest])


def confirm_key(config: Configuration, data_digest: str) -> str:
    """What two fits of a fresh seed share when they are one.

    Args:
        config: of the fresh seed (`confirm_config`).
        data_digest: of the data set that is kept; "" when the data section describes it.
    """
    nested = as_nested(config)
    sections = {name: nested[name] for name in _SECTIONS}
    return stage_key("tune", confirm=True, chosen_by=chosen_by(config), digest=data_digest, **sections)


def fingerprint(config: Configuration, space: Sequence[Parameter], data_digest: str) -> dict[str, Any]:
    """What decides a trial's value beside its settings, as it is stored with a search.

    A search is resumed only under the same fingerprint: values of another data set, length or range do not compare.
    """
    nested = as_nested(trial_config(config))
    base = stage_key(
        "tune", chosen_by=chosen_by(config), digest=data_digest, **{name: nested[name] for name in _SECTIONS}
    )
    return {"space": space_text(tuple(space)), "directions": list(DIRECTIONS[config.tune.objective]), "base": base}


def search_name(config: Configuration, mark: Mapping[str, Any]) -> str:
    """The name under which a search is stored: `tune.name`, or one that follows from data and settings.

    Args:
        mark: the `fingerprint`.
    """
    return config.tune.name or f"tune-{mark['base'][:12]}"


def require_same(name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on with a stored search that asks another question.

    Raises:
        UserError: says what differs and how to begin another search.
    """
    told = {
        "space": "search space {stored}, asked for is {asked}",
        "directions": "directions {stored}, asked for are {asked}",
        "base": "data or fixed settings",
    }
    different = [
        text.format(stored=_words(stored.get(key)), asked=_words(asked.get(key)))
        for key, text in told.items()
        if stored.get(key) != asked.get(key)
    ]
    if different:
        raise UserError(
            f"tune: the stored search {name} has another {'; another '.join(different)}; ask for the same, or give "
            "another tune.name to begin a new search"
        )


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else repr(value)
