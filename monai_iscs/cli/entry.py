# SPDX-License-Identifier: Apache-2.0
"""The entry point: runs a verb and turns errors that a user can fix into one line and an exit code."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from monai_iscs.cli.parser import build_parser
from monai_iscs.errors import InputWarning, explain

USER_ERROR = 2
STOPPED = 128 + signal.SIGINT  # as in shells
TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM, from ``kill``, a batch system or ``torchrun``: handled like Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``monai-iscs``.

    Args:
        argv: the arguments after the program's name; None: those of the process.

    Returns:
        0 without errors, 2 if the input cannot be used (one line on stderr says why), 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    terminated: list[int] = []
    try:
        with _terminable(terminated):
            arguments = build_parser().parse_args(argv)
            with _quiet(), _interruptible():
                arguments.verb(arguments)
    except KeyboardInterrupt:
        return _stopped(terminated)
    except Exception as error:
        if terminated:  # an error from ending worker processes and connections
            return _stopped(terminated)
        message = explain(error)
        if message is None:
            raise
        print(f"monai-iscs: error: {message}", file=sys.stderr)
        return USER_ERROR
    return 0


def _stopped(terminated: Sequence[int]) -> int:
    if os.environ.get("RANK", "0") == "0":  # only one of several processes prints
        print("monai-iscs: stopped", file=sys.stderr)
    return TERMINATED if terminated else STOPPED


@contextmanager
def _terminable(terminated: list[int]) -> Iterator[None]:
    """SIGTERM stops like Ctrl-C, and is recorded."""
    if threading.current_thread() is not threading.main_thread():  # Python receives signals only there
        yield
        return

    def stop(number: int, _: object) -> NoReturn:
        terminated.append(number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C always stops: if Python had to ignore it (in finalisers, libraries' callbacks), it is sent again."""
    ignored = sys.unraisablehook

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
            # later, and not by a Timer, whose start waits for its thread: an exception inside this hook is ignored too
            _thread.start_new_thread(_send_later, (number,))
        else:
            ignored(unraisable)

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = ignored


def _send_later(number: int) -> None:
    time.sleep(0.1)
    os.kill(os.getpid(), number)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the warnings and log lines of libraries, which do not help at a command line.

    Each `InputWarning` about left-out input is one line on stderr.
    """

    def say(message: Warning | str, category: type[Warning], *_: object) -> None:
        if issubclass(category, InputWarning) and str(message) not in said:  # an input may be read again
            said.add(str(message))
            print(f"monai-iscs: {message}", file=sys.stderr)

    said: set[str] = set()
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = say
            yield
    finally:
        logging.disable(level)
