"""What the stages share: what they say on the terminal, and how they name data and models."""

from typing import Any

from mlproject.data.manifest import DataSet


def say(text: str) -> None:
    """A line on stdout, at once, so that a log shows it in its place."""
    print(text, flush=True)


def data_identity(dataset: DataSet) -> dict[str, Any]:
    """What decides the crops of a data set: content, labels, split (the digest) and how they are cut."""
    return {"digest": dataset.digest, "preprocessing": dataset.preprocessing}


def describe_dataset(dataset: DataSet) -> str:
    """Name, kind, counts, digest and place on one line."""
    counts = ", ".join(
        f"{split} {count['subjects']} subjects / {count['images']} images"
        for split, count in dataset.info["counts"].items()
        if count["images"]
    )
    return f"{dataset.name} ({dataset.data_kind}): {counts}; digest {dataset.digest[:12]}; {dataset.root}"
