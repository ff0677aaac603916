# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.priors import EDMDenoiser, batches
from monai_iscs.priors.batches import SliceBatches

CPU = torch.device("cpu")


def unet(**changes):
    torch.manual_seed(0)
    settings = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "channels": (8, 16),
        "attention_levels": (False, False),
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 4,
    }
    network = DiffusionModelUNet(**settings | changes)
    for parameter in network.parameters():  # MONAI's output layer is zero at first
        nn.init.normal_(parameter, std=0.05)
    return EDMDenoiser(network, sigma_data=0.25).eval().requires_grad_(False)


class Recorder:
    """A denoiser for which memory runs out above a number of slices."""

    def __init__(self, room=1000):
        self.sizes, self.room = [], room

    def __call__(self, x, sigma):
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError
        return x + sigma


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 10), (4, [4, 4, 2]), (6, [5, 5]), (100, [10]), (None, [5, 5])])
def test_batches_cover_the_stack_evenly(most, sizes):
    x = torch.rand(10, 1, 4, 4)
    denoiser = Recorder()
    torch.testing.assert_close(SliceBatches(denoiser, CPU, slice_batch=most)(x, 0.5), x + 0.5)
    assert denoiser.sizes == sizes


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost():
    x = torch.rand(10, 1, 4, 4)
    denoiser = Recorder(room=3)
    prior = SliceBatches(denoiser, CPU, slice_batch=10)
    torch.testing.assert_close(prior(x, 0.5), x + 0.5)
    assert denoiser.sizes == [10, 5, 2, 2, 2, 2, 2]
    prior(x, 0.5)  # kept for later calls
    assert denoiser.sizes[7:] == [2] * 5
    with pytest.raises(torch.OutOfMemoryError):
        SliceBatches(Recorder(room=0), CPU)(x, 0.5)


@pytest.mark.parametrize(
    ("error", "batches"),
    [
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", [3, 1, 1, 1]),
        ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", [3, 1, 1, 1]),
        ("GET was unable to find an engine to execute this computation", [3, 1, 1, 1]),
        ("the weights do not fit", [3]),
    ],
)
def test_a_library_s_workspace_that_does_not_fit(error, batches):
    sizes = []

    def network(x, sigma):
        sizes.append(len(x))
        if len(x) > 1:
            raise RuntimeError(error)
        return x

    prior = SliceBatches(network, CPU, slice_batch=3)
    with pytest.raises(RuntimeError, match=error) if batches == [3] else nullcontext():
        prior(torch.rand(3, 1, 4, 4), 0.1)
    assert sizes == batches


def test_a_network_may_give_fewer_channels_than_it_is_shown():
    """Like a network that gets a slice with its neighbours."""
    x = torch.rand(7, 3, 4, 4)
    prior = SliceBatches(lambda x, sigma: x[:, 1:2] + sigma, CPU, slice_batch=3)
    torch.testing.assert_close(prior(x, 0.5), x[:, 1:2] + 0.5)


def test_batches_are_contiguous_whatever_the_stack_is():
    """A volume's slices along its last axis have a memory layout that is bad for convolutions."""
    seen = []
    x = torch.rand(1, 6, 5, 7).movedim(3, 0)
    prior = SliceBatches(lambda x, sigma: seen.append(x.is_contiguous()) or x + sigma, CPU, slice_batch=3)
    assert not x.is_contiguous()
    torch.testing.assert_close(prior(x, 0.5), x + 0.5)
    assert seen == [True] * 3


def test_memory_decides_the_size():
    assert batches.fitting_batch(10**9, 10**8, 128**2) == 8
    assert batches.fitting_batch(10**9, 10**4, 128**2) == 64
    assert batches.fitting_batch(10**6, 10**9, 128**2) == 1
    assert batches.fitting_batch(-(10**6), 10**9, 128**2) == 1


@pytest.mark.parametrize(("side", "most"), [(128, 64), (256, 63), (512, 15), (4096, 1)])
def test_indices_keep_to_32_bits(side, most):
    assert batches.fitting_batch(10**12, 10**4, side**2) == most
    assert most == 1 or most * 512 * side**2 < 2**31


def test_the_free_memory_keeps_to_the_process_s_share(monkeypatch):
    for name, value in {
        "mem_get_info": (60, 100),
        "memory_allocated": 10,
        "memory_reserved": 15,
        "get_per_process_memory_fraction": 1.0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert batches.free_memory(CPU) == 65
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda *_: 0.3)
    assert batches.free_memory(CPU) == 20


def test_one_slice_tells_how_many_fit(monkeypatch):
    """10 bytes are in use, one slice needs 40 more, 300 are free beside the loop's stacks: 0.8 · 300 / 40 fit."""
    peak = {"bytes": 1000}
    for name, answer in {
        "memory_allocated": lambda _: 10,
        "reset_peak_memory_stats": lambda _: peak.update(bytes=10),
        "max_memory_allocated": lambda _: peak["bytes"],
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    x = torch.rand(10, 1, 4, 4)
    monkeypatch.setattr(batches, "free_memory", lambda _: 300 + batches.OTHER_STACKS * x.nbytes)
    denoiser = Recorder()

    def network(x, sigma):
        peak["bytes"] += 40 * len(x)
        return denoiser(x, sigma)

    prior = SliceBatches(network, CPU)
    prior._given = None  # as on CUDA
    for _ in range(2):  # estimated once
        torch.testing.assert_close(prior(x, 0.5), x + 0.5)
    assert denoiser.sizes == [1, 5, 5, 5, 5]


def test_channels_last_order_changes_nothing_else():
    x = torch.rand(3, 1, 16, 16)
    network = unet()
    expected = network(x, 0.2)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    batches = SliceBatches(network, CPU, precision="float32")
    torch.testing.assert_close(batches(x, 0.2), expected, atol=1e-5, rtol=0)
    assert network.network.conv_in.conv.weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name])


def test_bfloat16_rounds_inside_the_network_only():
    x = torch.rand(3, 1, 16, 16)
    network = unet()
    seen = []
    network.network.conv_in.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    for sigma in (0.01, 0.5):
        exact, rounded = (SliceBatches(network, CPU, precision=p)(x, sigma) for p in ("float32", "bfloat16"))
        assert rounded.dtype == torch.float32
        error = float((rounded - exact).abs().max())
        assert 0 < error < 0.03 * sigma
    assert seen == [torch.float32, torch.bfloat16] * 2
    assert not torch.is_autocast_enabled("cpu")


def test_compiled_once_for_one_size(monkeypatch):
    """The compiler's own backend takes minutes: this one only records the shapes."""
    asked = []

    def backend(graph, inputs):
        asked.append([tuple(i.shape) for i in inputs if isinstance(i, torch.Tensor) and i.ndim == 4])
        return graph.forward

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, *, mode, dynamic: compiler(f, backend=backend, dynamic=dynamic))
    torch._dynamo.reset()

    def network(x, sigma):
        return x / (1 + sigma**2) + sigma

    x = torch.rand(7, 1, 8, 8)
    prior = SliceBatches(network, CPU, slice_batch=4, compiled=True)
    for sigma in (0.5, 0.2, 0.1):
        torch.testing.assert_close(prior(x, sigma), network(x, torch.tensor(sigma)))
    assert asked == [[(4, 1, 8, 8)]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "half"}, "precision: found 'half', expected one of float32, tf32, bfloat16"),
        ({"precision": "tf32"}, "precision: found 'tf32' on cpu, expected float32 or bfloat16"),
        ({"slice_batch": 0}, "slice_batch: found 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        SliceBatches(lambda x, sigma: x, CPU, **settings)
