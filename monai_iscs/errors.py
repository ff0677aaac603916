# SPDX-License-Identifier: Apache-2.0
"""The errors a user can cause and can mend."""

from __future__ import annotations

import sys
from types import TracebackType


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file or argument, what was found and what was expected, in one line: the command line
    prints it as it is and exits with a code that is not 0.
    """


def explain_uncaught() -> None:
    """Let an uncaught error that a user can mend end in one line that says what to mend.

    For the `initialize` of bundles, which run outside the command line: MONAI wraps what happens in transforms and
    engines, and the traceback's last line would be the wrapper's. The traceback stays, above that line.
    """
    before = sys.excepthook
    if getattr(before, "explains", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        from monai_iscs.cli.entry import explain

        before(kind, error, trace)
        if (line := explain(error)) is not None:
            print(f"monai_iscs: error: {line}", file=sys.stderr)

    hook.explains = True
    sys.excepthook = hook
