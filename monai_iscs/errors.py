# SPDX-License-Identifier: Apache-2.0
"""The errors a user can cause and can mend."""

from __future__ import annotations

from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file or argument, what was found and what was expected, in one line: the command line
    prints it as it is and exits with a code that is not 0.
    """


class InputWarning(UserWarning):
    """Something the user gave was used, but not all of it; the message names what was left out.

    Unlike the warnings of the libraries underneath it is shown at the command line.
    """


class OutputError(InputError):
    """A folder can't be written: whatever else is to be written there will fail too."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__
