"""Write a model version for publication, record its digest and write its card."""

from pathlib import Path

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=(),
    references={
        "name": "registered model: nt-classifier or nt-gan; default: nt-classifier",
        "version": "number of the version, or @alias; default: @champion",
        "out": "folder to write to; default: release under run.outputs",
    },
)
def main(config: Configuration, name: str, version: str, out: str) -> list[Next]:
    """Copy weights and digest of a version for publication; record it in registry/released.json and registry/cards/."""
    from mlproject import promotion, registry, tracking

    store = tracking.open_store(config.run.experiment)
    folder = Path(out) if out else Path(config.run.outputs) / "release"
    promotion.release(store, name or registry.CLASSIFIER, version or "@champion", folder, config.run.signing_key)
    return [Next("verify_models", "every version against what was registered and released")]


if __name__ == "__main__":
    main()
