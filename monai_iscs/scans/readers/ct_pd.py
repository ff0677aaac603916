# SPDX-License-Identifier: Apache-2.0
"""Raw data of clinical scanners as DICOM-CT-PD (Chen et al. 2015; manual version 3, 2020): a folder, one file a view.

That is what the public LDCT-and-Projection-data are in: helical scans, cylindrical detectors, flying focal spots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from monai_iscs.dicom import check_pydicom, is_dicom
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.projections import POSITIONS
from monai_iscs.scans.readers.ct_pd_checks import check_views, one_scan
from monai_iscs.scans.readers.ct_pd_tags import TAGS, ViewFile, is_projection, read_pixels, read_view
from monai_iscs.scans.readers.naming import naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack

LOOKED_AT = 5  # files of a folder to tell what they are
TO_OURS = (1, 0, 2)  # x and y of the format, right and up seen from the table, are our y and x


def holds_ct_pd(path: Path) -> bool:
    """Whether a folder holds views of DICOM-CT-PD."""
    if not path.is_dir():
        return False
    files = [file for file in sorted(path.iterdir()) if is_dicom(file)][:LOOKED_AT]
    if not files:
        return False
    try:
        check_pydicom()
    except InputError:
        return False  # whoever reads DICOM says what is missing
    import pydicom

    for file in files:
        try:
            if is_projection(pydicom.dcmread(file, stop_before_pixels=True)):
                return True
        except Exception:
            continue
    return False


def read_ct_pd(path: Path, options: Options) -> Recording:
    """A folder of views; each view's place is what its own file says.

    Raises:
        InputError: damaged, foreign, doubled or contradicting files, a detector that is no cylinder about its focus and
            not flat, views of several spectra, numbers without a logarithm, or a patient's position that nobody says.
    """
    options.refuse("geometry", "flat", "dark", "air", "kind", because="the files have line integrals and their rays")
    files = sorted(file for file in path.iterdir() if is_dicom(file) or (file.is_symlink() and not file.exists()))
    views, notes = one_scan(path, [read_view(file) for file in files])
    check_views(views)
    views = _turns(views, options)
    rows, columns = (int(views[0].values[name]) for name in ("rows", "columns"))
    low, high = options.rows or (0, rows)
    if high > rows:
        raise InputError(f"rows: found {low}:{high}, expected at most {rows}, the detector's")
    geometry = ct_pd_geometry(views).binned((low, 0), (high - low, columns), (1, 1))

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield read_pixels(views[index])[low:high]

    position = _position(path, views, options)
    shape = views[0].values["shape"].lower()
    turns = views[0].values.get("views_a_turn")
    about = f"{len(views)} views, {turns:.0f} a turn" if turns else f"{len(views)} views"
    return Recording(
        stack=Stack(path=path, shape=(len(views), high - low, columns), dtype=np.dtype(np.float32), frames=frames),
        geometry=geometry,
        kind="line-integrals",
        final=True,
        position=position,
        water=views[0].values.get("water"),
        notes=(f"found DICOM-CT-PD: {about}, a {shape} detector", *notes),
    )


def ct_pd_geometry(views: Sequence[ViewFile]) -> ConeBeamGeometry:
    """The rays of views, in the scanner's frame that `POSITIONS` explains.

    The format's x and y are seen from the table: phi = 0 is up and grows counter-clockwise. The detector is opposite
    the focal centre, and curved about it; a flying focal spot moves the source alone.
    """
    got = {name: np.array([view.values[name] for view in views]) for name in TAGS if name in views[0].values}
    rows, columns = int(got["rows"][0]), int(got["columns"][0])

    def cylinder(radius: np.ndarray, angle: np.ndarray, height: np.ndarray) -> np.ndarray:
        return np.stack([-radius * np.sin(angle), radius * np.cos(angle), height], 1)[:, TO_OURS]

    zero, one = np.zeros(len(views)), np.ones(len(views))
    focus = cylinder(got["radius"], got["angle"], got["height"])
    source = cylinder(
        got["radius"] + got["radius_shift"], got["angle"] + got["angle_shift"], got["height"] + got["height_shift"]
    )
    inward = -cylinder(one, got["angle"], zero)
    across = np.stack([np.cos(got["angle"]), np.sin(got["angle"]), zero], 1)[:, TO_OURS]
    along_v = -got["pitch_v"][:, None] * np.array([0.0, 0.0, 1.0])
    central_column, central_row = got["central"].T
    lift = ((rows + 1) / 2 - central_row)[:, None] * along_v  # from the central element to the detector's middle
    central = ConeBeamGeometry(
        source=source,
        detector=focus + got["to_detector"][:, None] * inward + lift,
        u=got["pitch_u"][:, None] * across,
        v=along_v,
        detector_shape=(rows, 1),
        curved_about=focus + lift if got["shape"][0] == "CYLINDRICAL" else None,
    )
    # the same offset in all views: `central` is one of the values that are
    first = (columns + 1) / 2 - central_column[0]
    return replace(central.binned((0, first), (rows, 1), (1, 1)), detector_shape=(rows, columns))


def _turns(views: list[ViewFile], options: Options) -> list[ViewFile]:
    """The views of some turns."""
    if options.turns is None:
        return views
    around = views[0].values.get("views_a_turn")
    if around is None:
        raise InputError(f"turns: found {options.turns}, but no {TAGS['views_a_turn']} in the files, expected one")
    low, high = options.turns
    chosen = [view for view in views if low <= (view.instance - views[0].instance) / around < high]
    if len(chosen) < 2:
        turns = (views[-1].instance - views[0].instance + 1) / around
        raise InputError(f"turns: found {low:g}:{high:g} of a scan of {turns:.2f} turns, expected some of those")
    return chosen


def _position(path: Path, views: list[ViewFile], options: Options) -> str | None:
    if options.position is not None:
        return None
    found = Counter(view.position for view in views)
    position = views[0].position
    if len(found) > 1 or position not in POSITIONS:
        what = " and ".join(sorted(map(str, found)))
        with naming_file(path):
            raise InputError(
                f"found {what} as (0018,5100) PatientPosition, expected {', '.join(POSITIONS)}, or a given position"
            )
    return position
