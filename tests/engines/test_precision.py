# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on a CPU, with the loss scaler that MONAI only uses on CUDA."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from monai_iscs.engines import GradientClipping, PrecisionInferer, UnscaledBFloat16, has_bfloat16, worker_count
from monai_iscs.errors import InputError


class Scaled:
    """The trainer uses a loss scaler on the CPU, as on a GPU."""

    def attach(self, engine: SupervisedTrainer) -> None:
        @engine.on(Events.STARTED)
        def scale(engine: SupervisedTrainer) -> None:
            engine.scaler = torch.amp.GradScaler("cpu", init_scale=65536.0, enabled=True)


def train(
    *handlers: object, slope: float, amp: bool, optimiser: str = "SGD", steps: int = 1, **settings: object
) -> torch.Tensor:
    """The weights after some batches whose gradient has about the norm of ``slope``."""
    network = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    batches = [{"image": torch.ones(2, 4) * (1 + index), "label": torch.zeros(2, 1)} for index in range(steps)]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=batches,
        network=network,
        optimizer=getattr(torch.optim, optimiser)(network.parameters(), lr=0.5),
        loss_function=lambda pred, target: slope / 2 * (pred - target),
        train_handlers=[*handlers, GradientClipping(network)],
        amp=amp,
        amp_kwargs={"dtype": torch.bfloat16, "enabled": False},  # only the scaler: autocast is for CUDA there
        decollate=False,
        **settings,
    )
    trainer.run()
    return network.weight.detach().flatten()


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Scaled:
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: None)  # deprecated, and without effect on a CPU
    return Scaled()


@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
@pytest.mark.parametrize("slope", [1e-5, 0.3, 40.0])
def test_a_loss_scaler_changes_no_clipped_update(scaled: Scaled, slope: float, optimiser: str) -> None:
    plain = train(slope=slope, amp=False, optimiser=optimiser)
    torch.testing.assert_close(train(scaled, slope=slope, amp=True, optimiser=optimiser), plain, rtol=1e-6, atol=0)
    if optimiser == "SGD":  # two steps of half the gradient: unchanged if it is small, else of norm 1
        assert float(plain.norm()) == pytest.approx(min(slope, 1.0), rel=1e-4)


@pytest.mark.parametrize("accumulation_steps", [2, 4])
def test_accumulated_gradients_are_clipped_once(scaled: Scaled, accumulation_steps: int) -> None:
    """Five batches: the last step of an epoch has fewer."""
    settings = {"slope": 0.2, "steps": 5, "accumulation_steps": accumulation_steps}
    plain = train(amp=False, **settings)
    torch.testing.assert_close(train(scaled, amp=True, **settings), plain, rtol=1e-6, atol=0)
    sums = [
        sum(range(first + 1, min(first + accumulation_steps, 5) + 1)) / accumulation_steps
        for first in range(0, 5, accumulation_steps)
    ]
    expected = sum(0.5 * min(0.2 * total, 1.0) for total in sums) * 2
    assert float(plain.norm()) == pytest.approx(expected, rel=1e-4)


def test_bfloat16_needs_no_scaler(scaled: Scaled) -> None:
    seen = []

    class Watch:
        def attach(self, engine: SupervisedTrainer) -> None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.scaler.is_enabled()))

    train(scaled, Watch(), slope=0.3, amp=True)
    train(scaled, UnscaledBFloat16(), Watch(), slope=0.3, amp=True)
    assert seen == [True, True, False, False]


def test_a_cpu_trains_in_float32_without_workers() -> None:
    assert not has_bfloat16("cpu")
    assert worker_count(torch.device("cpu")) == 0


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(64, 1, 8), (64, 8, 7), (4, 1, 3), (8, 8, 0), (None, 1, 0)]
)
def test_processes_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, processes: int, workers: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("ignite.distributed.get_nproc_per_node", lambda: processes)
    assert worker_count("cuda") == workers


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_on_a_cpu_are_in_the_precision_and_results_are_not(precision: str) -> None:
    x, network = torch.rand(2, 300), nn.Linear(300, 4)
    seen = []
    network.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    found = PrecisionInferer("cpu", precision=precision)(x, network)
    assert seen == [getattr(torch, precision)]
    assert found.dtype == torch.float32
    exact = network(x)
    assert torch.equal(found, exact) == (precision == "float32")
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)
    found.sum().backward()
    assert network.weight.grad.dtype == torch.float32


def test_other_devices_are_left_to_monai() -> None:
    network = nn.Linear(300, 4, device="meta")
    assert PrecisionInferer("meta")(torch.rand(2, 300, device="meta"), network).dtype == torch.float32


def test_a_precision_that_a_cpu_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="precision: found 'tf32' on cpu"):
        PrecisionInferer("cpu", precision="tf32")
