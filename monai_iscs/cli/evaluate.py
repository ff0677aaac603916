# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs evaluate``: a reconstruction against its reference."""

from __future__ import annotations

from argparse import Namespace

from monai.data.utils import affine_to_spacing

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, markdown_table, metrics_row, three_view_figure, write_json
from monai_iscs.workflows.bundle import read_config
from monai_iscs.workflows.comparing import compare, compare_in_window
from monai_iscs.workflows.lpips import choose_lpips


def evaluate(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: a volume cannot be used, the two are not on one grid, or the requested LPIPS can't be measured.
    """
    folder = None if arguments.output is None else _folder(arguments)
    lpips, missing = choose_lpips(arguments.lpips)
    if arguments.bundle is None:
        low, high = arguments.window
        if not low < high:
            raise InputError(f"--window: found {low:g} {high:g}, expected the lower end first")
        if arguments.config:
            raise InputError("--config: found with --window, expected with --bundle")
        compared, display = compare_in_window(arguments.reconstruction, arguments.reference, low, high, lpips=lpips), {}
    else:
        config = read_config(arguments.bundle, "inference", {}, over=arguments.config)
        display = dict(config.get_parsed_content("display"))
        low, high = display.pop("range")
        compared = compare(config, arguments.reconstruction, arguments.reference, lpips=lpips)
    reconstruction, reference, summary = compared
    if folder is not None:
        with folder.results() as stage:
            write_json(stage / "metrics.json", summary)
            three_view_figure(
                {"reconstruction": reconstruction * (high - low) + low},
                reference * (high - low) + low,
                affine_to_spacing(reference.affine).tolist(),
                stage / "preview.png",
                metrics={"reconstruction": summary},
                **display,
            )
    print(markdown_table([metrics_row(arguments.reconstruction.name, summary, lpips=True)]))
    if missing is not None:
        print(f"LPIPS was not measured. {missing}")
    if folder is not None:
        print(f"{folder.path.resolve()}: metrics.json, preview.png")


def _folder(arguments: Namespace) -> RunFolder:
    """The output folder, with metrics.json as its record; not the folder of another verb."""
    there = arguments.output.expanduser() / "run.json"
    if there.exists():
        raise InputError(f"{arguments.output}: found the results of another run there, expected another folder")
    inputs = [arguments.reconstruction, arguments.reference]
    with RunFolder(arguments.output, record="metrics.json", inputs=inputs) as folder:
        folder.expect("preview.png")
    return folder
