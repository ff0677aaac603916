# SPDX-License-Identifier: Apache-2.0
"""Our FDK compared with RTK's, on projections and geometries written by RTK.

    python benchmarks/fdk_against_rtk.py FOLDER [--output FILE]

FOLDER holds, for each scan NAME, `NAME.mha` (line integrals), `NAME.xml` (RTK's geometry) and `NAME_rtkfdk.mha` (RTK's
FDK with a Hann window), and `truth.mha`. Scans whose detector is tilted are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.etree import ElementTree

import itk
import numpy as np
import torch

from monai_iscs.classical import fdk
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.operators.geometry import VECTORS
from monai_iscs.scans import Measurement

TILTS = ("OutOfPlaneAngle", "InPlaneAngle")
TURNS = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # our x, y, z are RTK's z, x, y


def read_views(path: Path) -> list[dict[str, float]]:
    """The parameters of each view; a value holds for all views that follow."""
    current, views = {}, []
    for element in ElementTree.parse(path).getroot():
        inside = element if element.tag == "Projection" else [element]
        current = current | {item.tag: float(item.text) for item in inside if item.tag != "Matrix"}
        if element.tag == "Projection":
            views.append(current)
    return views


def to_geometry(views: list[dict[str, float]], image, detector_shape: tuple[int, int]) -> ConeBeamGeometry:
    """RTK rotates about its y axis; its detector's x and y are our u and v."""
    spacing, origin = np.array(image.GetSpacing())[:2], np.array(image.GetOrigin())[:2]
    middle = origin + spacing * (np.array(detector_shape[::-1]) - 1) / 2
    made = []
    for view in views:
        value = {name: view.get(name, 0.0) for name in (*TILTS, *("SourceOffsetX", "SourceOffsetY"))}
        if any(value[name] for name in TILTS):
            raise InputError("the detector is tilted")
        angle = np.radians(view["GantryAngle"])
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        near, far = view["SourceToIsocenterDistance"], view["SourceToDetectorDistance"]
        shift = [view.get(f"ProjectionOffset{axis}", 0.0) for axis in "XY"]
        local = (
            [value["SourceOffsetX"], value["SourceOffsetY"], near],
            [*(shift + middle), near - far],
            [spacing[0], 0, 0],
            [0, spacing[1], 0],
        )
        made.append([TURNS @ turn @ vector for vector in local])
    return ConeBeamGeometry(**dict(zip(VECTORS, np.stack(made, 1), strict=True)), detector_shape=detector_shape)


def read_scan(folder: Path, name: str) -> Measurement:
    """A scan's line integrals, for a volume on the grid of `truth.mha`."""
    image, truth = (itk.imread(str(folder / f"{file}.mha"), itk.F) for file in (name, "truth"))
    projections, volume = itk.array_from_image(image), itk.array_from_image(truth)
    geometry = to_geometry(read_views(folder / f"{name}.xml"), image, projections.shape[1:])
    x, y, z = np.array(truth.GetOrigin()) + np.array(truth.GetSpacing()) * (np.array(volume.shape[::-1]) - 1) / 2
    shape, spacing = (volume.shape[0], volume.shape[2], volume.shape[1]), np.array(truth.GetSpacing())[[2, 0, 1]]
    projector = ConeBeamProjector(geometry, Grid.centered(shape, spacing, center=(z, x, y)))
    return Measurement(torch.from_numpy(projections)[None], projector)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """Over the whole volume, in dB; the data range is the truth's."""
    return float(10 * np.log10(np.ptp(truth) ** 2 / ((found - truth) ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, help="markdown file")
    options = parser.parse_args()
    truth = itk.array_from_image(itk.imread(str(options.folder / "truth.mha"), itk.F))
    lines = [
        "# FDK against RTK's: PSNR in dB",
        "",
        "Over the whole volume; the range is the truth's max - min.",
        "",
        "| scan | FDK | RTK's | one from the other |",
        "|---|---|---|---|",
    ]
    for file in sorted(options.folder.glob("*_rtkfdk.mha")):
        name = file.name.removesuffix("_rtkfdk.mha")
        try:
            measurement = read_scan(options.folder, name)
        except InputError as error:
            lines.append(f"| {name} | left out: {error} | | |")
            continue
        found = fdk(measurement)[0].permute(0, 2, 1).numpy()
        rtk = itk.array_from_image(itk.imread(str(file), itk.F))
        lines.append(f"| {name} | {psnr(found, truth):.2f} | {psnr(rtk, truth):.2f} | {psnr(found, rtk):.2f} |")
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
