"""The study: every arm over several numbers of subjects and seeds, one answer with its interval, one report."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("study",),
    upstream=("data", "gan", "synthesis", "classifier", "evaluation", "fidelity"),
    references={"out": "folder of the study; default: study/<key> under run.outputs"},
)
def main(config: Configuration, out: str) -> list[Next]:
    """Run the study: does synthetic data help, how much of it, with what certainty; finished fits are reused."""
    from mlproject import stages
    from mlproject.stages.study import run_study

    with stages.entry_run(config, "study") as run:
        run_study(run, config, out=out)
    return [Next("compare", "arms and contrasts again, without the work", same_data=False)]


if __name__ == "__main__":
    main()
