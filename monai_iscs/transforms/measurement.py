# SPDX-License-Identifier: Apache-2.0
"""Simulated measurements: what the scanner would see of a volume, with its noise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator
from monai_iscs.randomness import random_stream
from monai_iscs.scans.scan import Scan
from monai_iscs.transforms.checks import real_image

Noise = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


class SimulateMeasurement(Transform):
    """Measure a volume: y = A x, with the photon noise of an X-ray detector, Gaussian noise, or none.

    With N0 photons per detector pixel the counts are n ~ Poisson(N0 exp(-A x)), and y = -log(max(n, 1) / N0).

    Args:
        operator: a `LinearOperator` on (X, Y, Z), or a factory called with the volume, as a `Scan` is; with a scan, a
            volume that it can't see all of is refused.
        photons: photons per detector pixel without a patient, N0; None: no photon noise.
        noise_std: standard deviation of Gaussian noise on the line integrals; None: none.
        noise: any other noise, `noise(measurement, generator) -> measurement` on the CPU, such as `RicianNoise`; the
            last to be added. None: none.
        seed: decides the noise, by a stream of its own (`random_stream`): no sampler has the same numbers, whatever its
            seed. Every call starts from it: the same volume always gives the same measurement, on any device.

    Raises:
        InputError: photons, a standard deviation or a seed out of range.
    """

    def __init__(
        self,
        operator: LinearOperator | Callable[[torch.Tensor], LinearOperator],
        *,
        photons: float | None = None,
        noise_std: float | None = None,
        noise: Noise | None = None,
        seed: int = 0,
    ) -> None:
        if photons is not None and not photons > 0:
            raise InputError(f"photons: found {photons:g}, expected a positive count per detector pixel")
        if noise_std is not None and not noise_std >= 0:
            raise InputError(f"noise_std: found {noise_std:g}, expected zero or a positive number")
        random_stream(seed, "measurement")  # refuses a seed that is none now, not at the first volume
        self.operator = operator
        self.photons = photons
        self.noise_std = noise_std
        self.noise = noise
        self.seed = seed

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Measure `img`.

        Args:
            img: volume (C, X, Y, Z) in prior units, real.

        Returns:
            (C, *operator.range_shape), such as line integrals (C, view, v, u). The file name is the volume's and so is
            the affine, unless the scan says another, and `meta["volume_shape"]` is (X, Y, Z): enough to rebuild the
            operator from the measurement alone. float64 for float64, else float32.

        Raises:
            InputError: a volume of another shape or a complex one, or one that the scan can't see all of.
        """
        img = real_image(img)
        if isinstance(self.operator, Scan):
            self.operator.check_field(img)
        operator = self.operator if isinstance(self.operator, LinearOperator) else self.operator(img)
        volume = img.as_tensor() if isinstance(img, MetaTensor) else img
        measurement = self._add_noise(torch.stack([operator(channel) for channel in volume]))
        result = MetaTensor(measurement)
        if isinstance(img, MetaTensor):
            result.copy_meta_from(img)
            result.applied_operations = []  # the volume's history can't be undone on a measurement
            if isinstance(self.operator, Scan):
                result.affine = self.operator.measurement_affine(img)
        result.meta["volume_shape"] = tuple(volume.shape[1:])
        return result

    def _add_noise(self, clean: torch.Tensor) -> torch.Tensor:
        generator = random_stream(self.seed, "measurement")
        noisy = clean.cpu()
        if self.photons is not None:
            counts = torch.poisson(self.photons * torch.exp(-noisy), generator=generator)
            noisy = -torch.log(counts.clamp(min=1) / self.photons)
        if self.noise_std is not None:
            noisy = noisy + self.noise_std * torch.randn(noisy.shape, generator=generator)
        if self.noise is not None:
            noisy = self.noise(noisy, generator)
        return noisy.to(clean)


class SimulateMeasurementd(MapTransform):
    """Dictionary version of `SimulateMeasurement`: the measurement of `keys` goes to `measurement_key`.

    Args:
        keys: key of the volume.
        operator: see `SimulateMeasurement`.
        measurement_key: key of the measurement (one per volume key).
        photons: see `SimulateMeasurement`.
        noise_std: see `SimulateMeasurement`.
        noise: see `SimulateMeasurement`.
        seed: see `SimulateMeasurement`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        operator: LinearOperator | Callable[[torch.Tensor], LinearOperator],
        *,
        measurement_key: KeysCollection = "measurement",
        photons: float | None = None,
        noise_std: float | None = None,
        noise: Noise | None = None,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.measurement_keys = (measurement_key,) if isinstance(measurement_key, str) else tuple(measurement_key)
        if len(self.measurement_keys) != len(self.keys):
            raise ValueError(f"measurement_key: found {self.measurement_keys}, expected one for each of {self.keys}")
        self.simulate = SimulateMeasurement(operator, photons=photons, noise_std=noise_std, noise=noise, seed=seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Measure every key."""
        result = dict(data)
        for key, measurement_key in self.key_iterator(result, self.measurement_keys):
            result[measurement_key] = self.simulate(result[key])
        return result


SimulateMeasurementD = SimulateMeasurementDict = SimulateMeasurementd
