# SPDX-License-Identifier: Apache-2.0
"""From an archive to a folder that ``train`` takes: one NIfTI file for each volume, a manifest and the licence."""

from __future__ import annotations

import csv
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Orientation
from tqdm import tqdm

from monai_iscs.datasets.abdomen_atlas import find_abdomen_atlas
from monai_iscs.datasets.archives import Archive
from monai_iscs.datasets.deep_lesion import find_deep_lesion
from monai_iscs.datasets.ixi import find_ixi
from monai_iscs.datasets.mayo import find_grand_challenge, find_ldct
from monai_iscs.datasets.volumes import SPLITS, TRAIN, VAL, ArchivedVolume
from monai_iscs.dicom import is_hidden
from monai_iscs.errors import InputError, InputWarning, OutputError
from monai_iscs.files import staged, telling
from monai_iscs.reports import write_csv, write_json, write_volume
from monai_iscs.scans.meta import image_name
from monai_iscs.transforms.checks import CheckCTVolume, CheckMRVolume
from monai_iscs.transforms.fit import is_square

RECORD, MANIFEST, LICENCE = "prepare.json", "manifest.csv", "LICENSE.txt"
_FINDERS = {
    "aapm-2016": find_grand_challenge,
    "ldct": find_ldct,
    "ixi": find_ixi,
    "deep-lesion": find_deep_lesion,
    "abdomen-atlas": find_abdomen_atlas,
}


def find_volumes(archive: Archive, folder: Path) -> list[ArchivedVolume]:
    """The volumes of an archive and their split; no pixel is read.

    Args:
        archive: the data set.
        folder: as it was downloaded.

    Raises:
        InputError: the folder does not hold this data set, or nobody for train or val.
    """
    if not folder.is_dir() and archive.name != "ixi":
        raise InputError(f"{folder}: found a file, expected a folder with the data set")
    volumes = _FINDERS[archive.name](folder)
    _check_splits(folder, Counter(volume.split for volume in volumes))
    return volumes


def prepare_volumes(
    archive: Archive, volumes: Sequence[ArchivedVolume], output: Path, *, skip_unusable: bool = False
) -> Counter[str]:
    """Writes volumes to the folders train, val and test, and then ``manifest.csv`` and ``LICENSE.txt``.

    Every volume appears complete or not at all; those of an earlier run that was stopped are kept. HU and signals that
    are whole numbers are written as int16, others as float32.

    Args:
        archive: the data set.
        volumes: as `find_volumes` gave them.
        output: an existing folder, which no other run writes to.
        skip_unusable: leave out a volume that cannot be used, with an `InputWarning`, instead of stopping there.

    Returns:
        How many volumes each split has, those of earlier runs included.

    Raises:
        InputError: the folder holds something else, or a volume cannot be used.
    """
    earlier = _check_output(archive, volumes, output)
    rows = {row["file"]: row for row in earlier}
    with tqdm(total=len(volumes), unit="volume") as bar:
        for volume in volumes:
            file = output / _file(volume)
            bar.set_description(volume.name)
            try:
                if not file.exists():
                    _write(archive, _checked(archive, volume), file)
            except OutputError:
                raise
            except InputError as error:
                if not skip_unusable:
                    raise
                warnings.warn(f"left out: {error}", InputWarning, stacklevel=2)
            else:
                rows[_file(volume)] = _row(archive, volume)
            bar.update()
    counts = Counter(row["split"] for row in rows.values())
    _check_splits(output, counts)
    with staged(output, last=MANIFEST, replaces=(MANIFEST, LICENCE)) as stage:
        write_csv(stage / MANIFEST, [rows[file] for file in sorted(rows)])
        (stage / LICENCE).write_text(archive.terms(), encoding="utf-8")
    return counts


def _check_splits(folder: Path, counts: Mapping[str, int]) -> None:
    for split in (TRAIN, VAL):
        if not counts.get(split):
            found = ", ".join(f"{count} for {name}" for name, count in sorted(counts.items())) or "no volumes"
            raise InputError(f"{folder}: found {found}, expected volumes of some patients for {split} too")


def _file(volume: ArchivedVolume) -> str:
    return f"{volume.split}/{volume.name}.nii.gz"


def _row(archive: Archive, volume: ArchivedVolume) -> dict[str, str]:
    """A row of the manifest."""
    return {
        "file": _file(volume),
        "patient": volume.patient,
        "split": volume.split,
        "source": volume.source,
        "dataset": archive.title,
        "licence": archive.licence,
        "doi": archive.doi,
    }


def _check_output(archive: Archive, volumes: Sequence[ArchivedVolume], output: Path) -> list[dict[str, str]]:
    """The manifest of an earlier run of the same data set, if the folder holds nothing else."""
    there = sorted(path.name for path in output.iterdir() if not is_hidden(path))
    if not there:
        return []
    try:
        earlier = json.loads((output / RECORD).read_text())["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{output}: found files of something else ({', '.join(there[:3])}), expected a new folder, or one of an "
            "earlier run of prepare"
        ) from None
    if earlier != archive.name:
        raise InputError(f"{output}: found volumes of {earlier}, expected those of {archive.name} or a new folder")
    rows = list(_manifest(output))
    planned = {volume.patient: volume.split for volume in volumes}
    for row in rows:
        if planned.get(row["patient"], row["split"]) != row["split"]:
            raise InputError(
                f"{output / MANIFEST}: found patient {row['patient']} in {row['split']}, expected "
                f"{planned[row['patient']]} as now: choose a new folder"
            )
    known = {*(row["file"] for row in rows), *(_file(volume) for volume in volumes)}
    for path in (path for split in SPLITS for path in sorted((output / split).glob("*")) if not is_hidden(path)):
        if path.relative_to(output).as_posix() not in known:
            raise InputError(f"{path}: found a file that is not one of the volumes to prepare, expected it elsewhere")
    return rows


def _manifest(output: Path) -> Iterator[dict[str, str]]:
    """The rows of an earlier manifest whose files are still there."""
    if (output / MANIFEST).is_file():
        with (output / MANIFEST).open(newline="", encoding="utf-8") as lines:
            yield from (row for row in csv.DictReader(lines) if (output / row["file"]).is_file())


def _checked(archive: Archive, volume: ArchivedVolume) -> MetaTensor:
    """A volume that the bundles' training takes."""
    image = volume.load()
    if archive.modality == "MR":
        return CheckMRVolume()(image)
    image = CheckCTVolume()(image)
    width, height, _ = affine_to_spacing(Orientation(axcodes="RAS", labels=None)(image).affine).tolist()
    if not is_square([width, height]):
        found = f"pixels of {width:.3g} x {height:.3g} mm in its axial slices"
        raise InputError(f"{image_name(image)}: found {found}, expected square ones")
    return image


def _write(archive: Archive, image: MetaTensor, file: Path) -> None:
    """One volume, and before the first one the record that says whose folder this is."""
    output = file.parents[1]
    if not (output / RECORD).exists():
        with staged(output) as stage:
            write_json(stage / RECORD, {"dataset": archive.name})
    fits = -(2**15) <= float(image.min()) <= float(image.max()) < 2**15
    whole = fits and bool((image == image.round()).all())
    with telling(output):
        file.parent.mkdir(exist_ok=True)
    with staged(file.parent) as stage:
        write_volume(stage / file.name, image, dtype=np.int16 if whole else np.float32)
