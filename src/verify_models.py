"""Verify every registered model version against its manifest, its tag and the released digests."""

import sys

from mlproject.cli import Configuration, Next, entry_point


@entry_point(own=())
def main(config: Configuration) -> list[Next]:
    """Verify every registered model version; exit code 1 when one of them is not what was registered."""
    from mlproject import registry, tracking

    verdicts = registry.verify_all(tracking.open_store(config.run.experiment), config.run.public_key)
    for verdict in verdicts:
        state = "CHANGED" if verdict.problem else "ok"
        print(f"{verdict.name:<16} version {verdict.version:<5} sha256 {verdict.digest[:16] or '-':<18} {state}")
    bad = [verdict for verdict in verdicts if verdict.problem]
    print(f"{len(verdicts)} versions, {len(bad)} that do not verify", flush=True)
    for verdict in bad:
        print(f"error: {verdict.problem}", file=sys.stderr)
    if bad:
        sys.exit(1)
    return [] if verdicts else [Next("main", "train the first models")]


if __name__ == "__main__":
    main()
