# SPDX-License-Identifier: Apache-2.0
"""CT of AbdomenAtlas: a folder for each case."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from pathlib import Path

from monai_iscs.datasets.volumes import ArchivedVolume, by_patient, refuse_other, split_by_hash, tell_left_out
from monai_iscs.transforms.load import LoadVolume

VOLUME = "ct.nii.gz"
_CASE = re.compile(r"BDMAP_\d{8}")
_DEPTHS = ("BDMAP_*", "*/BDMAP_*", "*/*/BDMAP_*")  # patterns, which follow links, and do not look at all masks


def find_abdomen_atlas(folder: Path) -> list[ArchivedVolume]:
    """The volumes of AbdomenAtlas: ``BDMAP_00000001/ct.nii.gz``; masks are not read.

    The archive does not say which cases are of one patient, and has no split: a tenth of the cases, by hash, is in val.

    Args:
        folder: with the folders of the cases, or up to two levels above them.

    Raises:
        InputError: another data set, a case that is there twice, or fewer than two cases.
    """
    cases = [case for depth in _DEPTHS for case in sorted(folder.glob(depth)) if _CASE.fullmatch(case.name)]
    cases = [case for case in cases if case.is_dir()]
    without = Counter(f"case without {VOLUME}" for case in cases if not (case / VOLUME).is_file())
    kept = by_patient([(case.name, case / VOLUME) for case in cases if (case / VOLUME).is_file()])
    if not kept:
        raise refuse_other(folder, without, f"a folder for each case, as BDMAP_00000001/{VOLUME}")
    splits = split_by_hash(folder, kept)
    tell_left_out(folder, without, f"{len(kept)} cases")
    return [
        ArchivedVolume(case, case, splits[case], file.relative_to(folder).as_posix(), partial(LoadVolume(), file))
        for case, file in kept.items()
    ]
