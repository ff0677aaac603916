# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs simulate``: a scan of a volume, as files that ``reconstruct`` reads."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.simulated import write_scan

OPTIONS = ("views", "arc", "table_feed", "row_spacing", "photons", "noise_std", "measurement_seed", "spacing")


def simulate(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    pipeline = Pipeline(
        arguments.bundle, network=False, overrides={option: getattr(arguments, option) for option in OPTIONS}
    )
    print(write_scan(pipeline, arguments.input, arguments.output))
    print(f"monai-iscs reconstruct {arguments.output} --bundle {arguments.bundle.name} --output DIR")
