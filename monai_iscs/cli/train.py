# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs train``: the model of a bundle, on your own volumes."""

from __future__ import annotations

from argparse import Namespace
from importlib.util import find_spec

import ignite.distributed as idist

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder
from monai_iscs.workflows.device import joined
from monai_iscs.workflows.training import CHECKPOINT, WEIGHTS, train_model


def train(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used.
    """
    if find_spec("tensorboard") is None:
        raise InputError("tensorboard: found no such package, expected it for the curves: pip install tensorboard")
    splits = [arguments.dataset / name for name in ("train", "val")]
    with joined(arguments.device), RunFolder(arguments.output, inputs=splits) as folder:
        idist.barrier()  # the first process has repaired what a killed run left
        train_model(
            arguments.bundle,
            arguments.dataset,
            folder,
            device=arguments.device,
            epochs=arguments.epochs,
            initial_weights=arguments.initial_weights,
            resume=arguments.resume,
            over=arguments.config,
        )
        if idist.get_rank() == 0:
            files = f"{WEIGHTS} (weights for the models folder of the bundle), {CHECKPOINT}, TensorBoard curves"
            print(f"{folder.path.resolve()}: {files}")
