"""The one kind of error that a user can mend, and the one end before the end that is meant."""

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
