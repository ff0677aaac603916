# SPDX-License-Identifier: Apache-2.0
"""Anatomy, projected by RTK with photon noise, read from RTK's files and reconstructed by the command.

    pip install itk-rtk
    python benchmarks/rtk_anatomy.py VOLUME --output FOLDER [--slices 24] [--views 30] [--orbits full half short flex]
        [--methods fdk admm-tv dds dds+iscs] [--cut] [-- OPTIONS OF RECONSTRUCT]

The scanner is a cone beam with source to isocentre 1,000 mm and source to detector 1,500 mm. RTK's Joseph projector
traces 2 × 2 rays a pixel through the middle slices of the file, on its own grid; their intensities are averaged and
counted with 2e5 photons. The body goes on beyond the slices by repeating the last ones, unless `--cut`. Orbits: `full`
and `half` (detector moved aside, twice the views: as many rays) of 360°, `short` of 200°, `flex` of 360° with all nine
parameters of RTK different in each view. The isocentre lies (12, −8, 3) mm from the middle of the slices, and every
result is compared with the file on the file's grid. `shift` is how far the result has to be moved to fit best, in
voxels of the file.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import itk
import numpy as np
import torch
from itk import RTK
from monai.data import MetaTensor

from monai_iscs.cli import main as command
from monai_iscs.grid import Grid
from monai_iscs.metrics import summarise
from monai_iscs.reports import markdown_table
from monai_iscs.scans.meta import grid_of
from monai_iscs.transforms import LoadVolume, regrid

IMAGE = itk.Image[itk.F, 3]
NEAR, FAR = 1000.0, 1500.0  # mm, source to isocentre and to detector
COLUMNS, PITCH = 360, 2.0  # of the detector; mm
PHOTONS, WATER = 2e5, 0.02  # a pixel; per mm
RAYS = 2  # a pixel's side
ISOCENTRE = np.array([12.0, -8.0, 3.0])  # mm from the middle of the slices, R A S
VIEWS = ("axial", "coronal", "sagittal")


def orbit(name: str, views: int, generator: np.random.Generator):
    """RTK's geometry, and the columns of the detector."""
    made = RTK.ThreeDCircularProjectionGeometry.New()
    arc, start = (200.0, -80.0) if name == "short" else (360.0, 17.0)
    columns, aside, aside_v = COLUMNS, 4.5, -3.0
    if name == "half":
        views, columns, aside, aside_v = 2 * views, COLUMNS // 2, 0.23 * COLUMNS * PITCH, 0.0
    step = arc / (views - 1) if name == "short" else arc / views
    for angle in start + step * np.arange(views):
        out, within, *off, source_x, source_y, near, far = np.zeros(8)
        if name == "flex":
            out, within, source_x, source_y, near, far, *off = generator.uniform(-1, 1, 8) * [1, 1, 3, 3, 5, 5, 4, 4]
        made.AddProjection(
            NEAR + near, FAR + far, angle, aside + off[0], aside_v + off[1], out, within, source_x, source_y
        )
    return made, views, columns


def rtk_image(array: np.ndarray, spacing, middle=(0.0, 0.0, 0.0)):
    """An array (z, y, x) of RTK's axes about a point, mm."""
    image = itk.image_from_array(np.ascontiguousarray(array, np.float32))
    image.SetSpacing([float(step) for step in spacing])
    counts = array.shape[::-1]
    image.SetOrigin([float(m - (n - 1) / 2 * s) for n, s, m in zip(counts, spacing, middle, strict=True)])
    return image


def scan(volume: np.ndarray, spacing: np.ndarray, name: str, views: int, beyond: int, target: Path) -> None:
    """Writes the projections of a volume in HU, (R, A, S) about minus `ISOCENTRE`, and their geometry."""
    generator = np.random.default_rng(0)
    geometry, views, columns = orbit(name, views, generator)
    body = np.pad(volume, ((0, 0), (0, 0), (beyond, beyond)), mode="edge")
    attenuation = WATER * (1 + np.clip(body, -1000, None) / 1000)
    right, front, up = -ISOCENTRE  # head first supine: R, A, S are RTK's -x, z, y
    solid = rtk_image(attenuation[::-1].transpose(1, 2, 0), spacing[[0, 2, 1]], (-right, up, front))
    height = volume.shape[2] * spacing[2] * FAR / (NEAR - 200) + 12
    rows = 2 * int(np.ceil(height / PITCH / 2))
    empty = rtk_image(np.zeros((views, RAYS * rows, RAYS * columns), np.float32), (PITCH / RAYS, PITCH / RAYS, 1))
    joseph = RTK.JosephForwardProjectionImageFilter[IMAGE, IMAGE].New()
    joseph.SetInput(0, empty)
    joseph.SetInput(1, solid)
    joseph.SetGeometry(geometry)
    joseph.Update()
    rays = torch.from_numpy(itk.array_from_image(joseph.GetOutput()))
    seen = torch.nn.functional.avg_pool2d(torch.exp(-rays), RAYS).double().numpy()
    counts = np.maximum(generator.poisson(PHOTONS * seen), 1)
    lines = rtk_image(-np.log(counts / PHOTONS), (PITCH, PITCH, 1))
    itk.imwrite(lines, str(target))
    writer = RTK.ThreeDCircularProjectionGeometryXMLFileWriter.New()
    writer.SetObject(geometry)
    writer.SetFilename(str(target.with_suffix(".xml")))
    writer.WriteFile()


def shift(result: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """How far a result lies from the truth along each axis, voxels: least squares on the gradients of the truth."""
    found, known = result[0, 8:-8, 8:-8, 2:-2].double(), truth[0].double()
    steps = torch.stack([part[8:-8, 8:-8, 2:-2].flatten() for part in torch.gradient(known)], dim=1)
    away = (found - known[8:-8, 8:-8, 2:-2]).flatten()
    return -torch.linalg.lstsq(steps, away[:, None]).solution[:, 0].numpy()


def main() -> None:
    """Scans and reconstructs, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path, help="CT in HU")
    parser.add_argument("--output", type=Path, required=True, help="folder for scans, results and the table")
    parser.add_argument("--bundle", default="body_ct_reconstruction")
    parser.add_argument("--slices", type=int, default=24, help="from the middle of the volume")
    parser.add_argument("--views", type=int, nargs="+", default=[30])
    parser.add_argument("--orbits", nargs="+", default=["full", "half", "short", "flex"])
    parser.add_argument("--methods", nargs="+", default=["fdk", "admm-tv", "dds", "dds+iscs"])
    parser.add_argument("--cut", action="store_true", help="the body ends with the slices")
    parser.add_argument("options", nargs="*", help="of reconstruct, after --")
    arguments = parser.parse_args()
    volume = LoadVolume()(arguments.volume)
    count = arguments.slices
    first = (volume.shape[3] - count) // 2
    truth = volume[..., first : first + count].as_tensor().clamp(-1000, 1600)
    spacing = volume.affine[:3, :3].diagonal().abs().numpy()
    grid = Grid.centered(tuple(truth.shape[1:]), tuple(spacing), center=tuple(-ISOCENTRE))
    beyond = 0 if arguments.cut else int(np.ceil(40 / spacing[2]))
    reference = MetaTensor((truth + 1000) / 2600, affine=torch.as_tensor(np.asarray(grid.affine)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for views in arguments.views:
        for name in arguments.orbits:
            target = arguments.output / f"{name}_{views}.mha"
            scan(truth[0].numpy(), spacing, name, views, beyond, target)
            for method in arguments.methods:
                folder = arguments.output / f"{name}_{views}_{method}"
                given = ["reconstruct", target, "--bundle", arguments.bundle, "--method", method, "--output", folder]
                if command([*map(str, given), *arguments.options]):
                    raise SystemExit(f"{folder}: the command failed")
                result = LoadVolume()(folder / "reconstruction.nii.gz")
                there = regrid(result.as_tensor(), grid_of(result), grid).clamp(-1000, 1600)
                moved = MetaTensor((there + 1000) / 2600, affine=reference.affine)
                summary = summarise(moved, reference, slice_axis=2, lpips=None)
                decibels = {f"{view} dB": round(summary[view]["psnr"], 2) for view in VIEWS}
                away = shift(there, truth)
                row = {"views": views, "orbit": name, "method": method, **decibels}
                rows.append({**row, "shift R A S": " ".join(f"{value:+.2f}" for value in away)})
                print(rows[-1], flush=True)
    with (arguments.output / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (arguments.output / "table.md").write_text(markdown_table(rows) + "\n")


if __name__ == "__main__":
    main()
