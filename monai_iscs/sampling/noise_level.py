# SPDX-License-Identifier: Apache-2.0
"""How noisy a measurement is, and how closely it should therefore be met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from monai_iscs.errors import InputError
from monai_iscs.operators import LinearOperator

NoiseLevel = float | Callable[[Tensor], float]

GAUSSIAN_MEDIAN = 0.6745  # of |n| for a standard normal n
EDGE_GROWTH = 4  # of an edge's squared response from neighbouring pixels to every other one, at least


def estimate_noise_level(measurement: Tensor, *, axes: tuple[int, int] = (-2, -1), groups: int = 128) -> float:
    """Estimate the noise of projections or of other images that are smooth from pixel to pixel.

    The second difference along both image axes, scaled to keep the variance of white noise, sees little of a smooth
    image (Immerkær 1996). Taken from every other pixel it answers to noise as strongly, and to what the image holds
    more strongly: the two tell the noise from the image. Photon noise depends on the signal, so pixels are grouped by
    their local mean and the deviation is that of each group's median, which edges hardly move. Noise that a detector
    has blurred is taken for the image; the estimate is then too low.

    Args:
        measurement: images of at least 5 × 5 pixels, such as line integrals (C, view, v, u).
        axes: the two axes of its images.
        groups: number of groups; 1 for noise that does not depend on the signal, as that of MR images.

    Returns:
        Root mean square of the noise's standard deviation, in the measurement's units; 0 where none can be told from
        the image.

    Raises:
        InputError: images that are too small.
    """
    if measurement.ndim < 2 or min(measurement.shape[axis] for axis in axes) < 5:
        raise InputError(f"measurement has shape {tuple(measurement.shape)}, expected images of at least 5 x 5 pixels")
    images = measurement.movedim(axes, (-2, -1)).float()
    images = images.reshape(-1, 1, *images.shape[-2:])
    line = images.new_tensor([1.0, -2.0, 1.0])
    kernel = (line[:, None] * line)[None, None] / 6
    order = avg_pool2d(images, 5, stride=1).flatten().argsort()
    parts = order.tensor_split(min(groups, len(order)))
    near = _variances(conv2d(images, kernel)[..., 1:-1, 1:-1], parts)
    far = _variances(conv2d(images, kernel, dilation=2), parts)
    noise = ((EDGE_GROWTH * near - far) / (EDGE_GROWTH - 1)).clamp(min=0)
    return float(noise.mean().sqrt())


def _variances(response: Tensor, groups: Sequence[Tensor]) -> Tensor:
    response = response.flatten().abs()
    return torch.stack([(response[group].median() / GAUSSIAN_MEDIAN).square() for group in groups])


class Discrepancy:
    """How far an image is from meeting a measurement up to its noise (the discrepancy principle, Morozov 1966).

    Args:
        operator: the scanner A.
        measurement: y.
        noise_level: root mean square of y's noise, or a function that tells it from y, as `estimate_noise_level`.

    Attributes:
        norm: the norm of the noise, what is left of `y - A x` at the true x; 0 where y is to be met exactly.

    Raises:
        InputError: a negative level.
    """

    def __init__(self, operator: LinearOperator, measurement: Tensor, noise_level: NoiseLevel) -> None:
        level = noise_level(measurement) if callable(noise_level) else noise_level
        if not level >= 0:
            raise InputError(f"noise_level is {level}, expected at least 0")
        self.operator = operator
        self.measurement = measurement
        self.norm = level * measurement.numel() ** 0.5

    def excess(self, x: Tensor) -> float:
        """How much ‖y - A x‖² is above the noise's; without noise nothing is enough."""
        if not self.norm:
            return math.inf
        return float((self.measurement - self.operator(x)).double().square().sum()) - self.norm**2

    def share(self, residual: Tensor) -> float:
        """The noise's part of ‖residual‖, at most 1."""
        return self.norm / max(float(residual.norm()), self.norm) if self.norm else 0.0
