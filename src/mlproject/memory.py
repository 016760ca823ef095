"""Memory that ran out: said in one line, with the setting that needs less of it."""

import contextlib
import errno
from collections.abc import Iterator

from mlproject.config import Configuration
from mlproject.errors import UserError, one_line

# as torch, its CUDA allocator, oneDNN and C++ say it
_WORDS = ("can't allocate memory", "out of memory", "could not create a memory", "std::bad_alloc")
_BATCH_OF = {
    "train_gan": "gan",
    "generate_synthetic": "synthesis",
    "train_judge": "classifier",
    "train_classifier": "classifier",
    "eval_classifier": "classifier",
}


@contextlib.contextmanager
def told_as_memory(stage: str, config: Configuration) -> Iterator[None]:
    """Turn an allocation that failed in a stage's work into the user's one line.

    Raises:
        UserError: memory ran out; names the batch size of the stage and its value, where it has one.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{stage}: memory ran out ({_asked(error)}); {_mend(stage, config)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, torch or the system says that memory could not be had."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def _asked(error: BaseException) -> str:
    text = one_line(error)
    # torch begins with the place in its source
    return text[text.find("you tried to allocate") :][:160] if "you tried to allocate" in text else text[:160]


def _mend(stage: str, config: Configuration) -> str:
    section = _BATCH_OF.get(stage)
    if section is None:
        return "lower run.workers, or use a machine with more"
    size = getattr(config, section).batch_size
    return f"lower {section}.batch_size (now {size}), or use a machine with more"
