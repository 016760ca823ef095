"""Move an alias to a model version that passes every gate."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=(),
    references={
        "name": "registered model: nt-classifier or nt-gan; default: nt-classifier",
        "version": "number of the version, or @alias",
        "alias": "alias to move; default: champion",
    },
)
def main(config: Configuration, name: str, version: str, alias: str) -> list[Next]:
    """Move an alias to a version that passes every gate of registry/models.yaml; prints each with its figure."""
    from mlproject import promotion, registry, tracking

    store = tracking.open_store(config.run.experiment)
    model = promotion.promote(store, name or registry.CLASSIFIER, version, alias or "champion", config.run.public_key)
    return [Next("release", "its weights and card for others", {"name": model.name, "version": model.version})]


if __name__ == "__main__":
    main()
