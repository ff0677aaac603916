# SPDX-License-Identifier: Apache-2.0
"""The sampler as a MONAI inferer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from monai.data import MetaTensor, decollate_batch
from monai.inferers import Inferer
from monai.networks.utils import eval_mode
from monai.utils import convert_to_dst_type
from torch import Tensor, nn
from tqdm import tqdm

from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers.hardware import Hardware
from monai_iscs.operators import LinearOperator
from monai_iscs.priors.batches import SliceBatches
from monai_iscs.priors.denoisers import StackDenoiser
from monai_iscs.sampling import Ensemble, Recipe, Run, State, check_samples
from monai_iscs.scans import Measurement
from monai_iscs.scans.meta import carries_scan, from_meta_tensor

Networks = StackDenoiser | Mapping[str, StackDenoiser] | nn.ModuleDict


class SliceDiffusionInferer(Inferer):
    """Reconstruct volumes from measurements with a prior of 2D slices and slice-consistent noise.

    Works in `SupervisedEvaluator`: the batch's image is the measurement, the network is the prior.

    Args:
        recipe: every choice of the reconstruction; `Recipe()` is the paper's method with the authors' numbers. Bundles
            have recipes that were tuned for their priors.
        scan: the operator of measurements that don't carry their scan, on (X, Y, Z). Those of `SimulateMeasurementd`
            and `TakeAsMeasuredd` carry it.
        hardware: where and how the networks compute.
        seed: of the sampler's random numbers, for every volume: equal inputs give equal volumes.
        samples: 1, or an even number of samples, in pairs of opposite noise, whose mean is the result; `run` gives
            their spread too.
        progress: show a progress bar for each volume.
        callback: called with the `State` of each step.

    Raises:
        InputError: an odd number of samples above 1, or several of a method without random numbers.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        scan: LinearOperator | None = None,
        hardware: Hardware | None = None,
        seed: int = 0,
        samples: int = 1,
        progress: bool = True,
        callback: Callable[[State], Any] | None = None,
    ) -> None:
        self.recipe = recipe
        self.scan = scan
        self.hardware = Hardware() if hardware is None else hardware
        self.seed = seed
        self.samples = check_samples(samples, recipe)
        self.progress = progress
        self.callback = callback
        # of the last volume: the next one needs no new compilation or memory estimate
        self._batches: dict[tuple[int, torch.device], SliceBatches] = {}

    def __call__(self, inputs: Tensor, network: Networks, scan: LinearOperator | None = None) -> Tensor:
        """Reconstruct a batch of volumes, one after the other.

        Args:
            inputs: measurements (B, C, *operator.range_shape), such as (B, 1, view, v, u), real.
            network: prior, `network(x, sigma) -> E[x0 | x]` on (S, C, H, W); or several by the names that the recipe's
                prior uses, in a mapping or a `ModuleDict`. A module computes on its own device, in evaluation mode and
                without gradients. Its attributes `size_divisor` and `in_channels`, if it has them, say what H and W
                must be multiples of, and what C is.
            scan: overrides the constructor's.

        Returns:
            Volumes (B, C, X, Y, Z), float32, on the measurement's device; MetaTensors with the file names and the grids
            of the measurements if these carry their scan.

        Raises:
            InputError: a measurement without a scan, or one that doesn't fit it or the network.
        """
        scan = self.scan if scan is None else scan
        if inputs.ndim < 3 or (scan is not None and inputs.ndim != 2 + len(scan.range_shape)):
            sizes = "..." if scan is None else ", ".join(map(str, scan.range_shape))
            raise InputError(
                f"measurement: found shape {tuple(inputs.shape)}, expected (B, C, {sizes}): a batch of measurements "
                "with their channels"
            )
        batch = isinstance(inputs, MetaTensor) and inputs.is_batch
        measurements = [measurement_of(item, scan) for item in (decollate_batch(inputs) if batch else inputs)]
        volumes = []
        for index, measurement in enumerate(measurements):
            title = f"volume {index + 1}/{len(inputs)}" if len(inputs) > 1 else "reconstruction"
            volumes.append(self._reconstruct(measurement, network, title))
        result = convert_to_dst_type(torch.stack(volumes), inputs, dtype=torch.float32)[0]
        if isinstance(inputs, MetaTensor):
            affines = torch.tensor([measurement.grid.affine for measurement in measurements], dtype=torch.float64)
            result.affine = affines if inputs.affine.ndim == 3 else affines[0]
        return result

    def run(self, measurement: Measurement, network: Networks) -> Run | Ensemble:
        """The reconstruction of one measurement, to iterate over its steps: those of an ensemble with several samples.

        Args:
            measurement: to reconstruct.
            network: as in a call; modules must be in evaluation mode.

        Raises:
            InputError: a measurement that doesn't fit the network.
        """
        networks = _by_name(network)
        device = _device(networks, measurement.data)
        if (measurement.data.device, measurement.data.dtype) != (device, torch.float32):
            measurement = measurement.to(device, torch.float32)
        self._batches = {
            (id(module), device): self._batches.get((id(module), device)) or self.hardware.batches(module, device)
            for module in networks.values()
        }
        denoisers = {
            name: self.hardware.shared_denoiser(self._batches[id(module), device]) for name, module in networks.items()
        }
        bind = partial(self.recipe.bind, denoisers, self.hardware.shared_measurement(measurement), seed=self.seed)
        return bind() if self.samples == 1 else Ensemble(lambda member: bind(member=member), self.samples)

    def _reconstruct(self, measurement: Measurement, network: Networks, title: str) -> Tensor:
        """Turn one measurement into one volume (C, X, Y, Z)."""
        with _evaluating(network):
            run = self.run(measurement, network)
            with tqdm(total=len(run), desc=title, unit="step", disable=not self.progress) as bar:
                for state in run:
                    bar.set_postfix_str(f"sigma {state.sigma:.3g}", refresh=False)
                    bar.update()
                    if self.callback is not None:
                        self.callback(state)
            return run.volume


def measurement_of(item: Tensor, scan: LinearOperator | None = None) -> Measurement:
    """One measurement (C, *range_shape) with its scan: the given one, else the one that the tensor carries.

    Raises:
        InputError: there is none, or it does not fit the data.
    """
    if scan is None:
        if not carries_scan(item):
            raise InputError("scan: found none, expected an operator, or a measurement that carries its scan")
        return from_meta_tensor(item)
    grid = Grid(scan.domain_shape, item.affine) if isinstance(item, MetaTensor) else None
    return Measurement(item, scan, grid)


def _by_name(network: Networks) -> Mapping[str, StackDenoiser]:
    """Networks by their names; a single one is the prior."""
    if isinstance(network, nn.ModuleDict):
        return dict(network.items())
    return network if isinstance(network, Mapping) else {"prior": network}


def _device(networks: Mapping[str, StackDenoiser], data: Tensor) -> torch.device:
    """The device of the networks' weights, else of the data."""
    modules = (network for network in networks.values() if isinstance(network, nn.Module))
    weights = (weight for module in modules for weight in module.parameters())
    return next((weight.device for weight in weights), data.device)


@contextmanager
def _evaluating(network: Networks) -> Iterator[None]:
    """All modules in evaluation mode, without gradients."""
    with torch.no_grad(), ExitStack() as stack:
        for module in _by_name(network).values():
            if isinstance(module, nn.Module):
                stack.enter_context(eval_mode(module))
        yield
