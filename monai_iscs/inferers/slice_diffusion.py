# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from inspect import signature
from itertools import cycle
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from monai.utils import convert_to_dst_type
from torch import Tensor, nn
from tqdm import tqdm

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.inferers.layout import StackedOperator, StackLayout
from monai_iscs.inferers.processes import SharedDenoiser, share_operator
from monai_iscs.inferers.starts import STARTS
from monai_iscs.operators import LinearOperator
from monai_iscs.priors.batches import SliceBatches, check_batches
from monai_iscs.sampling import (
    DDS,
    Consistency,
    Denoiser,
    Rule,
    SlerpNoise,
    SliceNoise,
    Step,
    find_preset,
    reconstruct,
)
from monai_iscs.sampling.loop import FRESH_NOISE, check_momentum
from monai_iscs.scans import NoiseLevel

OperatorFactory = Callable[[Tensor], LinearOperator]
ConsistencyFactory = Callable[[LinearOperator, Tensor], Consistency]
Start = Callable[[Tensor, LinearOperator], Tensor]


class SliceDiffusionInferer(Inferer):
    """Reconstruct volumes from measurements with a prior of 2D slices and slice-consistent noise.

    Drops into `SupervisedEvaluator`: the batch's image is the measurement, the network is the prior.

    Args:
        sigmas: noise levels, positive and strictly decreasing; see `geometric_sigmas` and `from_preset`.
        operator: the scanner, a `LinearOperator` on (X, Y, Z), or a function that makes it from one measurement
            (C, *measurement shape), a MetaTensor if the inputs are one. May also be given at the call. If it has a
            method `volume_affine(measurement)`, as a `Scan` has, the result gets that affine.
        consistency: makes the consistency step from operator and measurement: `DDS`, `DDNM` or a `partial` of them.
        noise: slice noise, `SlerpNoise()` if None. It is reset for each volume: equal inputs give equal volumes.
        rule: re-noising rule, `DDSRule` or `DDIMRule`.
        momentum: how much further than the last change a step goes, see `monai_iscs.sampling.reconstruct`.
        start: `start(measurement, operator) -> (C, X, Y, Z)`, what the first noise is added to; None is zeros.
        noise_excess: the prior is told `noise_excess * sigma`, at least 1. What it must remove is not only the noise of
            level sigma but also the estimate's own error, which is about as large; told so, it leaves less of both.
            1 is exact where the estimate is, and what the papers do.
        mirror: in-plane axis (0 for H, 1 for W) along which every other step shows the prior the slices mirrored, so
            that its own bias averages out at no cost (the rotating self-ensemble of plug-and-play methods); for a
            prior trained on mirrored slices too. None never does.
        non_negative: keep the prior's estimates and the result at or above 0, as attenuation and magnitudes are.
        slice_axis: axis of the volume along which the prior's slices are stacked (0, 1, 2 for x, y, z).
        slice_batch: how many slices the prior takes at a time, at most; None: what the device can hold. For this and
            the next two see `SliceBatches`.
        precision: of the products inside the network, "float32", "tf32" or "bfloat16"; None: what the device is fast
            in. The loop itself computes in float32.
        compiled: compile the network first.
        distributed: the processes of `ignite.distributed`, a device each, share the work on each volume: all of them
            call the inferer with the same inputs, and all get the volume. False: each is on its own.
        progress: show a progress bar for each volume.
        callback: called with a `Step` after each step.

    Raises:
        InputError: a slice batch below 1, an unknown precision, a momentum outside [0, 1), a noise excess below 1 or
            another mirror than 0, 1 or None.
    """

    def __init__(
        self,
        *,
        sigmas: Tensor | Sequence[float],
        operator: LinearOperator | OperatorFactory | None = None,
        consistency: ConsistencyFactory = DDS,
        noise: SliceNoise | None = None,
        rule: Rule = FRESH_NOISE,
        momentum: float = 0.0,
        start: Start | None = None,
        noise_excess: float = 1.0,
        mirror: int | None = None,
        non_negative: bool = False,
        slice_axis: int = 2,
        slice_batch: int | None = None,
        precision: str | None = None,
        compiled: bool = False,
        distributed: bool = False,
        progress: bool = True,
        callback: Callable[[Step], None] | None = None,
    ) -> None:
        check_batches(slice_batch, precision)
        check_momentum(momentum)
        if not noise_excess >= 1:
            raise InputError(f"noise_excess is {noise_excess!r}, expected a number of at least 1")
        if mirror not in (None, 0, 1):
            raise InputError(f"mirror is {mirror!r}, expected an in-plane axis, 0 or 1, or None")
        self.sigmas = sigmas
        self.operator = operator
        self.consistency = consistency
        self.noise = SlerpNoise() if noise is None else noise
        self.rule = rule
        self.momentum = momentum
        self.start = start
        self.noise_excess = noise_excess
        self.mirror = mirror
        self.non_negative = non_negative
        self.slice_axis = slice_axis
        self.slice_batch = slice_batch
        self.precision = precision
        self.compiled = compiled
        self.distributed = distributed
        self.progress = progress
        self.callback = callback
        # of the last volume: the next one needs no other compilation or probe
        self._batches: tuple[Any, SliceBatches] | None = None

    @classmethod
    def from_preset(
        cls,
        name: str = "default",
        *,
        steps: int | None = None,
        eta: float | None = None,
        noise_level: NoiseLevel | None = None,
        smoothing: float | None = None,
        seed: int = 0,
        noise: Callable[..., SliceNoise] = SlerpNoise,
        consistency: ConsistencyFactory | None = None,
        **settings: Any,
    ) -> SliceDiffusionInferer:
        """Build an inferer with the settings of a preset, see `monai_iscs.sampling.PRESETS`.

        Args:
            name: a name of `monai_iscs.sampling.PRESETS`, such as "default".
            steps: another number of steps between the preset's ends.
            eta: another stochasticity for the preset's rule.
            noise_level: how noisy the measurement is, see `monai_iscs.sampling.DDS`; None: the preset's, where neither
                a `gamma` nor `batch_dims` says otherwise. This and the smoothing are for a consistency step that has
                such a setting and has not been given it.
            smoothing: width across slices to which corrections are bound, see `monai_iscs.sampling.DDS`. None: the
                preset's, where the noise is alike in neighbouring slices; with independent noise so are their errors,
                and corrections are free.
            seed: seed of the noise.
            noise: class of the noise (or a `partial` of it), called with `seed`.
            consistency: another consistency step than the preset's DDS, such as `DDNM`.
            **settings: further arguments of the class; they override the preset's own.

        Raises:
            InputError: an unknown preset, steps below 1 or eta outside [0, 1].
        """
        preset = find_preset(name)
        made = noise(seed=seed)
        step = consistency or partial(DDS, iterations=preset.cg_iterations, gamma=preset.gamma)
        if smoothing is None:
            smoothing = preset.smoothing if made.aligned else 0.0
        offered = {
            "noise_level": preset.noise_level if noise_level is None else noise_level,
            "smoothing": smoothing,
            "plane_smoothing": preset.plane_smoothing,
        }
        given = getattr(step, "keywords", {})
        if noise_level is None and (given.get("gamma") is not None or given.get("batch_dims")):
            del offered["noise_level"]  # DDS has no use for it then
        if missing := {k: v for k, v in offered.items() if k in signature(step).parameters and k not in given}:
            step = partial(step, **missing)
        plugs = {
            "sigmas": preset.sigmas(steps),
            "noise": made,
            "rule": preset.rule(preset.eta if eta is None else eta),
            "momentum": preset.momentum,
            "consistency": step,
            "start": STARTS[preset.start],
            "noise_excess": preset.noise_excess,
            "mirror": preset.mirror,
            "non_negative": preset.non_negative,
        }
        return cls(**plugs | settings)

    def __call__(
        self,
        inputs: Tensor,
        network: Denoiser,
        operator: LinearOperator | OperatorFactory | None = None,
    ) -> Tensor:
        """Reconstruct a batch of volumes, one after the other.

        Args:
            inputs: measurements (B, C, *operator.range_shape), such as (B, 1, view, v, u), real.
            network: prior, `network(x, sigma) -> E[x0 | x]` on (S, C, H, W). A module computes on its own device, in
                evaluation mode and without gradients. Its attributes `size_divisor` and `in_channels`, if it has them,
                say what H and W must be multiples of, and what C is.
            operator: overrides the operator of the constructor.

        Returns:
            Volumes (B, C, X, Y, Z), float32, on the measurement's device; a MetaTensor with the measurement's file name
            and affine (or that of `operator.volume_affine`) if the measurement is one.

        Raises:
            InputError: no operator, a measurement that doesn't fit it or the network, a complex one or one with values
                that are not finite, a slice axis other than 0, 1, 2, or noise levels that do not fall.
        """
        inputs = real_tensor(inputs, "the measurement")
        if inputs.ndim < 3:
            raise InputError(f"the measurement has shape {tuple(inputs.shape)}, expected (B, C, ...)")
        operator = self.operator if operator is None else operator
        if operator is None:
            raise InputError("operator is missing, expected one at construction or at the call")
        mode: AbstractContextManager = eval_mode(network) if isinstance(network, nn.Module) else torch.no_grad()
        with mode:
            volumes = []
            for index, measurement in enumerate(inputs):
                scanner = operator if isinstance(operator, LinearOperator) else operator(measurement)
                title = f"volume {index + 1}/{len(inputs)}" if len(inputs) > 1 else "reconstruction"
                volumes.append(self._reconstruct(measurement, network, scanner, title))
        result = convert_to_dst_type(torch.stack(volumes), inputs, dtype=torch.float32)[0]
        if isinstance(inputs, MetaTensor) and hasattr(operator, "volume_affine"):
            affines = torch.stack([operator.volume_affine(measurement) for measurement in inputs])
            result.affine = affines if inputs.affine.ndim == 3 else affines[0]
        return result

    def _reconstruct(self, measurement: Tensor, network: Denoiser, operator: LinearOperator, title: str) -> Tensor:
        """Turn one measurement (C, *range_shape) into one volume (C, X, Y, Z)."""
        _check(measurement, operator, getattr(network, "in_channels", None))
        plain = measurement.as_tensor() if isinstance(measurement, MetaTensor) else measurement
        plain = plain.to(device=_device(network, plain), dtype=torch.float32)
        layout = StackLayout(operator.domain_shape, self.slice_axis, getattr(network, "size_divisor", 1))
        total = len(self.sigmas)

        with tqdm(total=total, desc=f"{title}: starting image", unit="step", disable=not self.progress) as bar:

            def report(step: Step) -> None:
                bar.set_postfix_str(f"sigma {step.sigma:.3g}", refresh=False)
                bar.update()
                if self.callback is not None:
                    self.callback(step)

            def start() -> Tensor:
                shape = (len(plain), *operator.domain_shape)
                volume = plain.new_zeros(shape) if self.start is None else self.start(plain, operator)
                bar.set_description(f"{title}: sampling")
                return layout.stack(volume.reshape(shape).float())

            shared = share_operator(operator) if self.distributed else operator
            scanner = StackedOperator(shared, layout, channels=len(plain))
            self.noise.reset()
            stack = reconstruct(
                self._prior(network, plain.device),
                self.consistency(scanner, plain),
                self.noise,
                self.sigmas,
                start(),  # not held here: its memory is the loop's
                rule=self.rule,
                momentum=self.momentum,
                callback=report,
            )
        return self._bounded(layout.volume(stack))

    def _prior(self, network: Denoiser, device: torch.device) -> Denoiser:
        """The network as the loop calls it for one volume: slices in batches, mirrored at every other call."""
        settings = {"slice_batch": self.slice_batch, "precision": self.precision, "compiled": self.compiled}
        if self._batches is None or self._batches[0] != (network, device, settings):
            self._batches = (network, device, settings), SliceBatches(network, device, **settings)
        denoiser = SharedDenoiser(self._batches[1]) if self.distributed else self._batches[1]
        turns = cycle(([], [] if self.mirror is None else [2 + self.mirror]))

        def prior(x: Tensor, sigma: float) -> Tensor:
            turn = next(turns)
            return self._bounded(denoiser(x.flip(turn), self.noise_excess * sigma).flip(turn))

        return prior

    def _bounded(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) if self.non_negative else x


def _device(network: Denoiser, measurement: Tensor) -> torch.device:
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    return measurement.device if parameter is None else parameter.device


def _check(measurement: Tensor, operator: LinearOperator, channels: int | None) -> None:
    """Raise an `InputError` unless one measurement (C, *range_shape) fits the operator and the prior."""
    if measurement.ndim != 1 + len(operator.range_shape):
        raise InputError(
            f"the measurement has shape (B, {', '.join(map(str, measurement.shape))}), expected (B, C, "
            f"{', '.join(map(str, operator.range_shape))}): a batch of measurements with their channels"
        )
    if tuple(measurement.shape[1:]) != tuple(operator.range_shape):
        raise InputError(
            f"the measurement has shape {tuple(measurement.shape[1:])}, expected {tuple(operator.range_shape)}, which "
            f"the operator gives for a volume of {tuple(operator.domain_shape)}"
        )
    if channels not in (None, len(measurement)):
        raise InputError(f"the measurement has {len(measurement)} channels, expected {channels}, as the prior's slices")
    if not bool(torch.isfinite(measurement).all()):
        raise InputError("the measurement holds NaN or infinite values, expected finite ones")
