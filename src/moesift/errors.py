"""Errors that a user can act on: one message instead of a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """What was given cannot be used; the message says what is wrong and what would be right."""


def run(main: Callable[[], None]) -> None:
    """Call a stage's `main`; a UserError ends the process with its message on standard error and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"moesift: error: {error}")
