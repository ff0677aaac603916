# SPDX-License-Identifier: Apache-2.0
"""Reading of real projections, whatever scanner or program wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.beam_hardening import correct_beam_hardening
from monai_iscs.scans.projections import Projections, in_patient
from monai_iscs.scans.readers.counts import line_integrals
from monai_iscs.scans.readers.formats import geometry_name, open_recording
from monai_iscs.scans.readers.naming import naming_file
from monai_iscs.scans.readers.options import PATIENT, Images, Options
from monai_iscs.scans.readers.plausible import check_line_integrals
from monai_iscs.scans.readers.plausible_geometry import check_geometry
from monai_iscs.scans.readers.recording import Recording


def read_projections(
    path: str | PathLike[str],
    *,
    geometry: str | PathLike[str] | ConeBeamGeometry | None = None,
    kind: str | None = None,
    flat: Images | None = None,
    dark: Images | None = None,
    air: float | None = None,
    unit: str | float | None = None,
    detector_pitch: float | Sequence[float] | None = None,
    axis_column: float | None = None,
    every: int = 1,
    turns: Sequence[float] | None = None,
    rows: Sequence[int] | None = None,
    position: str | None = None,
    beam_hardening: Sequence[float] | None = None,
) -> Projections:
    """Read projections and the geometry that they were taken with.

    `docs/projections.md` lists the formats. Images are read one at a time, so that the memory that is needed is that of
    the result. What was mended or assumed is in the result's `notes`.

    Args:
        path: a file, a folder of numbered files, or a pattern such as `scan_*.tif`.
        geometry: file of the geometry where the images don't carry it, or the geometry itself. None: a file of the same
            name with the suffix .xml, or the images' own.
        kind: what the numbers are, "line-integrals", "transmission" (shares of the air's counts) or "counts". None: as
            the format says.
        flat: images without the object: a file, folder or pattern, several of them, or an array (rows, columns) or (n,
            rows, columns); they are averaged. None: those of the format.
        dark: images without X-rays, likewise; None: those of the format, or 0.
        air: counts of a ray that meets nothing, instead of `flat`.
        unit: of the lengths in a geometry that says none, "um", "mm", "cm" or "m", or one unit in mm.
        detector_pitch: pixel size at the detector in mm, or (along v, along u), where no file says it.
        axis_column: detector column (from 0, fractional) that the rotation axis is seen in, where parallel rays leave
            it open. None: found from opposite views.
        every: reads only each so many-th view, from the first one on.
        turns: (first, end) of the scan's turns, from 0, fractional: reads those views only, where the format has turns.
        rows: (first, end) of the detector's rows, from 0: uses those only, in raw data of clinical scanners.
        position: how the patient lay, see `Projections`; "RAS": the file's frame is the patient's. None: what
            DICOM says, "HFS" for files of RTK, Varian and Elekta, else "RAS".
        beam_hardening: coefficients of the polynomial water correction, see `correct_beam_hardening`; None: the line
            integrals stay as they are. It needs the result's memory twice.

    Raises:
        InputError: files that are missing, damaged, unknown or contradict each other; numbers that can't be what they
            are said to be; something that has to be said and isn't. One line, which names the file.
    """
    options = Options(
        geometry=geometry,
        kind=kind,
        flat=flat,
        dark=dark,
        air=air,
        unit=unit,
        detector_pitch=detector_pitch,
        axis_column=axis_column,
        every=every,
        turns=turns,
        rows=rows,
        position=position,
        beam_hardening=beam_hardening,
    )
    return read_with(path, options)


def read_with(path: str | PathLike[str], options: Options) -> Projections:
    """`read_projections`, with its options in one piece."""
    return open_with(path, options).read()


def open_with(path: str | PathLike[str], options: Options) -> OpenProjections:
    """The same, but for the pixels.

    Raises:
        InputError: as `read_projections`, as far as no pixels are needed for it.
    """
    path = Path(path).expanduser()
    with naming_file(path):
        recording = open_recording(path, options).checked().told(options)
        with naming_file(geometry_name(path, options)):
            strange = check_geometry(recording.geometry, parallel=recording.parallel)
        views = recording.geometry.views
        if options.every >= views > 1:
            raise InputError(f"every: found {options.every} with {views} views, expected fewer than there are")
        return OpenProjections(
            path=path, options=options, recording=recording, views=range(0, views, options.every), strange=strange
        )


@dataclass(frozen=True, kw_only=True)
class OpenProjections:
    """Projections whose files are known, and whose pixels are read when they are asked for.

    Attributes:
        path: of the files.
        options: of `read_projections`.
        recording: what the files hold.
        views: those of the recording that are used, rising.
        strange: what looks odd in the geometry, for the user.
    """

    path: Path
    options: Options
    recording: Recording
    views: Sequence[int]
    strange: list[str]

    def only(self, chosen: Sequence[int]) -> OpenProjections:
        """Some of these views, by rising indices among them."""
        return replace(self, views=[self.views[index] for index in chosen])

    @property
    def geometry(self) -> ConeBeamGeometry:
        """Of the views, in the patient's frame, RAS."""
        return in_patient(self.recording.geometry.chosen(np.asarray(self.views)), self._position)

    @property
    def _position(self) -> str | None:
        position = self.options.position or self.recording.position
        return None if position == PATIENT else position

    def read(self) -> Projections:
        """Read the views' pixels.

        Raises:
            InputError: as `read_projections`.
        """
        recording, options = self.recording, self.options
        with naming_file(self.path):
            data, weights, notes, kept = line_integrals(recording, self.views)
            notes += self.strange + check_line_integrals(data, sure=options.kind == "line-integrals")
            if options.beam_hardening is not None:
                data = correct_beam_hardening(data, options.beam_hardening)
            return Projections(
                data=data,
                geometry=recording.geometry.chosen(kept),
                weights=weights,
                position=self._position,
                water=recording.water,
                notes=(*recording.notes, *notes),
            )
