"""The one kind of error that a user can mend, the one end before the end that is meant, and any error on one line."""

# what a command ends with; `mlproject.terminal.EXIT_CODES` explains them
EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130


class UserError(Exception):
    """A mistake in input, configuration or environment, told in one line: what, where, expected, how to mend.

    Entry points print the message without a traceback and exit with code 2.
    """


class IntegrityError(UserError):
    """A stored file is missing, added or changed against its checksums: nothing is loaded from it."""


class Stopped(Exception):  # noqa: N818 - no error
    """Work that was ended on purpose before it was done, because it is not worth the rest; its run ends KILLED."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """What an error says on one line, or its first so many characters; the name of its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def kind_and_words(error: Exception, most: int = 500) -> str:
    """`one_line`, and in front of it the kind of an error that is not meant for the user."""
    said = one_line(error, most)
    return said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
