# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs demo``: a real CT volume from 30 views, by FDK and by the samplers with and without ISCS."""

from __future__ import annotations

from argparse import Namespace

from monai.data.utils import affine_to_spacing

from monai_iscs.methods import parse_method
from monai_iscs.metrics import summarise
from monai_iscs.reports import (
    RunFolder,
    RunRecord,
    markdown_table,
    metrics_row,
    three_view_figure,
    write_json,
    write_volume,
)
from monai_iscs.workflows.bundle import find_bundle
from monai_iscs.workflows.pipeline import Pipeline
from monai_iscs.workflows.progress import Progress

BUNDLE = "body_ct_reconstruction"
VOLUME = "demo/body_ct.nii.gz"
SETTINGS = {"seed": 0, "recipe": "fast"}
BASELINE, BEST = "FDK", "DDS+ISCS"
SAMPLERS = ("dds", "dds+iscs")


def demo(arguments: Namespace) -> None:
    """Runs the verb."""
    pipeline = Pipeline(find_bundle(BUNDLE), overrides=SETTINGS)
    methods = [parse_method(name) for name in SAMPLERS]
    samplers = {method.label: pipeline.sampler(method) for method in methods}
    settings = {"input": VOLUME, **pipeline.settings(None), "measurement_seed": pipeline.measurement_seed}
    settings["samplers"] = {name: pipeline.settings(sampler)["sampler"] for name, sampler in samplers.items()}
    record = RunRecord(settings, seed=SETTINGS["seed"], device=pipeline.device)
    sampling = {name: sampler.steps for name, sampler in samplers.items()}
    stages = {"reading": 1, "scanning": 1, BASELINE: 1, **sampling, "comparing": 1, "writing": 1}
    with RunFolder(arguments.output) as folder, Progress(stages, record) as progress:
        folder.expect("reconstruction.nii.gz", "preview.png", "metrics.json", "table.md")
        with progress.stage("reading"):
            volume = pipeline.load(pipeline.folder / VOLUME)
        with progress.stage("scanning"):
            measured = pipeline.measure(volume)
        with progress.stage(BASELINE):
            found = {BASELINE: pipeline.baseline("fdk", measured)}
        for name, sampler in samplers.items():
            with progress.stage(name):
                found[name] = pipeline.sample(sampler, measured, progress.step).volume
        with progress.stage("comparing"):
            results = {name: pipeline.shown(result, measured) for name, result in found.items()}
            summaries = {name: summarise(result, volume) for name, result in results.items()}
        rows = [metrics_row(name, summary, seconds=record.seconds[name]) for name, summary in summaries.items()]
        table = markdown_table(rows)
        with folder.results() as stage:
            with progress.stage("writing"):
                write_volume(stage / "reconstruction.nii.gz", pipeline.restore(found[BEST], measured))
                three_view_figure(
                    {name: pipeline.to_units(result) for name, result in results.items()},
                    pipeline.to_units(volume),
                    affine_to_spacing(volume.affine).tolist(),
                    stage / "preview.png",
                    metrics=summaries,
                    **pipeline.display,
                )
                write_json(stage / "metrics.json", summaries)
                (stage / "table.md").write_text(table)
            write_json(stage / "run.json", record.as_dict())
    print(f"\n{table}")
    print("A scan of 1e5 photons a pixel, simulated on the file's own grid; compared on that grid.")
    print("Each view: PSNR in dB, SSIM (at most 1). Slice gap: how much more than in truth neighbouring slices differ.")
    print(f"\nLook at {folder.path.resolve() / 'preview.png'}")
    print("Beside it: reconstruction.nii.gz (DDS+ISCS, Hounsfield units), table.md, metrics.json, run.json.")
