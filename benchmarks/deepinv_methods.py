# SPDX-License-Identifier: Apache-2.0
"""Samplers of deepinv as methods of a measurement, with our operator and our prior; see deepinv_peer.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import deepinv
import torch
from torch import Tensor

from monai_iscs.classical import fdk
from monai_iscs.priors import Mirrored, NonNegative, SlicePrior
from monai_iscs.randomness import random_stream
from monai_iscs.scans import Measurement
from monai_iscs.workflows.pipeline import Pipeline


class Scanner(deepinv.physics.LinearPhysics):
    """Our operator on volumes (1, 1, X, Y, Z), and its measurement.

    Args:
        measurement: with the operator and the data.
    """

    def __init__(self, measurement: Measurement) -> None:
        super().__init__()
        self.operator = measurement.weighted.operator
        self.measured = measurement.weighted.data[None]
        self._fdk = measurement

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:  # noqa: N802
        """A x."""
        return self.operator(x)

    def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:  # noqa: N802
        """Aᵀ y."""
        return self.operator.T(y)

    def A_adjoint_A(self, x: Tensor, **kwargs: Any) -> Tensor:  # noqa: N802
        """AᵀA x."""
        return self.operator.normal(x)

    def start(self, name: str) -> Tensor:
        """The first volume."""
        return fdk(self._fdk)[None] if name == "fdk" else self.A_adjoint(self.measured)


class VolumeDenoiser(deepinv.models.base.Denoiser):
    """Our network on volumes (1, 1, X, Y, Z) of values from 0 to 1; it counts its calls.

    Args:
        pipeline: with the network, and how it computes.
        measurement: of the volume.
    """

    def __init__(self, pipeline: Pipeline, measurement: Measurement) -> None:
        super().__init__()
        batches = pipeline.sampler().inferer.hardware.batches(pipeline.network, pipeline.device)
        prior = NonNegative(Mirrored(SlicePrior(axis=pipeline.slice_axis)))
        self.prior = prior.bind({"prior": batches}, measurement, random_stream(0, "prior"))
        self.calls, self.last, self.overstated = 0, torch.empty(0), 1.0

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """The expected clean volume."""
        self.calls += 1
        self.last = self.prior(x[0], self.overstated * float(sigma))[None]
        return self.last


class LateDiffPIR(deepinv.sampling.DiffPIR):
    """DiffPIR on the last timesteps of its schedule only.

    Args:
        model: see `DiffPIR`.
        data_fidelity: see `DiffPIR`.
        first: sigma of the first step, of values from 0 to 1.
        settings: see `DiffPIR`.
    """

    def __init__(self, model: VolumeDenoiser, data_fidelity: Any, *, first: float, **settings: Any) -> None:
        self._first = 2 * first  # DiffPIR's values are from -1 to 1
        super().__init__(model, data_fidelity, **settings)

    def get_alpha_beta(self) -> tuple[Tensor, ...]:
        """The schedule, cut."""
        tables = super().get_alpha_beta()
        self.num_train_timesteps = int((tables[1] <= self._first).sum())
        return tuple(table[: self.num_train_timesteps] for table in tables)

    def get_alpha_prod(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """The same of two other tables."""
        return tuple(table[: self.num_train_timesteps] for table in super().get_alpha_prod(**kwargs))


@dataclass(frozen=True, kw_only=True)
class DiffPIR:
    """Settings of deepinv's DiffPIR.

    Args:
        calls: of the network, one in each step.
        lambda_: weight of the denoised volume against the measurement.
        zeta: share of fresh noise.
        iterations: most conjugate gradients in each step.
        first: sigma of the first step, of values from 0 to 1; None: all timesteps, from sigma 79.
        start: "adjoint", deepinv's default, or "fdk".
        denoised: take the last denoised volume, not the sample, which still has noise of sigma 0.005.
        overstated: the network gets a sigma larger by this factor, as in our recipes.
    """

    calls: int
    lambda_: float = 7.0
    zeta: float = 0.1
    iterations: int = 20
    first: float | None = None
    start: str = "fdk"
    denoised: bool = False
    overstated: float = 1.0

    def run(self, physics: Scanner, denoiser: VolumeDenoiser, measurement: Measurement) -> Tensor:
        """The volume (1, 1, X, Y, Z)."""
        physics.max_iter = self.iterations
        settings = {"sigma": measurement.noise_level, "max_iter": self.calls}
        settings |= {"zeta": self.zeta, "lambda_": self.lambda_}
        fidelity = deepinv.optim.data_fidelity.L2()
        if self.first is None:
            sampler = deepinv.sampling.DiffPIR(denoiser, fidelity, **settings)
        else:
            sampler = LateDiffPIR(denoiser, fidelity, first=self.first, **settings)
        denoiser.overstated = self.overstated
        torch.manual_seed(0)
        sample = sampler(physics.measured, physics, x_init=physics.start(self.start))
        return denoiser.last if self.denoised else sample


@dataclass(frozen=True, kw_only=True)
class DPIR:
    """Settings of deepinv's DPIR as it is.

    Args:
        sigma: noise level, and sigma of its last step.
        iterations: most conjugate gradients in each step.
        start: "adjoint", deepinv's default, or "fdk".
    """

    sigma: float = 0.03
    iterations: int = 20
    start: str = "fdk"

    def run(self, physics: Scanner, denoiser: VolumeDenoiser, measurement: Measurement) -> Tensor:
        """The volume (1, 1, X, Y, Z)."""
        physics.max_iter = self.iterations
        solver = deepinv.optim.DPIR(sigma=self.sigma, denoiser=denoiser)
        return solver(physics.measured, physics, init=physics.start(self.start))


@dataclass(frozen=True, kw_only=True)
class HQS:
    """Settings of DPIR's loop: conjugate gradients, then the denoiser, with sigmas in geometric progression.

    Args:
        calls: of the network, one in each step.
        weight: of the measurement; the step is ``weight * (sigma / noise level)**2``, with DPIR's 1 / 0.23 by default.
        first: sigma of the first step.
        last: of the last one.
        iterations: most conjugate gradients in each step.
        start: "adjoint", deepinv's default, or "fdk".
    """

    calls: int
    weight: float = 1 / 0.23
    first: float = 49 / 255
    last: float = 0.01
    iterations: int = 20
    start: str = "fdk"

    def run(self, physics: Scanner, denoiser: VolumeDenoiser, measurement: Measurement) -> Tensor:
        """The volume (1, 1, X, Y, Z)."""
        physics.max_iter = self.iterations
        sigmas = [self.first * (self.last / self.first) ** (k / (self.calls - 1)) for k in range(self.calls)]
        solver = deepinv.optim.HQS(
            data_fidelity=deepinv.optim.data_fidelity.L2(),
            prior=deepinv.optim.PnP(denoiser),
            stepsize=[self.weight * (sigma / measurement.noise_level) ** 2 for sigma in sigmas],
            sigma_denoiser=sigmas,
            max_iter=self.calls,
        )
        return solver(physics.measured, physics, init=physics.start(self.start))


Settings = DiffPIR | DPIR | HQS
