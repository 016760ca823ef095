"""The benchmark: the project against plain reference loops, in turns, on this machine.

    python benchmarks/run.py            # all rows, about five minutes on two quiet cores; writes outputs/bench.json
    python benchmarks/run.py --row synthesis

Both sides have all cores (`--threads` gives them fewer). Each row runs ours and the reference in turns and takes
medians; a target that is missed is said, not hidden.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from classifier_rows import classifier_epoch
from gan_rows import gan_step, gan_step_lazy, gan_step_operations, synthesis
from phantom_rows import phantom_frames
from sizes import Sizes
from stores import StoredRun, stored_run
from timing import Row, matrix_peak
from tracking_rows import tracking_overhead

from mlproject.files import atomic_write_json
from mlproject.runtime import set_threads

ROWS: dict[str, Callable[[Sizes, StoredRun, Path], Row]] = {
    "gan_step": lambda sizes, stored, folder: gan_step(sizes),
    "gan_step_lazy": lambda sizes, stored, folder: gan_step_lazy(sizes),
    "classifier_epoch": classifier_epoch,
    "synthesis": lambda sizes, stored, folder: synthesis(sizes),
    "phantom_frames": lambda sizes, stored, folder: phantom_frames(sizes),
    "tracking_overhead": tracking_overhead,
}
RATIO_AT_LEAST = {"gan_step": 2.5, "gan_step_lazy": 4.0, "classifier_epoch": 2.0, "synthesis": 5.0}
OURS_AT_MOST = {"tracking_overhead": 0.02}
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure(sizes: Sizes, names: list[str], say: Callable[[str], None]) -> dict[str, Row]:
    """The rows of these names, each said as soon as it is known."""
    rows = {}
    say(f"{'row':<18}{'ours':>10}{'reference':>11}  {'unit':<16}{'ratio':>7}  target")
    with tempfile.TemporaryDirectory() as temporary, stored_run(Path(temporary)) as stored:
        for name in names:
            row = rows[name] = ROWS[name](sizes, stored, Path(temporary))
            figures = f"{row.ours:>10.4g}{row.reference:>11.4g}  {row.unit:<16}{row.ratio:>7.2f}"
            say(f"{name:<18}{figures}  {verdict(name, row)}")
    return rows


def verdict(name: str, row: Row) -> str:
    """The row's target and whether it is met; "" where there is none."""
    if name in RATIO_AT_LEAST:
        return f"ratio >= {RATIO_AT_LEAST[name]:g}: {'met' if row.ratio >= RATIO_AT_LEAST[name] else 'missed'}"
    if name in OURS_AT_MOST:
        return f"ours <= {OURS_AT_MOST[name]:g}: {'met' if row.ours <= OURS_AT_MOST[name] else 'missed'}"
    return ""


def share_of_peak(sizes: Sizes, gan_row: Row | None) -> list[str]:
    """The machine's measured matrix peak, and the share of it that the convolutions of a generator step reach."""
    peaks = {name: matrix_peak(dtype, sizes.matrix_side) for name, dtype in _PRECISIONS.items()}
    lines = [f"matrix peak: {peaks['fp32'] / 1e9:.0f} GFLOP/s in fp32, {peaks['bf16'] / 1e9:.0f} GFLOP/s in bf16"]
    if gan_row is not None:
        operations = gan_step_operations(sizes)
        shares = [
            operations / seconds / peaks[name]
            for name, seconds in (("bf16", gan_row.ours), ("fp32", gan_row.reference))
        ]
        lines.append(
            f"gan_step: {operations / 1e9:.0f} GFLOP; ours {shares[0]:.0%} of the bf16 peak, reference {shares[1]:.0%} "
            "of the fp32 peak"
        )
    return lines


@click.command(help=__doc__)
@click.option("--out", default="outputs/bench.json", help="the table as JSON; written when every row was measured")
@click.option("--row", "chosen", type=click.Choice(list(ROWS)), multiple=True, help="only these rows; writes nothing")
@click.option("--threads", default=0, help="threads of both sides; 0 takes every core")
def main(out: str, chosen: tuple[str, ...], threads: int) -> None:
    started = time.perf_counter()
    count = set_threads(threads)
    sizes = Sizes()
    rows = measure(sizes, list(chosen or ROWS), click.echo)
    for line in share_of_peak(sizes, rows.get("gan_step")):
        click.echo(line)
    click.echo(f"{count} threads, torch {torch.__version__}, {time.perf_counter() - started:.0f} s")
    if not chosen:
        atomic_write_json(out, {name: dataclasses.asdict(row) for name, row in rows.items()})
        click.echo(f"written to {out}")


if __name__ == "__main__":
    main()
