# SPDX-License-Identifier: Apache-2.0
"""Raw data of clinical scanners as DICOM-CT-PD (Chen et al. 2015; manual version 3, 2020): a folder, one file a view.

That is what the public LDCT-and-Projection-data are in: helical scans, cylindrical detectors, flying focal spots.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from monai_iscs.dicom import check_pydicom, is_dicom
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.projections import POSITIONS
from monai_iscs.scans.readers.ct_pd_tags import (
    TAGS,
    ViewFile,
    is_projection,
    is_transposed,
    read_pixels,
    read_view,
)
from monai_iscs.scans.readers.naming import FileError, naming_file
from monai_iscs.scans.readers.options import Options
from monai_iscs.scans.readers.recording import Recording
from monai_iscs.scans.readers.stack import Stack

LOOKED_AT = 5  # files of a folder to tell what they are
SAME = ("shape", "rows", "columns", "stored_rows", "stored_columns", "pitch_u", "pitch_v", "to_detector", "central")
ALIKE = 1e-4  # relative difference of these from view to view
RADII = 1.0  # mm that the radius may differ from view to view
STEP = 0.5  # how far a view may be off the middle of its neighbours, in steps from view to view
STILL = 0.5  # mm, the same where the table stands still
NAMED = 5  # gaps in a message
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
    views = _of_one_series(path, [read_view(file) for file in sorted(path.iterdir()) if is_dicom(file)])
    notes = _gaps(views)
    _check_alike(views)
    _check_path(views)
    _check_numbers(views)
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


def _of_one_series(path: Path, views: list[ViewFile]) -> list[ViewFile]:
    """In the order of their instance numbers; refuses several series or spectra, and doubled numbers."""
    for name, of in (("series", "series"), ("spectra (tubes or energies)", "spectrum")):
        counted = Counter(getattr(view, of) for view in views)
        if len(counted) > 1:
            most = counted.most_common(1)[0][0]
            other = next(view for view in views if getattr(view, of) != most)
            raise FileError(
                other.path,
                f"found views of {len(counted)} {name} in {path}, this one not of the {counted[most]} most frequent "
                "ones, expected one scan in a folder",
            )
    views = sorted(views, key=lambda view: view.instance)
    for before, after in itertools.pairwise(views):
        if before.instance == after.instance:
            raise FileError(after.path, f"found instance {after.instance} in {before.path.name}, too, expected it once")
    return views


def _gaps(views: list[ViewFile]) -> list[str]:
    """A note of missing instance numbers."""
    number = np.array([view.instance for view in views])
    after = np.flatnonzero(np.diff(number) > 1)
    if not len(after):
        return []
    spans = [(number[i] + 1, number[i + 1] - 1) for i in after]
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans[:NAMED])
    missing = int(number[-1] - number[0] + 1 - len(number))
    return [
        f"found no view {named}{', ...' if len(spans) > NAMED else ''}: {missing} files are missing among {len(number)}"
    ]


def _check_alike(views: list[ViewFile]) -> None:
    """Raise an `InputError` where the detector differs from that of most views."""
    for name in SAME:
        values = [np.atleast_1d(view.values[name]) for view in views]
        if values[0].dtype.kind == "U":
            usual = np.array(Counter(value.item() for value in values).most_common(1)[0][0])
            off = np.array([value.item() != usual.item() for value in values])
        else:
            usual = np.median(values, axis=0)
            off = (np.abs(np.array(values) - usual) > ALIKE * np.abs(usual)).any(1)
        if off.any():
            raise FileError(
                views[int(off.argmax())].path,
                f"found {_text(values[off.argmax()])} as {TAGS[name]}, expected {_text(usual)} as in most other views",
            )


def _text(value: np.ndarray) -> str:
    return str(value.item()) if value.dtype.kind == "U" else ", ".join(f"{one:g}" for one in value)


def _check_path(views: list[ViewFile]) -> None:
    """Raise an `InputError` for a view that is not between its neighbours, on a path of the same radius."""
    angle, height, radius = (np.array([view.values[name] for view in views]) for name in ("angle", "height", "radius"))
    far = np.abs(radius - np.median(radius))
    if far.max() > RADII:
        worst = int(far.argmax())
        raise FileError(
            views[worst].path, f"found {radius[worst]:g} mm as {TAGS['radius']}, expected {np.median(radius):g}"
        )
    number = np.array([view.instance for view in views], np.float64)
    if len(views) < 5:
        return
    gap = np.diff(number)
    turned = np.angle(np.exp(1j * np.diff(angle)))
    usual = np.median(turned[gap == gap.min()] / gap.min())
    turned = usual * gap + np.angle(np.exp(1j * (np.diff(angle) - usual * gap)))
    for name, steps, least in (("angle", turned, 0.0), ("height", np.diff(height), STILL)):
        rate = steps / gap
        allowed = np.maximum(STEP * np.abs(np.median(rate)), least)
        off = np.abs(rate - np.median(rate)) * gap
        # a wrong view is off in both of its steps, at an end in its only one and not in the next
        inner = np.minimum(off[1:], off[:-1])
        both = np.concatenate([[off[0] - off[1]], inner, [off[-1] - off[-2]]])
        if (both > allowed).any():
            worst = int(both.argmax())
            found = views[worst].values[name]
            raise FileError(
                views[worst].path,
                f"found {found:g} as {TAGS[name]}, {both[worst]:.3g} off what the views before and after say, expected "
                f"at most {float(allowed):.3g}",
            )


def _check_numbers(views: list[ViewFile]) -> None:
    """Raise an `InputError` for pixels or a detector that nobody can use."""
    shape = views[0].values["shape"]
    if shape not in ("CYLINDRICAL", "FLAT"):
        raise FileError(views[0].path, f"found a detector that is {shape}, expected CYLINDRICAL or FLAT")
    for view in views:
        is_transposed(view)
        if view.values.get("logarithm", "YES") != "YES":
            raise FileError(
                view.path, f"found {view.values['logarithm']} as {TAGS['logarithm']}, expected YES: line integrals"
            )


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
