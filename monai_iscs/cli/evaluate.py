# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs evaluate``: a reconstruction against its reference."""

from __future__ import annotations

from argparse import Namespace

from monai.data.utils import affine_to_spacing
from monai.transforms import Orientationd, ScaleIntensityRanged

from monai_iscs.cli.bundle import read_config
from monai_iscs.errors import InputError
from monai_iscs.metrics import summarise
from monai_iscs.reports import RunFolder, markdown_table, metrics_row, three_view_figure, write_json
from monai_iscs.transforms import CheckCTVolumed, InputCompose, LoadVolumed


def evaluate(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: a volume cannot be used, or the two are not on one grid.
    """
    if arguments.bundle is None:
        low, high = arguments.window
        if not low < high:
            raise InputError(f"--window: found {low:g} {high:g}, expected the lower end first")
        prepare = _in_window(low, high)
    else:
        config = read_config(arguments.bundle, "inference", {})
        low, high = config.get_parsed_content("hu_range")
        prepare = config.get_parsed_content("preprocessing")
    paths = (arguments.reconstruction, arguments.reference)
    reconstruction, reference = (prepare({"label": path})["label"] for path in paths)
    summary = summarise(reconstruction, reference)
    if arguments.output is not None:
        folder = RunFolder(arguments.output)
        with folder.results() as stage:
            write_json(stage / "metrics.json", summary)
            three_view_figure(
                {"reconstruction": reconstruction * (high - low) + low},
                reference * (high - low) + low,
                affine_to_spacing(reference.affine).tolist(),
                stage / "preview.png",
                metrics={"reconstruction": summary},
            )
    print(markdown_table([metrics_row(arguments.reconstruction.name, summary)]))
    if arguments.output is not None:
        print(f"{folder.path.resolve()}: metrics.json, preview.png")


def _in_window(low: float, high: float) -> InputCompose:
    """From a path to (1, X, Y, Z), RAS, with ``low`` to ``high`` HU as 0 to 1, on the file's own voxels."""
    return InputCompose(
        [
            LoadVolumed("label"),
            CheckCTVolumed("label"),
            Orientationd("label", axcodes="RAS", labels=None),
            ScaleIntensityRanged("label", a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True),
        ]
    )
