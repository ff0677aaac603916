# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs prepare``: a folder for training from a public data set."""

from __future__ import annotations

from argparse import Namespace

from monai_iscs.datasets.archives import ARCHIVES
from monai_iscs.datasets.preparing import LICENCE, MANIFEST, find_volumes, prepare_volumes
from monai_iscs.reports import RunFolder


def prepare(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used.
    """
    archive = ARCHIVES[arguments.dataset]
    with RunFolder(arguments.output, inputs=[arguments.folder]) as folder:
        volumes = find_volumes(archive, arguments.folder)
        print(archive.terms(), flush=True)
        counts = prepare_volumes(archive, volumes, folder.path, skip_unusable=arguments.skip_unusable)
    there = ", ".join(f"{split} {count}" for split, count in sorted(counts.items()))
    print(f"{folder.path.resolve()}: volumes ({there}), {MANIFEST}, {LICENCE}")
