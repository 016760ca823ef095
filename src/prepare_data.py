"""Prepare a data set: draw the phantom or import images, split by subject, write one validated manifest."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(own=("data",), references={"out": "folder to write; default: under run.outputs, named by its content"})
def main(config: Configuration, out: str) -> list[Next]:
    """Prepare a data set: draw the phantom or import images, split by subject, write one validated manifest."""
    from mlproject import stages

    with stages.entry_run(config, "prepare_data") as run:
        dataset = stages.prepare_data(run, config, out=out)
    made = {"data": str(dataset.root)}
    return [
        Next("main", "generator, classifiers and their comparison on these images", made, same_data=False),
        Next("train_gan", "the generator alone", made, same_data=False),
    ]


if __name__ == "__main__":
    main()
