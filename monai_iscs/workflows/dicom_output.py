# SPDX-License-Identifier: Apache-2.0
"""The DICOM series beside a reconstruction."""

from __future__ import annotations

from pathlib import Path

from monai.data import MetaTensor

from monai_iscs.dicom import is_dicom
from monai_iscs.errors import InputError
from monai_iscs.reports import check_dicom_output, write_dicom_series
from monai_iscs.workflows.sampler import Sampler

FOLDER = "dicom"  # in the folder of the run


class DicomOutput:
    """What ``--dicom`` asks for, checked before the long work.

    Args:
        path: what the run reads; the new series refers to it where it is DICOM.
        unit: of the bundle's results.
        anonymous: whether nothing of the source may show.

    Raises:
        InputError: the unit is not HU, pydicom is missing, or `path` is DICOM of which no series can be made.
    """

    def __init__(self, path: Path | None, *, unit: str, anonymous: bool = False) -> None:
        if unit != "HU":
            raise InputError(f"--dicom: found a bundle whose results are in {unit!r}, expected one of CT, in HU")
        self.source = path if path is not None and (path.is_dir() or is_dicom(path)) else None
        self.anonymous = anonymous
        check_dicom_output(self.source, anonymous=anonymous)

    def write(self, volume: MetaTensor, stage: Path, *, method: str, sampler: Sampler | None, simulated: bool) -> None:
        """Write the series.

        Args:
            volume: (1, X, Y, Z) HU.
            stage: the folder of the run's new results.
            method: name of the method.
            sampler: of a diffusion sampler.
            simulated: whether the scan was simulated from a volume.
        """
        made = method
        if sampler is not None:
            changed = ", changed" if sampler.replaced else ""
            of_samples = f", {sampler.result}" if sampler.samples > 1 else ""
            made = f"recipe {sampler.name}{changed} ({method}, {sampler.steps} steps{of_samples})"
        write_dicom_series(
            volume,
            stage / FOLDER,
            source=self.source,
            description=f"{made} from a simulated scan" if simulated else made,
            series_description=method,
            anonymous=self.anonymous,
        )
