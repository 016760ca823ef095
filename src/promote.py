"""Move an alias to a model version that passes every gate."""

from mlproject.cli import Configuration, entry_point


@entry_point(
    own=(),
    references={
        "name": "registered model: nt-classifier or nt-gan; default: nt-classifier",
        "version": "number of the version, or @alias",
        "alias": "alias to move; default: champion",
    },
)
def main(config: Configuration, name: str, version: str, alias: str) -> None:
    """Move an alias to a version that passes every gate of registry/models.yaml; prints each with its figure."""
    from mlproject import promotion, registry, tracking

    store = tracking.open_store(config.run.experiment)
    promotion.promote(store, name or registry.CLASSIFIER, version, alias or "champion")


if __name__ == "__main__":
    main()
