# SPDX-License-Identifier: Apache-2.0
"""A scanner's raw data, reconstructed by the command, beside the vendor's images of the same patient.

    python benchmarks/clinical_images.py PROJECTIONS IMAGES --output FOLDER [--methods sirt admm-tv dds dds+iscs]
        [--slices 40] [--resume] [-- OPTIONS OF RECONSTRUCT]

PROJECTIONS is a folder of DICOM-CT-PD, IMAGES the folder of the DICOM images that the scanner's own reconstruction made
of the same scan, as both are in LDCT-and-Projection-data. **This script has never met those data**: it was tried on
simulated helices and the simulated volume as images (`tests/cli/test_clinical_images.py`). Look at the figure first.

The images are no truth: they are filtered backprojections with their own noise and kernel, so that PSNR and SSIM say
how alike two reconstructions are, and not which one is better. A result is moved to where the images fit it best, as
scanners write their images about another origin than their projections; `moved` says by how much, and a warning if they
fit better upside down. Then it is averaged over the images' slice thickness and compared on their grid: `HU` is the
median difference inside the body, and `|HU|` the median of its size; `noise` is the median standard deviation in blocks
of 5 x 5 pixels of soft tissue, of the result and of the images. Only slices that half of the views or more see count.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.transforms import Orientation
from torch import Tensor

from monai_iscs import Grid
from monai_iscs.cli import main as command
from monai_iscs.dicom import is_dicom
from monai_iscs.metrics import summarise
from monai_iscs.reports import markdown_table, three_view_figure
from monai_iscs.scans.meta import grid_of
from monai_iscs.transforms import LoadVolume, regrid

VIEWS = ("axial", "coronal", "sagittal")
COARSE = 3.0  # mm, voxels of the search for the place
EDGES = (-1000.0, 200.0)  # HU: contrasts between these say where a body is, metal does not
REFINED = 5  # steps of least squares
FURTHEST = 150.0  # mm that the origins may differ by across the table
BODY = -500.0  # HU
SOFT = (-50.0, 150.0)  # HU
BLOCK = 5  # pixels
SEEN = 0.5  # of the views
RANGE = (-1000.0, 1600.0)  # HU of PSNR and SSIM


def thickness_of(folder: Path) -> float | None:
    """Of a series' slices, mm."""
    file = next(file for file in sorted(folder.iterdir()) if is_dicom(file))
    found = pydicom.dcmread(file, stop_before_pixels=True).get("SliceThickness")
    return None if found is None else float(found)


def moved(grid: Grid, by: np.ndarray) -> Grid:
    """A grid that lies elsewhere, mm."""
    affine = np.array(grid.affine)
    affine[:3, 3] += by
    return Grid(grid.shape, affine)


def place_of(result: Tensor, grid: Grid, images: Tensor, there: Grid) -> tuple[np.ndarray, float]:
    """How far a result has to be moved for the images to fit it best, mm, and how well they do.

    The place is the maximum of the correlation of both volumes' gradients, refined by least squares.

    Args:
        result: (X, Y, Z), HU.
        grid: of the result.
        images: (X, Y, Z), HU.
        there: their grid.
    """
    height = sum(own.shape[2] * own.spacing[2] for own in (grid, there))  # each may lie wholly above the other
    across = max(n * s for own in (grid, there) for n, s in zip(own.shape[:2], own.spacing[:2], strict=True)) + FURTHEST
    shape = [math.ceil(length / COARSE) for length in (across, across, height)]
    spectra, first = [], []
    for volume, own in ((result, grid), (images, there)):
        cells = [math.ceil(n * s / COARSE) for n, s in zip(own.shape, own.spacing, strict=True)]
        cubes = Grid.centered(cells, (COARSE,) * 3, center=own.center)
        first.append(np.array(cubes.affine)[:3, 3])
        coarse = regrid(volume[None], own, cubes)[0].clamp(*EDGES)
        spectra.append([torch.fft.rfftn(part.double(), s=shape) for part in torch.gradient(coarse)])

    def correlation(one: int, other: int) -> Tensor:
        return torch.fft.irfftn(sum(a.conj() * b for a, b in zip(spectra[one], spectra[other], strict=True)), s=shape)

    found = correlation(0, 1)
    peak = np.unravel_index(int(found.argmax()), shape)
    steps = [(at + count // 2) % count - count // 2 for at, count in zip(peak, shape, strict=True)]
    place = np.array(steps) * COARSE + first[1] - first[0]
    edges = torch.stack([part.flatten() for part in torch.gradient(coarse)], 1).double()
    for _ in range(REFINED):
        away = regrid(result[None], moved(grid, place), cubes)[0].clamp(*EDGES) - coarse
        place -= COARSE * torch.linalg.lstsq(edges, -away.flatten()[:, None].double()).solution[:, 0].numpy()
    sizes = [float(correlation(n, n).max()) for n in (0, 1)]
    return place, float(found.max()) / math.sqrt(math.prod(sizes))


def thick(volume: Tensor, grid: Grid, target: Grid, thickness: float) -> Tensor:
    """A volume (X, Y, Z) at the slices of a grid, averaged over their thickness, mm."""
    count = max(1, math.ceil(2 * thickness / grid.spacing[2]))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * thickness
    return torch.stack([regrid(volume[None], grid, moved(target, [0, 0, by]))[0] for by in offsets]).mean(0)


def noise_of(volume: Tensor, soft: Tensor) -> float:
    """Median standard deviation of (X, Y, Z) in blocks of pixels that are soft tissue, HU; NaN without any."""

    def blocks(of: Tensor) -> Tensor:
        x, y = (n // BLOCK * BLOCK for n in of.shape[:2])
        return of[:x, :y].unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(-2)

    inside = blocks(soft).all(-1)
    return float(blocks(volume)[inside].std(-1).median()) if bool(inside.any()) else math.nan


def compared(result: Tensor, images: Tensor, spacing: tuple[float, ...]) -> dict[str, float]:
    """Figures of a result beside the images, both (X, Y, Z) in HU on one grid."""
    body, soft = images > BODY, (images > SOFT[0]) & (images < SOFT[1])
    difference = (result - images)[body]
    low, high = RANGE
    scaled = [(volume.clamp(low, high) - low) / (high - low) for volume in (result, images)]
    summary = summarise(*scaled, slice_axis=2, data_range=1.0)
    return {
        "HU": round(float(difference.median()), 1),
        "|HU|": round(float(difference.abs().median()), 1),
        "noise": round(noise_of(result, soft), 1),
        "images' noise": round(noise_of(images, soft), 1),
        **{f"{view} dB": round(summary[view]["psnr"], 2) for view in VIEWS},
        "axial SSIM": round(summary["axial"]["ssim"], 4),
        "pixel mm": round(spacing[0], 2),
    }


def main(argv: list[str] | None = None) -> None:
    """Reconstructs by each method and writes table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projections", type=Path, help="folder of DICOM-CT-PD")
    parser.add_argument("images", type=Path, help="folder of the vendor's DICOM images, or any volume in HU")
    parser.add_argument("--output", type=Path, required=True, help="folder for results, table and figure")
    parser.add_argument("--bundle", default="body_ct_reconstruction")
    parser.add_argument("--methods", nargs="+", default=["sirt", "admm-tv", "dds", "dds+iscs"])
    parser.add_argument("--slices", type=int, help="of the images, from the middle of what is seen (default: all)")
    parser.add_argument("--resume", action="store_true", help="take results that are in the folder already")
    given = sys.argv[1:] if argv is None else argv
    own = given.index("--") if "--" in given else len(given)
    arguments, options = parser.parse_args(given[:own]), given[own + 1 :]
    images = Orientation(axcodes="RAS", labels=None)(LoadVolume()(arguments.images))
    there, vendor = grid_of(images), images.as_tensor()[0]
    thickness = (thickness_of(arguments.images) if arguments.images.is_dir() else None) or there.spacing[2]
    rows, shown, place = [], {}, None
    for method in arguments.methods:
        folder = arguments.output / method
        given = ["reconstruct", arguments.projections, "--bundle", arguments.bundle, "--method", method]
        if not (arguments.resume and (folder / "reconstruction.nii.gz").exists()) and command(
            [*map(str, given), "--output", str(folder), *options]
        ):
            raise SystemExit(f"{folder}: the command failed")
        result, seen = (LoadVolume()(folder / f"{name}.nii.gz") for name in ("reconstruction", "seen"))
        grid = grid_of(result)
        if place is None:  # the same scan, and the same place, for all methods
            place, fit = place_of(result.as_tensor()[0], grid, vendor, there)
            _, upside_down = place_of(result.as_tensor()[0].flip(2), grid, vendor, there)
            print(f"moved by {np.round(place, 1)} mm (R A S); the gradients correlate by {fit:.2f}")
            if upside_down > fit:
                print(f"warning: by {upside_down:.2f} upside down: is the patient's position right (--position)?")
        at_images = moved(grid, place)
        share = regrid(seen.as_tensor(), at_images, there)[0]
        z = there.center[2] + (np.arange(there.shape[2]) - (there.shape[2] - 1) / 2) * there.spacing[2]
        inside = np.abs(z - at_images.center[2]) + thickness / 2 <= grid.shape[2] * grid.spacing[2] / 2
        chosen = np.flatnonzero(inside & ((share >= SEEN).float().mean((0, 1)) >= SEEN).numpy())
        if arguments.slices:
            chosen = chosen[max(0, (len(chosen) - arguments.slices) // 2) :][: arguments.slices]
        if not len(chosen):
            raise SystemExit(f"{arguments.images}: no slice of the images is among what the projections see")
        part = slice(int(chosen[0]), int(chosen[-1]) + 1)
        height = part.stop - part.start
        target = moved(Grid((*there.shape[:2], height), there.affine), [0, 0, part.start * there.spacing[2]])
        shown[method] = thick(result.as_tensor()[0], at_images, target, thickness)
        rows.append({"method": method, **compared(shown[method], vendor[..., part], grid.spacing)})
        rows[-1]["moved R A S mm"] = " ".join(f"{value:+.1f}" for value in place)
        print(rows[-1], flush=True)
    title = "reference: the scanner's own images, which are no truth"
    three_view_figure(shown, vendor[..., part], there.spacing, arguments.output / "beside_images.png", title=title)
    with (arguments.output / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (arguments.output / "table.md").write_text(markdown_table(rows) + "\n")


if __name__ == "__main__":
    main()
