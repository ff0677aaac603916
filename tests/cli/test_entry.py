# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import signal
import time
import warnings

import pytest

from monai_iscs.cli import main
from monai_iscs.cli.entry import _quiet
from monai_iscs.errors import InputError, InputWarning, explain


def _wrapped(inner: Exception) -> RuntimeError:
    """As MONAI wraps an error of a transform."""
    try:
        raise RuntimeError("applying transform <long description>") from inner
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("views is 0,\n  expected more"), "views is 0, expected more"),
        (_wrapped(InputError("a.nii: is flat")), "a.nii: is flat"),
        (_wrapped(_wrapped(InputError("a.nii: is flat"))), "a.nii: is flat"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.pt"), "model.pt: No space left on device"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (MemoryError(), "not enough memory: take a smaller volume or fewer slices"),
        (
            RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file"),
            "is the disk full?",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, expected):
    line = explain(error)
    assert line.endswith(expected)
    assert "\n" not in line


def test_errors_of_the_program_are_not_explained_away():
    assert explain(_wrapped(TypeError("unexpected keyword"))) is None


class Finalised:
    """Sends SIGTERM where Python only reports an exception and goes on."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("inside", ["a verb", "a finaliser", "a library that fails of it"])
def test_sigterm_stops_as_ctrl_c_does(monkeypatch, fails, inside):
    def verb(*_):
        if inside == "a finaliser":
            Finalised()
        elif inside == "a verb":
            signal.raise_signal(signal.SIGTERM)
        else:
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:
                raise RuntimeError("DataLoader worker exited unexpectedly") from None
        time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("monai_iscs.cli.demo.demo", verb)
    assert fails("demo", code=143) == "monai-iscs: stopped"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setenv("RANK", "1")  # only the first of several processes prints
    assert main(["demo"]) == 143


def test_what_was_left_out_of_the_input_is_said_and_no_more(capsys):
    with _quiet():
        warnings.warn("a library's advice", UserWarning, stacklevel=1)
        warnings.warn("scan: left out 1 x localizer", InputWarning, stacklevel=1)
    assert capsys.readouterr().err == "monai-iscs: scan: left out 1 x localizer\n"
