# SPDX-License-Identifier: Apache-2.0
"""FDK beside RTK's own, on projections that RTK made and with the geometry that it wrote.

    python benchmarks/fdk_against_rtk.py FOLDER [--output FILE]

FOLDER holds, for each scan NAME, `NAME.mha` (line integrals), `NAME.xml` (RTK's geometry) and `NAME_rtkfdk.mha` (RTK's
FDK with a Hann window), and `truth.mha`. Scans whose detector is tilted are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import itk
import numpy as np
import torch

from monai_iscs.classical import fdk
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.operators.geometry import ViewVectors

TILTS = ("OutOfPlaneAngle", "InPlaneAngle")
TURNS = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # our x, y, z are RTK's z, x, y


@dataclass(frozen=True, kw_only=True)
class MeasuredGeometry(ConeBeamGeometry):
    """Source and detector of each view as they were written."""

    vectors: ViewVectors

    def view_vectors(self) -> ViewVectors:
        return self.vectors


def read_views(path: Path) -> list[dict[str, float]]:
    """The parameters of each view; a value holds for all views that follow."""
    current, views = {}, []
    for element in ElementTree.parse(path).getroot():
        inside = element if element.tag == "Projection" else [element]
        current = current | {item.tag: float(item.text) for item in inside if item.tag != "Matrix"}
        if element.tag == "Projection":
            views.append(current)
    return views


def to_vectors(views: list[dict[str, float]], image, detector_shape: tuple[int, int]) -> ViewVectors:
    """RTK turns about its y axis; its detector's x and y are our u and v."""
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
    return ViewVectors(*np.stack(made, 1))


def read_scan(folder: Path, name: str) -> tuple[torch.Tensor, MeasuredGeometry]:
    """Line integrals and geometry of a scan, on the grid of `truth.mha`."""
    image, truth = (itk.imread(str(folder / f"{file}.mha"), itk.F) for file in (name, "truth"))
    projections, volume = itk.array_from_image(image), itk.array_from_image(truth)
    views = read_views(folder / f"{name}.xml")
    x, y, z = np.array(truth.GetOrigin()) + np.array(truth.GetSpacing()) * (np.array(volume.shape[::-1]) - 1) / 2
    geometry = MeasuredGeometry(
        volume_shape=(volume.shape[0], volume.shape[2], volume.shape[1]),
        voxel_spacing=tuple(np.array(truth.GetSpacing())[[2, 0, 1]]),
        volume_offset=(z, x, y),
        source_to_isocenter=views[0]["SourceToIsocenterDistance"],
        source_to_detector=views[0]["SourceToDetectorDistance"],
        angles=tuple(np.radians([view["GantryAngle"] for view in views])),
        detector_shape=projections.shape[1:],
        detector_pitch=tuple(np.array(image.GetSpacing())[[1, 0]]),
        vectors=to_vectors(views, image, projections.shape[1:]),
    )
    return torch.from_numpy(projections), geometry


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """Over the volume, in dB; the range is the truth's."""
    return float(10 * np.log10(np.ptp(truth) ** 2 / ((found - truth) ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, help="markdown file")
    options = parser.parse_args()
    truth = itk.array_from_image(itk.imread(str(options.folder / "truth.mha"), itk.F))
    lines = ["# FDK against RTK's: PSNR in dB", "", "| scan | FDK | RTK's | one from the other |", "|---|---|---|---|"]
    for file in sorted(options.folder.glob("*_rtkfdk.mha")):
        name = file.name.removesuffix("_rtkfdk.mha")
        try:
            projections, geometry = read_scan(options.folder, name)
        except InputError as error:
            lines.append(f"| {name} | left out: {error} | | |")
            continue
        found = fdk(projections, geometry).permute(0, 2, 1).numpy()
        rtk = itk.array_from_image(itk.imread(str(file), itk.F))
        lines.append(f"| {name} | {psnr(found, truth):.2f} | {psnr(rtk, truth):.2f} | {psnr(found, rtk):.2f} |")
    text = "\n".join(lines) + "\n"
    if options.output:
        options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
