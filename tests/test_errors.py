# SPDX-License-Identifier: Apache-2.0
"""How errors end under ``monai.bundle run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from monai_iscs.errors import InputError, explain_uncaught

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def _wrapped(inner: Exception) -> RuntimeError:
    try:
        raise RuntimeError("applying transform <a long description>") from inner
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("error", [InputError("a.nii: is flat"), _wrapped(_wrapped(InputError("a.nii:\n is flat")))])
def test_the_last_line_says_what_to_mend(monkeypatch, capsys, error):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_uncaught()
    explain_uncaught()  # like two workflows in one process
    sys.excepthook(type(error), error, error.__traceback__)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "monai_iscs: error: a.nii: is flat"
    assert [line for line in lines if line.startswith("monai_iscs: error")] == lines[-1:]
    assert f"{type(error).__name__}: {error}".splitlines()[0] in "\n".join(lines[:-1])  # the traceback stays


def test_a_defect_ends_as_python_ends_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_uncaught()
    sys.excepthook(TypeError, TypeError("unexpected keyword"), None)
    assert capsys.readouterr().err.splitlines()[-1] == "TypeError: unexpected keyword"


@pytest.mark.parametrize("file", sorted(BUNDLES.glob("*/configs/*.json")), ids=lambda f: f"{f.parts[-3]}/{f.stem}")
def test_every_bundle_explains_its_errors_first_of_all(file):
    initialize = json.loads(file.read_text()).get("initialize")
    # the second one also explains errors first, see there
    assert initialize is None or initialize[0] in ("$errors.explain_uncaught()", "$engines.begin_training(@seed)")
