# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs convert``: a bundle of a published prior."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder
from monai_iscs.workflows.converting import convert_prior


def convert(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used.
    """
    output = arguments.output
    if output.is_dir():
        with RunFolder(output):
            pass  # removes what a killed run left there
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output}: found files, expected a new or empty folder")
    made = convert_prior(
        arguments.checkpoints,
        arguments.bundle,
        output,
        size=arguments.size,
        orientation=arguments.orientation,
        half=arguments.half,
    )
    print(f"{output.resolve()}: configs, models/model.pt ({made.weights:,} weights, {made.kind})")
