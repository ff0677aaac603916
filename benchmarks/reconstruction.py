# SPDX-License-Identifier: Apache-2.0
"""The main table: CT volumes from 30 cone-beam views by FDK, DDS, DDS+ISCS, DDNM and DDNM+ISCS.

    python benchmarks/reconstruction.py VOLUME... --output DIR [--bundle DIR] [--preset NAME] [--seeds N]

Every method sees the same simulated measurement and nothing else. Writes ``DIR/NAME.md`` (one row a method, mean and
standard deviation over the seeds), ``DIR/NAME.png`` (three views), ``DIR/NAME_psnr_z.png`` (PSNR against z) and
``DIR/NAME.json`` for each volume, as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import monai
import torch

import monai_iscs
from monai_iscs.cli.bundle import find_bundle
from monai_iscs.cli.pipeline import Pipeline
from monai_iscs.metrics import summarise
from monai_iscs.reports import markdown_table, metrics_row, psnr_curve, three_view_figure

SIRT_ITERATIONS = 20  # as many as DDS's conjugate gradients take
SAMPLERS = {
    "DDS": {"method": "dds", "noise": "independent"},
    "DDS+ISCS": {"method": "dds", "noise": "slerp"},
    "DDNM": {"method": "ddnm", "noise": "independent", "iterations": SIRT_ITERATIONS},
    "DDNM+ISCS": {"method": "ddnm", "noise": "slerp", "iterations": SIRT_ITERATIONS},
}


def row_of_seeds(rows: list[dict[str, Any]]) -> dict[str, str]:
    """One row: mean, and standard deviation where there are several seeds."""
    result = {"method": rows[0]["method"]}
    for column in list(rows[0])[1:]:
        values = [row[column] for row in rows if row[column] is not None]
        if not values:
            result[column] = "-"
            continue
        digits = {"dB": 2, "SSIM": 4, "gap": 5, "s": 0}[column.split()[-1]]
        spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 and column != "s" else ""
        result[column] = f"{statistics.mean(values):.{digits}f}{spread}"
    return result


def measure(pipelines: list[Pipeline], file: Path, output: Path, methods: list[str], command: str) -> None:
    """All methods on one volume, with the first pipeline's measurement."""
    first = pipelines[0]
    volume = first.load(file)
    measurement = first.measure(volume)
    name = file.name.split(".")[0]
    images, records = {}, {}
    start = time.perf_counter()
    images["FDK"] = first.baseline("fdk", measurement)
    records["FDK"] = [metrics_row("FDK", summarise(images["FDK"], volume), seconds=time.perf_counter() - start)]
    for method in methods:
        records[method] = []
        for pipeline in pipelines:
            start = time.perf_counter()
            result = pipeline.sample(pipeline.sampler(**SAMPLERS[method]), measurement, None)
            seconds = time.perf_counter() - start
            records[method].append(metrics_row(method, summarise(result, volume), seconds=seconds))
            images.setdefault(method, result)
            print(name, records[method][-1], flush=True)
    rows = [row_of_seeds(record) for record in records.values()]
    reference = summarise(volume, volume)["slice_difference"]["reference"]
    lines = [
        f"# {name}",
        "",
        f"`{command}`; {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, MONAI "
        f"{monai.__version__}, monai_iscs {monai_iscs.__version__}; {tuple(volume.shape[1:])} voxels, "
        f"{measurement.shape[1]} views; slice difference of the reference {reference:.5f}.",
        "",
        markdown_table(rows),
    ]
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.md").write_text("\n".join(lines))
    (output / f"{name}.json").write_text(
        json.dumps({"reference_slice_difference": reference, "rows": records}, indent=1)
    )
    spacing = [float(value) for value in volume.pixdim]
    hu = {method: first.to_hu(image)[0] for method, image in images.items()}
    three_view_figure(hu, first.to_hu(volume)[0], spacing, output / f"{name}.png")
    psnr_curve(
        {method: image[0] for method, image in images.items()}, volume[0], spacing, output / f"{name}_psnr_z.png"
    )


def main() -> None:
    """Runs the methods on every volume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+", metavar="VOLUME")
    parser.add_argument("--bundle", default="body_ct_reconstruction")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--methods", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    pipelines = [
        Pipeline(
            find_bundle(arguments.bundle),
            device=arguments.device,
            overrides={"preset": arguments.preset, "seed": seed},
        )
        for seed in range(arguments.seeds)
    ]
    command = (
        f"python benchmarks/reconstruction.py VOLUME --preset {arguments.preset} --seeds {arguments.seeds} "
        f"--methods {' '.join(arguments.methods)}"
    )
    for file in arguments.volumes:
        measure(pipelines, file, arguments.output, arguments.methods, command)


if __name__ == "__main__":
    main()
