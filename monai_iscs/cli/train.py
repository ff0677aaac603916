# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs train``: the model of a bundle, on your own volumes."""

from __future__ import annotations

from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

from ignite.engine import Engine, Events
from tqdm import tqdm

from monai_iscs.cli.bundle import choose_device, read_config
from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder

CHECKPOINT = "last.pt"


def train(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: something in the arguments cannot be used.
    """
    if find_spec("tensorboard") is None:
        raise InputError("training draws its curves with TensorBoard, which is not installed: pip install tensorboard")
    overrides = {
        "device": choose_device(arguments.device),
        "dataset_dir": arguments.dataset and str(arguments.dataset),
        "output_dir": arguments.output and str(arguments.output),
        "epochs": arguments.epochs,
    }
    config = read_config(
        arguments.bundle, "train", {key: value for key, value in overrides.items() if value is not None}
    )
    output = Path(config.get_parsed_content("output_dir"))
    _check_checkpoint(output / CHECKPOINT, resume=arguments.resume)
    RunFolder(output)
    trainer = config.get_parsed_content("train::trainer")
    with tqdm(total=trainer.state.max_epochs * trainer.state.epoch_length, unit="step") as bar:

        def show(engine: Engine) -> None:
            bar.set_description(f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False)
            bar.update(engine.state.iteration - bar.n)

        trainer.add_event_handler(Events.ITERATION_COMPLETED, show)
        trainer.run()
    print(
        f"{output.resolve()}: model.pt (the weights, for the bundle's models folder), {CHECKPOINT}, TensorBoard curves"
    )


def _check_checkpoint(file: Path, *, resume: bool) -> None:
    """A training goes on where one stopped if, and only if, that was asked for."""
    if resume and not file.is_file():
        raise InputError(f"--resume: found no {file}, expected the --output of an earlier training")
    if not resume and file.exists():
        raise InputError(f"{file}: an earlier training is here; give --resume to go on with it, or another --output")
