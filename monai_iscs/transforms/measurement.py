# SPDX-License-Identifier: Apache-2.0
"""Measurements of volumes: simulated, or taken from images that a scanner measured."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator
from monai_iscs.randomness import random_stream
from monai_iscs.scans.measured import MeasuredScan
from monai_iscs.scans.meta import grid_of, naming, projections_of, to_meta_tensor
from monai_iscs.scans.projections import Projections
from monai_iscs.scans.scan import Noise, Scan, measure
from monai_iscs.scans.thick_slices import ThickSliceScan
from monai_iscs.transforms.checks import real_image


class SimulateMeasurement(Transform):
    """Measure a volume: y = A x, with the photon noise of an X-ray detector, Gaussian noise, or none.

    With N0 photons per detector pixel the counts are n ~ Poisson(N0 exp(-A x)), and y = -log(max(n, 1) / N0).

    Args:
        scan: a `Scan`, which refuses a volume that it can't see completely, or a `LinearOperator` on (X, Y, Z).
        photons: photons per detector pixel without a patient, N0; None: no photon noise.
        noise_std: standard deviation of Gaussian noise on the line integrals; None: none.
        noise: any other noise, `noise(measurement, generator) -> measurement` on the CPU, such as `RicianNoise`; added
            last. None: none.
        noise_level: root mean square of the noise that a method assumes, in the units in which it gets the measurement:
            a later transform that scales the data does not change it. None: the method estimates it.
        seed: of the noise, with its own random stream (`random_stream`): a sampler never has the same numbers, for any
            seed. Every call starts from it: the same volume always gives the same measurement, on any device.

    Raises:
        InputError: photons, a standard deviation, a level or a seed out of range.
    """

    def __init__(
        self,
        scan: Scan | LinearOperator,
        *,
        photons: float | None = None,
        noise_std: float | None = None,
        noise: Noise | None = None,
        noise_level: float | None = None,
        seed: int = 0,
    ) -> None:
        if photons is not None and not photons > 0:
            raise InputError(f"photons: found {photons:g}, expected a positive count per detector pixel")
        if noise_std is not None and not noise_std >= 0:
            raise InputError(f"noise_std: found {noise_std:g}, expected zero or a positive number")
        random_stream(seed, "measurement")  # refuses a bad seed now, not at the first volume
        self.scan = scan
        self.photons = photons
        self.noise_std = noise_std
        self.noise = noise
        self.noise_level = _checked_level(noise_level)
        self.seed = seed

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Measure `img`.

        Args:
            img: volume (C, X, Y, Z) in prior units, real; for a `Scan` a `MetaTensor` with its affine in mm.

        Returns:
            (C, *operator.range_shape), such as line integrals (C, view, v, u), from which `from_meta_tensor` makes the
            `Measurement`. The file name is the volume's, and so is the affine unless the scan has another. float64 for
            float64, else float32.

        Raises:
            InputError: a volume of another shape or a complex one, or one that the scan can't see completely.
        """
        img = real_image(img)
        random = {"noise": self._add_noise, "generator": random_stream(self.seed, "measurement")}
        affine = None
        if isinstance(self.scan, Scan):
            grid = grid_of(img)
            with naming(img):
                measurement = self.scan.simulate(img, grid, **random)
                affine = self.scan.measurement_affine(grid)
        else:
            grid = grid_of(img) if isinstance(img, MetaTensor) else None
            measurement = measure(self.scan, img, grid, **random)
        result = to_meta_tensor(measurement.changed(noise_level=self.noise_level), like=img, affine=affine)
        result.applied_operations = []  # the volume's history can't be undone on a measurement
        return result

    def project(self, img: torch.Tensor) -> Projections:
        """The projections of a volume, before they are on any grid of a reconstruction.

        Args:
            img: see `__call__`; the scan is a `ConeBeamScan` with `size`.

        Raises:
            InputError: as a call.
        """
        img = real_image(img)
        with naming(img):
            random = {"noise": self._add_noise, "generator": random_stream(self.seed, "measurement")}
            return self.scan.project(img, grid_of(img), **random)[0]

    def _add_noise(self, noisy: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.photons is not None:
            counts = torch.poisson(self.photons * torch.exp(-noisy), generator=generator)
            noisy = -torch.log(counts.clamp(min=1) / self.photons)
        if self.noise_std is not None:
            noisy = noisy + self.noise_std * torch.randn(noisy.shape, generator=generator)
        if self.noise is not None:
            noisy = self.noise(noisy, generator)
        return noisy


class TakeAsMeasured(Transform):
    """Take an image as what a scanner measured.

    Args:
        scan: of the image, without a factor: its thick slices were measured.
        noise_level: see `SimulateMeasurement`.

    Raises:
        InputError: a level out of range.
    """

    def __init__(self, scan: ThickSliceScan, *, noise_level: float | None = None) -> None:
        self.scan = scan
        self.noise_level = _checked_level(noise_level)

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Return `img` (C, X, Y, N), a `MetaTensor` with its affine in mm, with its scan for `from_meta_tensor`.

        Raises:
            InputError: a complex image, or slices that are no thicker than those to reconstruct.
        """
        img = real_image(img)
        grid = grid_of(img)
        with naming(img):
            measurement = self.scan.measured(img, grid)
        return to_meta_tensor(measurement.changed(noise_level=self.noise_level), like=img)


class PlaceProjections(Transform):
    """Make a measurement of a real scanner's projections: on upright detectors, on a grid that holds what they met.

    Args:
        scan: the voxels that are wanted.
        noise_level: see `SimulateMeasurement`.

    Raises:
        InputError: a level out of range.
    """

    def __init__(self, scan: MeasuredScan, *, noise_level: float | None = None) -> None:
        self.scan = scan
        self.noise_level = _checked_level(noise_level)

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Take `img` (1, view, v, u), which `LoadProjections` has made.

        Raises:
            InputError: another tensor, or what `MeasuredScan.place` refuses.
        """
        projections = projections_of(img)
        with naming(img):
            placed = self.scan.place(projections)
        measurement = placed.measurement.changed(noise_level=self.noise_level)
        return to_meta_tensor(measurement, like=img, region=placed.region)


class _Measurementd(MapTransform):
    """Writes the measurement of each key to another key.

    Args:
        keys: keys of the images.
        measure: the transform from an image to its measurement.
        measurement_key: keys of the measurements, one for each of `keys`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, measure: Transform, measurement_key: KeysCollection, allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.measurement_keys = (measurement_key,) if isinstance(measurement_key, str) else tuple(measurement_key)
        if len(self.measurement_keys) != len(self.keys):
            raise ValueError(f"measurement_key: found {self.measurement_keys}, expected one for each of {self.keys}")
        self.measure = measure

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Measure every key."""
        result = dict(data)
        for key, measurement_key in self.key_iterator(result, self.measurement_keys):
            result[measurement_key] = self.measure(result[key])
        return result


class SimulateMeasurementd(_Measurementd):
    """Dictionary version of `SimulateMeasurement`: the measurement of `keys` goes to `measurement_key`.

    Args:
        keys: key of the volume.
        scan: see `SimulateMeasurement`, as for photons to seed.
        measurement_key: key of the measurement (one per volume key).
        photons: N0.
        noise_std: of Gaussian noise.
        noise: any other noise.
        noise_level: assumed by methods.
        seed: of the noise.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scan: Scan | LinearOperator,
        *,
        measurement_key: KeysCollection = "measurement",
        photons: float | None = None,
        noise_std: float | None = None,
        noise: Noise | None = None,
        noise_level: float | None = None,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        simulate = SimulateMeasurement(
            scan, photons=photons, noise_std=noise_std, noise=noise, noise_level=noise_level, seed=seed
        )
        super().__init__(keys, simulate, measurement_key, allow_missing_keys)


class TakeAsMeasuredd(_Measurementd):
    """Dictionary version of `TakeAsMeasured`: the measurement of `keys` goes to `measurement_key`.

    Args:
        keys: key of the image.
        scan: see `TakeAsMeasured`.
        measurement_key: key of the measurement (one per image key).
        noise_level: see `SimulateMeasurement`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scan: ThickSliceScan,
        *,
        measurement_key: KeysCollection = "measurement",
        noise_level: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        take = TakeAsMeasured(scan, noise_level=noise_level)
        super().__init__(keys, take, measurement_key, allow_missing_keys)


class PlaceProjectionsd(_Measurementd):
    """Dictionary version of `PlaceProjections`: the measurement of `keys` goes to `measurement_key`.

    Args:
        keys: key of the projections.
        scan: see `PlaceProjections`.
        measurement_key: key of the measurement (one per key).
        noise_level: see `SimulateMeasurement`.
        allow_missing_keys: don't raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scan: MeasuredScan,
        *,
        measurement_key: KeysCollection = "measurement",
        noise_level: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        place = PlaceProjections(scan, noise_level=noise_level)
        super().__init__(keys, place, measurement_key, allow_missing_keys)


def _checked_level(noise_level: float | None) -> float | None:
    if noise_level is not None and not noise_level >= 0:
        raise InputError(f"noise_level: found {noise_level:g}, expected a number of at least 0, or None")
    return noise_level


SimulateMeasurementD = SimulateMeasurementDict = SimulateMeasurementd
TakeAsMeasuredD = TakeAsMeasuredDict = TakeAsMeasuredd
PlaceProjectionsD = PlaceProjectionsDict = PlaceProjectionsd
