# SPDX-License-Identifier: Apache-2.0
"""What a scanner measured: all that a method may see."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.files import staged, telling
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamProjector, LinearOperator, WeightedOperator
from monai_iscs.scans.description import describe_operator, operator_of
from monai_iscs.scans.noise_level import estimate_noise_level, noise_variances
from monai_iscs.scans.weights import checked_weights, packed, unpacked

VERSION = 1  # of the description's format
UNEXPLAINED = 0.25  # of the noise's mean variance: error of the scan's model; less makes systems ill-conditioned


class Measurement:
    """y = A x + noise, with all that is known about it.

    Args:
        data: y, (C, *operator.range_shape), such as line integrals (C, view, v, u); real and finite.
        operator: A, from volumes (X, Y, Z) on the grid.
        grid: of the volume to reconstruct. None: that of a `ConeBeamProjector`, else voxels of 1 mm, centred on the
            origin.
        noise_level: root mean square of the noise, in the units of y; 0 without noise. None: estimated from y
            when a method asks for it, see `estimate_noise_level`.
        weights: how much each value counts in a fit, of the operator's range shape: at least 0, and 1 where nobody
            knows better; 0 where nothing was measured. None: 1 everywhere.

    Attributes:
        kept: volumes made of it that several users need, by name; not copied with it.

    Raises:
        InputError: data or weights of another shape, complex or not finite, another grid than the operator's, or a
            negative level.
    """

    def __init__(
        self,
        data: Tensor,
        operator: LinearOperator,
        grid: Grid | None = None,
        *,
        noise_level: float | None = None,
        weights: Tensor | None = None,
    ) -> None:
        data = real_tensor(data, "measurement").as_subclass(torch.Tensor)
        grid = _usual_grid(operator) if grid is None else grid
        if data.ndim != 1 + len(operator.range_shape) or tuple(data.shape[1:]) != tuple(operator.range_shape):
            raise InputError(
                f"measurement: found shape {tuple(data.shape)}, expected (C, "
                f"{', '.join(map(str, operator.range_shape))}), which the operator gives for a volume of "
                f"{tuple(operator.domain_shape)} voxels"
            )
        if not bool(torch.isfinite(data).all()):
            raise InputError("measurement: found NaN or infinite values, expected finite ones")
        if tuple(operator.domain_shape) != grid.shape:
            raise InputError(f"grid: found {grid.shape} voxels, expected the operator's {tuple(operator.domain_shape)}")
        if noise_level is not None and not noise_level >= 0:
            raise InputError(f"noise_level: found {noise_level}, expected a number of at least 0")
        self.data, self.operator, self.grid = data, operator, grid
        self._given = noise_level
        self.kept: dict[str, Tensor] = {}
        self._deviation: float | None = None  # of `weighted`: its noise level is a mean that counts the weights
        self.weights = None if weights is None else checked_weights(weights, operator.range_shape).to(data.device)

    @cached_property
    def noise_level(self) -> float:
        """Root mean square of the noise: given, or estimated."""
        return estimate_noise_level(self.data, self.operator) if self._given is None else float(self._given)

    @cached_property
    def weighted(self) -> Measurement:
        """√W y = √W A x, whose plain least squares are the weighted ones of y; the very same without weights.

        Its noise level is that of what counts: the root mean square over all values, weights included.
        """
        if self.weights is None:
            return self
        operator = WeightedOperator(self.operator, self.weights)
        level = self.noise_level * float(self.weights.double().mean().sqrt())
        return self._scaled(operator, level, self.noise_level)

    @cached_property
    def whitened(self) -> Measurement:
        """`weighted`, with each value's weight divided by the variance of its noise: penalised weighted least squares.

        The variances are estimated, see `noise_variances`. What the model of the scan leaves unexplained adds the same
        to all of them: the part of a given noise level that they do not have, at least `UNEXPLAINED` of their mean.
        `weighted` itself where they cannot be estimated, such as without noise, or with several channels, whose noise
        may differ. (Thibault et al. 2007, Medical Physics 34.)
        """
        variances = noise_variances(self.data, self.operator) if self.noise_level and self.channels == 1 else None
        if variances is None:
            return self.weighted
        variances = variances[0]
        counted = torch.ones_like(variances) if self.weights is None else (self.weights > 0).to(variances)

        def mean(values: Tensor) -> float:
            """Of those that count: what was masked may be anything."""
            return float((values * counted).double().sum() / counted.double().sum())

        known = mean(variances)
        if known == 0:
            return self.weighted
        if self._given is not None and self._given**2 < known:  # who gives a level knows better
            variances, known = variances * (self._given**2 / known), self._given**2
        total = variances + max(self.noise_level**2 - known, UNEXPLAINED * known)
        deviation = mean(total) ** 0.5
        own = torch.ones_like(variances) if self.weights is None else self.weights
        operator = WeightedOperator(self.operator, (deviation**2 / total).float() * own)
        level = deviation * float(own.double().mean().sqrt())
        return self._scaled(operator, level, deviation)

    def _scaled(self, operator: WeightedOperator, level: float, deviation: float) -> Measurement:
        found = Measurement(self.data * operator.roots(self.data), operator, self.grid, noise_level=level)
        found._deviation = deviation
        return found

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise of a value whose weight is 1; of `weighted` and `whitened` that of each."""
        return self.noise_level if self._deviation is None else self._deviation

    @property
    def channels(self) -> int:
        """C, of the data and of the volume."""
        return len(self.data)

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """(C, X, Y, Z) of the volume to reconstruct."""
        return (self.channels, *self.grid.shape)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Measurement:
        """The same on another device, and of another type: float32 or float64; itself where nothing changes."""
        data = self.data.to(device, dtype)
        if data is self.data:
            return self
        found = Measurement(data, self.operator, self.grid, noise_level=self._given, weights=self.weights)
        found._deviation = self._deviation
        return found

    def changed(
        self,
        *,
        data: Tensor | None = None,
        operator: LinearOperator | None = None,
        noise_level: float | None = None,
    ) -> Measurement:
        """A copy with some parts replaced. With new data and no new noise level, that is estimated again."""
        known = noise_level if noise_level is not None or data is not None else self._given
        found = Measurement(
            self.data if data is None else data,
            self.operator if operator is None else operator,
            self.grid,
            noise_level=known,
            weights=self.weights,
        )
        if noise_level is None and data is None:
            found._deviation = self._deviation
        return found

    def description(self) -> str:
        """All but the data as one text: operator, grid, weights, and the noise level if it was given.

        Raises:
            InputError: an operator that `describe_operator` does not know.
        """
        found = {
            "version": VERSION,
            "operator": describe_operator(self.operator),
            "grid": asdict(self.grid),
            "noise_level": self._given,
            "weights": None if self.weights is None else packed(self.weights),
        }
        return json.dumps(found)

    @classmethod
    def of_description(cls, data: Tensor, text: str) -> Measurement:
        """The measurement again, from its data and its `description`.

        Raises:
            InputError: a text that is not a description, or an error of the constructor.
        """
        try:
            found = json.loads(text)
            version, grid = found["version"], found["grid"]
            described, noise_level = found["operator"], found["noise_level"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"measurement: found {text!r:.40}, expected its description ({error!r:.60})") from None
        if version != VERSION:
            raise InputError(f"measurement: found version {version!r:.20} of its description, expected {VERSION}")
        if not (noise_level is None or (isinstance(noise_level, int | float) and not isinstance(noise_level, bool))):
            raise InputError(f"noise_level: found {noise_level!r:.40}, expected a number or none")
        try:
            grid = Grid(**grid)
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"grid: found {grid!r:.60}, expected a shape and an affine") from None
        operator = operator_of(described, grid)
        weights = unpacked(found.get("weights"), operator.range_shape)
        return cls(data, operator, grid, noise_level=noise_level, weights=weights)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one file: an `.npz` of NumPy, without pickled objects.

        The file appears when it is complete; an earlier file of that name stays unchanged until then.

        Args:
            path: of the file; its folder is created if missing.

        Raises:
            InputError: an operator that `describe_operator` does not know.
            OutputError: the file can't be written.
        """
        path = Path(path)
        text = np.frombuffer(self.description().encode(), np.uint8)
        with telling(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path.parent) as folder, (folder / path.name).open("wb") as file:
            np.savez(file, data=self.data.detach().cpu().numpy(), description=text)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Measurement:
        """Read what `save` wrote; the data are on the CPU.

        Raises:
            InputError: a file that is missing, damaged or not a measurement.
        """
        path = Path(path)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                data, text = content["data"], content["description"].tobytes().decode()
            return cls.of_description(torch.from_numpy(data), text)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:  # for damaged files NumPy's readers raise errors of many kinds
            raise _unreadable(path, error) from error


def _usual_grid(operator: LinearOperator) -> Grid:
    _, inner = operator.factored()
    if isinstance(inner, ConeBeamProjector):
        return inner.grid
    return Grid.centered(operator.domain_shape, (1.0, 1.0, 1.0))


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: found no such file, expected a measurement")
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return InputError(f"{path}: found a damaged file or one of another kind ({reason}), expected a measurement")
