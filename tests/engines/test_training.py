# SPDX-License-Identifier: Apache-2.0
"""The bundle's own train config, on two small volumes with a tiny network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.bundle.utils import DEFAULT_HANDLERS_ID

from monai_iscs.errors import InputError
from monai_iscs.priors.weights import load_weights
from monai_iscs.transforms import ct_preprocessing

# DataLoader warns if two worker processes share one core.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

CONFIGS = Path(__file__).parents[2] / "bundles" / "body_ct_reconstruction" / "configs"
ALIKE = "$[{'image': torch.arange(4096.).reshape(1, 64, 64).half()}] * 24"  # slices


@pytest.fixture
def dataset(tmp_path: Path, data_folder: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        shutil.copy(data_folder / "totalseg_example_ct_sm.nii.gz", tmp_path / split)
    return tmp_path


def training(dataset: Path, *, over: tuple[str, ...] = (), **changes: object) -> ConfigWorkflow:
    settings = {
        "dataset_dir": str(dataset),
        "output_dir": str(dataset / "run"),
        "device": "$torch.device('cpu')",
        "size": 32,
        "crop": 16,
        "epochs": 1,
        "batch_size": 8,
        "validate_every": 15,
        "validation_sigmas": [0.1],
        "network_def::network::network::channels": [8, 8],
        "network_def::network::network::num_res_blocks": [1, 1],
        "network_def::network::network::attention_levels": [False, False],
        "network_def::network::network::norm_num_groups": 4,
        "network_def::network::network::num_head_channels": 8,
    }
    return ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json") for name in ("train", *over)],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **(settings | changes),
    )


def run(workflow: ConfigWorkflow) -> None:
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def run_until_killed(workflow: ConfigWorkflow, iteration: int) -> None:
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")

    class KilledError(Exception):
        pass

    @trainer.on(Events.ITERATION_COMPLETED)
    def kill(engine: object) -> None:
        if engine.state.iteration == iteration:
            raise KilledError

    with pytest.raises(RuntimeError):
        workflow.run()


def batches_of(workflow: ConfigWorkflow) -> list[torch.Tensor]:
    """The batches of each epoch: the augmented slices in their order."""
    epochs: list[list[torch.Tensor]] = []
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: epochs.append([]))
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: epochs[-1].append(engine.state.batch["image"]))
    workflow.run()
    return [torch.cat(epoch) for epoch in epochs]


def test_the_config_has_every_property_that_monai_requires(dataset: Path) -> None:
    workflow = training(dataset)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_training_writes_weights_and_goes_on_after_a_kill(dataset: Path) -> None:
    run(training(dataset))
    first = torch.load(dataset / "run" / "last.pt", weights_only=True)
    weights = torch.load(dataset / "run" / "model.pt", weights_only=True)
    assert first["trainer"]["iteration"] == 3
    assert all(value.dtype == torch.float16 for value in weights.values())
    for name, value in first["ema"].items():
        torch.testing.assert_close(weights[f"network.{name}"], value.half())

    run_until_killed(training(dataset, epochs=3), 8)
    assert torch.load(dataset / "run" / "last.pt", weights_only=True)["trainer"]["iteration"] == 6

    run(training(dataset, epochs=3))
    last = torch.load(dataset / "run" / "last.pt", weights_only=True)
    assert last["trainer"]["iteration"] == 9
    assert last["schedule"]["last_epoch"] == 9
    name = "network.conv_in.conv.weight"
    assert not torch.equal(last["network"][name], first["network"][name])


def test_the_seed_decides_what_is_trained(dataset: Path, tmp_path: Path) -> None:
    weights = []
    for index, seed in enumerate((0, 0, 1)):
        run(training(dataset, seed=seed, output_dir=str(tmp_path / str(index))))
        weights.append(torch.load(tmp_path / str(index) / "model.pt", weights_only=True))
    torch.testing.assert_close(weights[0], weights[1], atol=0, rtol=0)
    assert any(not torch.equal(value, weights[2][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_is_the_uninterrupted_one(dataset: Path, tmp_path: Path, workers: int) -> None:
    """Order, augmentation and noise included, in the main process or in two others."""
    run(training(dataset, epochs=3, num_workers=workers, output_dir=str(tmp_path / "whole")))
    run_until_killed(training(dataset, epochs=3, num_workers=workers), 5)
    run(training(dataset, epochs=3, num_workers=workers))
    whole, resumed = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "run"))
    for part in ("network", "ema"):
        torch.testing.assert_close(resumed[part], whole[part], atol=0, rtol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_prepares_every_slice_once_as_the_seed_says(dataset: Path, tmp_path: Path, workers: int) -> None:
    marks = "$[{'image': torch.full((1, 64, 64), float(i))} for i in range(24)]"  # augmentation leaves these alone
    settings = {"epochs": 2, "size": 64, "num_workers": workers, "train::dataset::data": marks}
    order = batches_of(training(dataset, **settings, output_dir=str(tmp_path / "marks")))
    numbers = [[int(image.mean().round()) for image in epoch] for epoch in order]
    assert sorted(numbers[0]) == sorted(numbers[1]) == list(range(24))
    assert numbers[0] != numbers[1]

    settings["train::dataset::data"] = ALIKE  # in any order
    first, again, other = (
        batches_of(training(dataset, **settings, seed=seed, output_dir=str(tmp_path / name)))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.equal(first[0], other[0])
    images = torch.cat(first)
    assert len(images.unique(dim=0)) == len(images) == 48  # workers and epochs do not repeat each other


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_augment_differently(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    found = []
    for rank in range(2):
        monkeypatch.setattr("monai_iscs.engines.seeds.idist.get_rank", lambda rank=rank: rank)
        settings = {"train::dataset::data": ALIKE, "size": 64, "num_workers": workers}
        found += batches_of(training(dataset, **settings, output_dir=str(tmp_path / str(rank))))
    assert len(torch.cat(found).unique(dim=0)) == 48


def test_in_bfloat16_only_the_products_inside_the_network_are_rounded(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The autocast and the order of the weights of a GPU, on a CPU."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, **settings: autocast("cpu", **settings))
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: None)
    workflow = training(dataset, amp=True, **{"trained::memory_format": "$torch.channels_last"})
    workflow.initialize()
    trained, loss, evaluator = (
        workflow.parser.get_parsed_content(name) for name in ("trained", "loss", "validate::evaluator")
    )
    network = trained.network
    first = network.network.conv_in.conv
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    seen = {"network": set(), "loss": set(), "validation": set()}
    first.register_forward_hook(lambda _, x, out: seen["network"].add((x[0].dtype, out.dtype)))
    loss.register_forward_hook(lambda _, x, out: seen["loss"].add((x[1].dtype, out.dtype)))
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen["validation"].add(engine.state.output["pred"].dtype)
    )
    workflow.run()
    assert seen["network"] == {(torch.float32, torch.bfloat16)}
    assert seen["loss"] == {(torch.float32, torch.float32)}
    assert seen["validation"] == {torch.float32}
    weights = [*network.parameters(), *trained.averaged.parameters()]
    assert {value.dtype for value in weights} | {value.grad.dtype for value in network.parameters()} == {torch.float32}
    plain = training(dataset, initial_weights=str(dataset / "run" / "model.pt")).parser
    plain.get_parsed_content("initialize")  # weights in one order fit a network in the other


@pytest.mark.parametrize("size", [24, 96])
def test_it_sees_the_slices_that_inference_sees(dataset: Path, size: int) -> None:
    """For a volume that is not square: neither squeezed nor, if it is small, enlarged."""
    file = dataset / "val" / "totalseg_example_ct_sm.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(image.get_fdata()[:-9].astype(np.float32), image.affine), file)
    workflow = training(dataset, size=size, validate_every=1)
    workflow.initialize()
    slices = workflow.parser.get_parsed_content("validate::dataset")
    volume = ct_preprocessing("image", size=size)({"image": file})["image"].as_tensor()
    seen = torch.stack([item["image"] for item in slices], -1)
    torch.testing.assert_close(seen, volume, atol=1e-3, rtol=0)  # kept in half precision


def test_a_checkpoint_of_another_network_is_refused_by_name(dataset: Path) -> None:
    run(training(dataset))
    other = training(dataset, **{"network_def::network::network::channels": [8, 16]})
    other.initialize()
    with pytest.raises(RuntimeError) as error:
        other.run()
    cause = error.value
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    assert isinstance(cause, InputError)
    assert "last.pt: found a checkpoint that does not fit" in str(cause)


def test_training_starts_from_given_weights(dataset: Path, tmp_path: Path) -> None:
    run(training(dataset))
    path = dataset / "run" / "model.pt"
    weights = torch.load(path, weights_only=True)
    second = training(dataset, initial_weights=str(path), learning_rate=0.0, output_dir=str(tmp_path / "second"))
    run(second)
    for name, value in torch.load(tmp_path / "second" / "model.pt", weights_only=True).items():
        torch.testing.assert_close(value, weights[name])


def test_three_slices_at_a_time_start_from_a_prior_of_single_ones(dataset: Path, tmp_path: Path) -> None:
    run(training(dataset, output_dir=str(tmp_path / "single")))
    settings = {"initial_weights": str(tmp_path / "single" / "model.pt"), "learning_rate": 1e-9, "epochs": 1}
    run(training(dataset, over=("train_triplets",), output_dir=str(tmp_path / "three"), **settings))
    single, three = (torch.load(tmp_path / name / "model.pt") for name in ("single", "three"))
    first, last = "network.network.conv_in.conv.weight", "network.network.out.2.conv.weight"
    copied = single[first].float()
    assert three[first].shape[1] == 4 * copied.shape[1]
    torch.testing.assert_close(three[first][:, : copied.shape[1]].float(), copied / 3, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(three[last].float(), single[last].float().repeat(3, 1, 1, 1), rtol=1e-2, atol=1e-3)


def test_a_prior_that_sees_neighbours_starts_as_one_that_does_not(dataset: Path, tmp_path: Path) -> None:
    run(training(dataset, output_dir=str(tmp_path / "single")))
    weights = str(tmp_path / "single" / "model.pt")
    start = {"initial_weights": weights, "learning_rate": 1e-9, "epochs": 1, "output_dir": str(tmp_path / "seeing")}
    run(training(dataset, over=("train_neighbours",), **start))
    x, found = torch.rand(2, 4, 32, 32), {}
    for name, over in (("single", ()), ("seeing", ("train_neighbours",))):
        denoiser = training(dataset, over=over).parser.get_parsed_content("network_def")
        load_weights(denoiser, tmp_path / name / "model.pt")
        with torch.inference_mode():
            found[name] = denoiser(x if over else x[:, :1], 0.1)
    torch.testing.assert_close(found["seeing"], found["single"], rtol=1e-2, atol=1e-3)


def test_a_prior_of_coronal_slices(dataset: Path, tmp_path: Path) -> None:
    """Their pixels need not be square; all of the volumes' lines along y are used."""
    settings = {"crop": [16, 8], "output_dir": str(tmp_path / "coronal"), "initial_weights": None}
    workflow = training(dataset, over=("train_coronal",), **settings)
    run(workflow)
    shapes = {tuple(item["image"].shape) for item in workflow.parser.get_parsed_content("train::dataset::data")}
    (file,) = (dataset / "train").iterdir()
    assert shapes == {(1, 32, nib.load(file).shape[2])}
    assert (tmp_path / "coronal" / "model.pt").is_file()


def test_a_prior_that_sees_the_fdk_starts_from_one_that_does_not(dataset: Path, tmp_path: Path) -> None:
    run(training(dataset, output_dir=str(tmp_path / "plain")))
    settings = {"initial_weights": str(tmp_path / "plain" / "model.pt"), "learning_rate": 1e-9, "epochs": 1}
    settings |= {"views": [6], "photons": [1e5]}
    run(training(dataset, over=("train_conditioned",), output_dir=str(tmp_path / "seeing"), **settings))
    plain, seeing = (torch.load(tmp_path / name / "model.pt") for name in ("plain", "seeing"))
    first = "network.network.conv_in.conv.weight"
    known = plain[first].shape[1]
    torch.testing.assert_close(seeing[first][:, :known].float(), plain[first].float(), rtol=1e-2, atol=1e-3)
    assert seeing[first][:, known:].abs().max() < 1e-3


def test_tensorboard_gets_the_loss_and_the_validation(dataset: Path) -> None:
    run(training(dataset))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = set()
    for file in (dataset / "run").glob("events*"):
        tags |= set(EventAccumulator(str(file)).Reload().Tags()["scalars"])
    assert {"psnr", "psnr_sigma_0.1"} <= tags


def test_handlers_of_the_users_own_come_along(dataset: Path) -> None:
    """As in MONAI's experiment tracking."""
    saver = {"_target_": "CheckpointSaver", "save_dir": str(dataset), "save_dict": "$dict(net=@trained.network)"}
    configs = {"trainer": {**saver, "save_final": True, "final_filename": "mine.pt"}, "save_execute_config": False}
    run(training(dataset, tracking={"handlers_id": DEFAULT_HANDLERS_ID, "configs": configs}))
    assert (dataset / "mine.pt").is_file()


def test_processes_share_one_training(dataset: Path) -> None:
    """``torchrun -m monai.bundle run`` on a CPU: steps for half of the slices, and one process writes."""
    run(training(dataset, output_dir=str(dataset / "one")))
    config = {**training(dataset, output_dir=str(dataset / "two")).parser.config, "device": "$torch.device('cpu')"}
    del config["_meta_"]
    (dataset / "train.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "monai.bundle", "run", "--config_file", str(dataset / "train.json")]
    command += ["--meta_file", str(CONFIGS / "metadata.json")]
    done = subprocess.run(
        command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    steps = [
        torch.load(dataset / name / "last.pt", weights_only=True)["trainer"]["iteration"] for name in ("one", "two")
    ]
    assert steps[1] == steps[0] // 2
    assert len(list((dataset / "two").glob("events*"))) == len(list((dataset / "one").glob("events*")))
