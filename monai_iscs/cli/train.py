# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs train``: the model of a bundle, on your own volumes."""

from __future__ import annotations

import os
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from monai_iscs.errors import InputError
from monai_iscs.files import telling
from monai_iscs.reports import RunFolder
from monai_iscs.workflows.bundle import check_origin, choose_device, read_config

CHECKPOINT, WEIGHTS = "last.pt", "model.pt"  # of the bundles' train configs


def train(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    if find_spec("tensorboard") is None:
        raise InputError("training draws its curves with TensorBoard, which is not installed: pip install tensorboard")
    splits = [arguments.dataset / name for name in ("train", "val")]
    with RunFolder(arguments.output, inputs=splits) as folder:
        idist.barrier()  # the first process has mended what a killed run left
        _train(arguments, folder)


def _train(arguments: Namespace, folder: RunFolder) -> None:
    """Trains in a folder that no other run writes to."""
    output, epochs = folder.path, arguments.epochs
    if arguments.resume:
        planned = _planned_epochs(output / CHECKPOINT)
        epochs = planned if epochs is None else epochs
    else:
        _refuse_earlier(output)
    _refuse_own_weights(arguments.initial_weights, output)
    if arguments.initial_weights is not None:
        check_origin(arguments.initial_weights, arguments.bundle)
    overrides = {
        "device": choose_device(arguments.device),
        "dataset_dir": str(arguments.dataset),
        "output_dir": str(output),
        "epochs": epochs,
        "initial_weights": None if arguments.initial_weights is None else str(arguments.initial_weights),
    }
    config = read_config(
        arguments.bundle,
        "train",
        {key: value for key, value in overrides.items() if value is not None},
        over=[*(["multi_gpu_train"] if idist.get_world_size() > 1 else []), *arguments.config],
    )
    # first of all, as it seeds what the trainer is made of
    for index in range(len(config.get_parsed_content("initialize"))):
        config.get_parsed_content(f"initialize::{index}")
    trainer = config.get_parsed_content("train::trainer")
    validator = config.get_parsed_content("validate::evaluator")
    # the weights, their averages and what Adam keeps of each
    folder.expect(size=4 * sum(weight.nbytes for weight in trainer.network.parameters()))
    first = idist.get_rank() == 0
    with tqdm(total=trainer.state.max_epochs * trainer.state.epoch_length, unit="step", disable=not first) as bar:

        def show(engine: Engine) -> None:
            bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)
            bar.update(engine.state.iteration - bar.n)

        def show_validation(engine: Engine) -> None:
            bar.set_postfix_str(f"validation {engine.state.metrics[engine.state.key_metric_name]:.2f} dB")

        trainer.add_event_handler(Events.ITERATION_COMPLETED, show)
        validator.add_event_handler(Events.COMPLETED, show_validation)
        with telling(output), config.blamed("train::trainer"):
            trainer.run()
    if not first:
        return
    print(
        f"{output.resolve()}: {WEIGHTS} (weights for the models folder of the bundle), {CHECKPOINT}, TensorBoard curves"
    )


def _refuse_earlier(output: Path) -> None:
    """What an earlier training, or the user, has in the folder stays."""
    if (output / CHECKPOINT).exists():
        raise InputError(f"{output}: holds an earlier training; --resume goes on with it, another --output starts anew")
    if os.path.lexists(output / WEIGHTS):
        raise InputError(f"{output / WEIGHTS}: found weights of something else, expected another --output")


def _refuse_own_weights(weights: Path | None, output: Path) -> None:
    for file in (output / CHECKPOINT, output / WEIGHTS):
        if weights is not None and file.exists() and file.samefile(weights):
            raise InputError(f"--initial-weights: found {weights}, which this training overwrites; expected a copy")


def _planned_epochs(file: Path) -> int:
    """The number of epochs that an interrupted training was planned for."""
    if not file.is_file():
        raise InputError(f"--resume: found no {file}, expected the --output of an earlier training")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)["trainer"]["max_epochs"]
    except Exception as error:
        raise InputError(f"{file}: cannot be read as the checkpoint of a training; is it damaged?") from error
