# SPDX-License-Identifier: Apache-2.0
"""The training of a bundle's model on a folder of volumes, new or resumed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from monai_iscs.errors import InputError
from monai_iscs.files import telling
from monai_iscs.reports import RunFolder
from monai_iscs.workflows.bundle import check_origin, read_config
from monai_iscs.workflows.config import BundleConfig
from monai_iscs.workflows.device import choose_device

CHECKPOINT, WEIGHTS = "last.pt", "model.pt"  # of the bundles' train configs


def train_model(
    bundle: Path,
    dataset: Path,
    folder: RunFolder,
    *,
    device: str | None = None,
    epochs: int | None = None,
    initial_weights: Path | None = None,
    resume: bool = False,
    over: Sequence[str] = (),
) -> None:
    """Trains the model of a bundle with its ``configs/train.json``; several processes share the work.

    Args:
        bundle: its folder.
        dataset: folder with the folders train and val.
        folder: for weights, checkpoints and curves; no other run writes to it.
        device: name of the device, or None for the best.
        epochs: passes over the data; None: the bundle's, or those planned for the training to resume.
        initial_weights: file of weights to start from, or None.
        resume: go on from the folder's last complete epoch.
        over: names of the bundle's configs that override entries of ``train.json``.

    Raises:
        InputError: the folder has an earlier training, or lacks the one to resume; or a part of the bundle, a volume or
            a file of weights cannot be used.
    """
    if resume:
        planned = _planned_epochs(folder.path / CHECKPOINT)
        epochs = planned if epochs is None else epochs
    else:
        _refuse_earlier(folder.path)
    _refuse_own_weights(initial_weights, folder.path)
    if initial_weights is not None:
        check_origin(initial_weights, bundle)
    overrides = {
        "device": choose_device(device),
        "dataset_dir": str(dataset),
        "output_dir": str(folder.path),
        "epochs": epochs,
        "initial_weights": None if initial_weights is None else str(initial_weights),
    }
    config = read_config(
        bundle,
        "train",
        {key: value for key, value in overrides.items() if value is not None},
        over=over,
    )
    _run(config, folder)


def _run(config: BundleConfig, folder: RunFolder) -> None:
    """Runs the config's trainer under a progress bar that shows the last validation."""
    # first, as it sets the seed for making the trainer
    for index in range(len(config.get_parsed_content("initialize"))):
        config.get_parsed_content(f"initialize::{index}")
    trainer = config.get_parsed_content("train::trainer")
    validator = config.get_parsed_content("validate::evaluator")
    # the weights, their averages and Adam's two moments of each
    folder.expect(size=4 * sum(weight.nbytes for weight in trainer.network.parameters()))
    total, hidden = trainer.state.max_epochs * trainer.state.epoch_length, idist.get_rank() > 0
    with tqdm(total=total, unit="step", disable=hidden) as bar:

        def show(engine: Engine) -> None:
            bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)
            bar.update(engine.state.iteration - bar.n)

        def show_validation(engine: Engine) -> None:
            bar.set_postfix_str(f"validation {engine.state.metrics[engine.state.key_metric_name]:.2f} dB")

        trainer.add_event_handler(Events.ITERATION_COMPLETED, show)
        validator.add_event_handler(Events.COMPLETED, show_validation)
        with telling(folder.path), config.blamed("train::trainer"):
            trainer.run()


def _refuse_earlier(output: Path) -> None:
    """Keep an earlier training in the folder, or a file of the user."""
    if (output / CHECKPOINT).exists():
        raise InputError(
            f"{output}: found an earlier training, expected --resume to go on with it, or another --output"
        )
    if os.path.lexists(output / WEIGHTS):
        raise InputError(f"{output / WEIGHTS}: found weights of something else, expected another --output")


def _refuse_own_weights(weights: Path | None, output: Path) -> None:
    for file in (output / CHECKPOINT, output / WEIGHTS):
        if weights is not None and file.exists() and file.samefile(weights):
            raise InputError(f"--initial-weights: found {weights}, which this training overwrites; expected a copy")


def _planned_epochs(file: Path) -> int:
    """The planned number of epochs of an interrupted training."""
    if not file.is_file():
        raise InputError(f"--resume: found no {file}, expected the --output of an earlier training")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)["trainer"]["max_epochs"]
    except Exception as error:
        raise InputError(f"{file}: found a damaged or another file, expected the checkpoint of a training") from error
