# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs simulate``: a scan of a volume, as files that ``reconstruct`` reads."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.errors import InputError
from monai_iscs.scans import write_projections
from monai_iscs.transforms import SimulateMeasurementd
from monai_iscs.workflows.pipeline import Pipeline

OPTIONS = ("views", "arc", "row_spacing", "photons", "noise_std", "measurement_seed", "spacing")


def simulate(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    if arguments.output.suffix != ".mha":
        raise InputError(f"--output: found {arguments.output}, expected the name of a file that ends in .mha")
    pipeline = Pipeline(
        arguments.bundle, network=False, overrides={option: getattr(arguments, option) for option in OPTIONS}
    )
    transform = pipeline.config.get_parsed_content("measurement")
    if not isinstance(transform, SimulateMeasurementd) or not hasattr(pipeline.scan, "project"):
        raise InputError(f"--bundle: found {arguments.bundle}, expected one of CT, whose scan has projections")
    volume = pipeline.load(arguments.input)
    with pipeline.config.blamed("measurement"):
        projections = transform.measure.project(volume)
    write_projections(projections, arguments.output)
    views, rows, columns = projections.data.shape
    geometry = arguments.output.with_suffix(".xml")
    print(f"{arguments.output}: {views} views of {rows} x {columns} line integrals; {geometry}: their geometry (RTK)")
    print(f"monai-iscs reconstruct {arguments.output} --bundle {arguments.bundle.name} --output DIR")
