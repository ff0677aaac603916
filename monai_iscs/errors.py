# SPDX-License-Identifier: Apache-2.0
"""The errors that a user can cause and can fix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file or argument, what was found and what was expected, in one line. The command line
    prints it and exits with a code that is not 0.
    """


class InputWarning(UserWarning):
    """Something the user gave was used only in part; the message names what was left out.

    Unlike the warnings of the libraries that are used, it is shown at the command line.
    """


class OutputError(InputError):
    """A folder can't be written: every other write to it will fail too."""


def expect(usable: bool, name: str, found: object, expected: str) -> None:
    """Raise an `InputError` unless an argument is usable.

    Args:
        usable: whether it is.
        name: of the argument.
        found: its value.
        expected: what would be usable.
    """
    if not usable:
        raise InputError(f"{name}: found {found}, expected {expected}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__


def explain(error: BaseException) -> str | None:
    """One line about an error that a user can fix, or None if it is a defect of the program.

    MONAI's transforms, configs and engines wrap errors in a ``RuntimeError``; so does PyTorch on a full disk. The chain
    of causes is searched for the one that a user can fix.
    """
    chain = list(causes(error))
    for kind, line in _FIXABLE:
        for link in chain:
            if isinstance(link, kind):
                return " ".join(line(link).split())
    for link in chain:
        text = str(link)
        if type(link).__name__ == "OutOfMemoryError":
            return "not enough memory on the device: give --device cpu or a smaller volume"
        if "DefaultCPUAllocator" in text:
            return "not enough memory: take a smaller volume or fewer slices"
        if "PytorchStreamWriter failed" in text:
            return "the model could not be written: is the disk full?"
    return None


def _describe_os_error(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    name = getattr(error, "filename", None)
    return f"{name}: {reason}" if name else reason


_FIXABLE = (
    (InputError, str),
    (MemoryError, lambda _: "not enough memory: take a smaller volume or fewer slices"),
    (OSError, _describe_os_error),
)


def explain_uncaught() -> None:
    """After the traceback of an uncaught error that a user can fix, print one line that says what to fix.

    For the `initialize` of bundles that run outside the command line: MONAI wraps the errors of transforms and engines,
    and the traceback's last line would be the wrapper's.
    """
    before = sys.excepthook
    if getattr(before, "explains", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        if (line := explain(error)) is not None:
            print(f"monai_iscs: error: {line}", file=sys.stderr)

    hook.explains = True
    sys.excepthook = hook
