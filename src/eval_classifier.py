"""Evaluate a trained classifier on the test split."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("evaluation",),
    upstream=("data",),
    references={
        "classifier/checkpoint": "classifier: a folder or file, runs:/<id> or models:/nt-classifier@alias; "
        "default: models:/nt-classifier@champion",
        "data": "data set: a folder or runs:/<id>; default: the one that the classifier was trained on",
    },
    default_config="eval.yaml",
)
def main(config: Configuration, classifier: str, data: str) -> list[Next]:
    """Evaluate a trained classifier on the test split; the only entry point that reads it, and counts each reading."""
    from mlproject import stages

    with stages.entry_run(config, "eval_classifier") as run:
        model = stages.resolve_classifier(run, config, classifier)
        stages.eval_classifier(run, config, model, stages.resolve_data(run, config, data, of=model))
    return [Next("compare", "every evaluated classifier in one table", same_data=False)]


if __name__ == "__main__":
    main()
