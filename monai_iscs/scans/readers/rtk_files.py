# SPDX-License-Identifier: Apache-2.0
"""Files of Varian, Elekta and others, which ITK-RTK reads (Apache-2.0; the extra `[rtk]`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.naming import missing_package, naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.rtk_xml import ROOT, read_rtk_xml, rtk_geometry
from monai_iscs.scans.readers.stack import Stack, list_files

SUFFIXES = (".xim", ".hnd", ".hnc", ".his", ".edf", ".header")


def read_rtk_files(path: Path, options: Options) -> Recording:
    """One file a view, with RTK's XML or the scanner's own as `geometry`.

    RTK turns counts into line integrals, with the air value that it knows of each scanner; `air` overrides it.
    """
    try:
        from itk import RTK as rtk  # noqa: N811 - a module
    except ImportError:
        raise missing_package("itk-rtk", "rtk") from None
    options.refuse("flat", "dark", "kind", because="RTK turns these files into line integrals itself")
    files = list_files(path, SUFFIXES)
    stack = _stack(rtk, path, files, options.air)
    file = options.geometry_file
    if file is None and files[0].suffix.lower() != ".header":
        raise InputError("found no geometry, expected a geometry: RTK's XML, or the scanner's own")
    if file is not None and _root(file) == ROOT:
        parameters, notes = read_rtk_xml(file)
    else:
        with tempfile.TemporaryDirectory() as folder, naming_file(file or path):
            converted = Path(folder, "geometry.xml")
            _convert_geometry(rtk, files, file, converted)
            parameters, notes = read_rtk_xml(converted)
    air = "the scanner's air value that RTK knows" if options.air is None else f"{options.air:g} counts in air"
    return Recording(
        stack=stack,
        geometry=rtk_geometry(parameters, stack, file or path),
        kind="line-integrals",
        final=True,
        position="HFS",
        notes=(*notes, f"RTK turned the counts into line integrals, with {air}"),
    )


def _root(file: Path) -> str:
    with naming_file(file):
        return ElementTree.parse(file).getroot().tag


def _stack(rtk: Any, path: Path, files: Sequence[Path], air: float | None) -> Stack:
    import itk

    def opened(names: Sequence[Path]) -> Any:
        reader = rtk.ProjectionsReader[itk.Image[itk.F, 3]].New(FileNames=[str(name) for name in names])
        if air is not None:
            reader.SetI0(air)
        return reader

    with naming_file(files[0]):
        reader = opened(files)
        reader.UpdateOutputInformation()
        image = reader.GetOutput()
        region = image.GetLargestPossibleRegion()
        columns, rows, views = map(int, region.GetSize())
        spacing, first = image.GetSpacing(), image.TransformIndexToPhysicalPoint(region.GetIndex())

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        if len(files) == 1:
            whole = _pixels(itk, opened(files))
            yield from (whole[index] for index in indices)
            return
        for index in indices:
            with naming_file(files[index]):
                yield _pixels(itk, opened([files[index]]))[0]

    return Stack(
        path=path,
        shape=(views, rows, columns),
        dtype=np.dtype(np.float32),
        frames=frames,
        pitch=(float(spacing[1]), float(spacing[0])),
        origin=(float(first[1]), float(first[0])),
    )


def _pixels(itk: Any, reader: Any) -> np.ndarray:
    reader.Update()
    return itk.array_from_image(reader.GetOutput())


def _convert_geometry(rtk: Any, files: Sequence[Path], file: Path | None, target: Path) -> None:
    """Write a scanner's own geometry as RTK's XML."""
    suffix = files[0].suffix.lower()
    kinds = {
        ".hnd": "VarianObiGeometryReader",
        ".hnc": "VarianObiGeometryReader",
        ".xim": "VarianProBeamGeometryReader",
        ".his": "ElektaXVI5GeometryXMLFileReader",
        ".header": "XRadGeometryReader",
    }
    if suffix not in kinds:
        raise InputError(f"found a geometry that is not RTK's, expected <{ROOT}> for {suffix}")
    reader = getattr(rtk, kinds[suffix]).New()
    if suffix == ".his":
        reader.SetFilename(str(file))
        reader.GenerateOutputInformation()
    elif suffix == ".header":
        reader.SetImageFileName(str(files[0]))
        reader.UpdateOutputData()
    else:
        reader.SetXMLFileName(str(file))
        reader.SetProjectionsFileNames([str(name) for name in files])
        reader.UpdateOutputData()
    writer = rtk.ThreeDCircularProjectionGeometryXMLFileWriter.New()
    writer.SetObject(reader.GetOutputObject() if suffix == ".his" else reader.GetGeometry())
    writer.SetFilename(str(target))
    writer.WriteFile()  # while the reader lives, which owns the geometry
