"""Memory that runs out, worker processes that die, and losses that are not finite."""

import os
import signal

import psutil
import pytest
from starter import Started, leftovers
from workshops import unfinished_runs, wait_until

from mlproject.checkpoint import latest_checkpoint

pytestmark = pytest.mark.slow

MEMORY = 3_000_000_000  # bytes of address space beyond what the imports took


def test_memory_that_runs_out(prepared, fault):
    options = ("--data", str(prepared.folder / "set"), "--base_channels", "64")
    started = Started(prepared, "train_gan", *options, "--batch_size", "4096", memory=MEMORY)
    assert started.wait() == 2, started.printed()[-3000:]
    told = started.error()
    assert "train_gan: memory ran out (" in told
    assert "lower gan.batch_size (now 4096), or use a machine with more" in told
    assert unfinished_runs(prepared) == []
    assert leftovers(prepared.folder) == []
    smaller = Started(prepared, "train_gan", *options, "--batch_size", "4", memory=MEMORY)
    assert smaller.wait() == 0, smaller.printed()[-3000:]
    fault(
        "memory runs out (RLIMIT_AS, 3 GB beyond the imports)",
        f"ended with 2: “{told}”; with gan.batch_size 4 it trained within the same limit",
    )


def test_a_process_that_draws_the_phantom_dies(desk, fault):
    sizes = [option for split in ("train", "val", "test") for option in (f"--n_{split}", "40")]
    phantom = ("--source", "phantom", *sizes, "--run.workers", "2")
    started = Started(desk, "prepare_data", *phantom)

    def drawing() -> list[psutil.Process]:
        if not list(desk.folder.glob("outputs/data/.*.unfinished/images/*/*.png")):
            return []
        children = psutil.Process(started.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    assert wait_until(drawing, started), started.printed()[-3000:]
    os.kill(drawing()[0].pid, signal.SIGKILL)
    assert started.wait() == 2, started.printed()[-3000:]
    told = started.error()
    assert "one of the 2 processes that draw it died" in told
    assert "fewer run.workers" in told
    assert leftovers(desk.folder) == []
    assert unfinished_runs(desk) == []
    fault("kill -9 of a worker process that draws images", f"ended with 2: “{told}”; nothing half-written is left")


# nothing holds a critic without its penalty; AdamW's decay multiplies weights by 1 - rate * decay, here by -9
DIVERGING = {
    "train_gan": ("--learning_rate", "1", "--lambda_gp", "0", "--drift", "0", "--base_channels", "16"),
    "train_classifier": ("--learning_rate", "1", "--weight_decay", "10", "--mix", "real"),
}


@pytest.mark.parametrize("entry_point", DIVERGING)
def test_a_loss_that_is_not_finite(prepared, fault, entry_point):
    options = ("--data", str(prepared.folder / "set"), "--steps", "200", *DIVERGING[entry_point])
    started = Started(prepared, entry_point, *options)
    assert started.wait() == 2, started.printed()[-3000:]
    told = started.error()
    assert "not finite" in told
    assert "the last good checkpoint is" in told
    assert "learning_rate" in told
    assert unfinished_runs(prepared) == []
    assert prepared.client.search_model_versions() == []
    (folder,) = prepared.folder.glob("outputs/work/*/checkpoints")
    kept = latest_checkpoint(folder)
    assert kept is not None
    assert all(tensor.isfinite().all() for name, tensor in kept.tensors.items() if not name.startswith("sums."))
    said = told.replace(str(prepared.folder), "…")
    fault(
        f"a loss that is not finite, in {entry_point}",
        f"ended with 2: “{said}”; all weights of that checkpoint are finite, no model was registered",
    )
