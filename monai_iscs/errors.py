# SPDX-License-Identifier: Apache-2.0
"""The errors a user can cause and can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file or argument, what was found and what was expected, in one line: the command line
    prints it as it is and exits with a code that is not 0.
    """


class InputWarning(UserWarning):
    """Something the user gave was used, but not all of it; the message names what was left out.

    Unlike the warnings of the libraries underneath it is shown at the command line.
    """
