# SPDX-License-Identifier: Apache-2.0
"""How noisy a measurement is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from monai_iscs.dtypes import real_tensor
from monai_iscs.operators.linear_operator import LinearOperator, MeasuredImages
from monai_iscs.precision import computing_in

WINDOW = 5  # pixels of an axis that the second differences need
GROUPS = 128  # of pixels with similar signal
GAUSSIAN_MEDIAN = 0.6745  # of |n| for a standard normal n
EDGE_GROWTH = 4  # of an edge's squared response from neighbouring pixels to every other one, at least


def estimate_noise_level(measurement: Tensor, operator: LinearOperator) -> float:
    """Estimate the noise of projections or of other images that are smooth from pixel to pixel.

    The second difference along both image axes, scaled to keep the variance of white noise, sees little of a smooth
    image (Immerkær 1996); an axis of fewer than 5 pixels, such as the rows of a fan beam, is left out of it. Computed
    from every other pixel it responds to noise as strongly, but to the image more strongly: comparing the two
    separates the noise from the image. Photon noise depends on the signal, so pixels are grouped by their local mean,
    and each group's deviation is computed from its median, which edges hardly change. Constant surroundings, such as
    those of a masked brain, are left out. Noise that a detector has blurred counts as image, and so does part of a
    weak noise in an image with much detail: the estimate is then too low.

    Args:
        measurement: such as line integrals (C, view, v, u), real.
        operator: what measured it; its `images` say where the images are.

    Returns:
        Root mean square of the noise's standard deviation, in the measurement's units; 0 if it cannot be estimated: the
        operator measures no images, or images of less than 5 pixels along both axes.

    Raises:
        InputError: a complex measurement.
    """
    measurement = real_tensor(measurement, "measurement")
    return 0.0 if operator.images is None else noise_of_images(measurement, operator.images)


def noise_of_images(measurement: Tensor, images: MeasuredImages) -> float:
    """`estimate_noise_level` for images whose operator is not known yet.

    Args:
        measurement: real.
        images: where they are in it, and what their noise is like.
    """
    found = _variances_by_signal(measurement, images)
    if found is None:
        return 0.0
    _, noise, changing = found
    return float((noise.mean() * changing).sqrt())


def noise_variances(measurement: Tensor, operator: LinearOperator) -> Tensor | None:
    """The variance of each value's noise, which depends on its signal, as photon noise does.

    The variances of `estimate_noise_level`'s groups of pixels, interpolated at each pixel's local mean: weights that
    followed the noisy values themselves would favour those with little of it.

    Args:
        measurement: such as line integrals (C, view, v, u), real.
        operator: what measured it.

    Returns:
        Shaped like the measurement; None if the noise cannot be estimated, or does not depend on the signal.
    """
    measurement = real_tensor(measurement, "measurement")
    if operator.images is None or operator.images.even_noise:
        return None
    found = _variances_by_signal(measurement, operator.images)
    if found is None:
        return None
    signals, variances, _ = found
    pictures = _pictures(measurement, operator.images)
    window = _window(pictures)
    padding = [count // 2 for count in window]
    mean = avg_pool2d(pictures, window, stride=1, padding=padding, count_include_pad=False)
    at = np.interp(mean.double().cpu().numpy(), signals.double().cpu().numpy(), variances.double().cpu().numpy())
    moved = measurement.movedim(operator.images.axes, (-2, -1))
    return torch.from_numpy(at).to(measurement).view(moved.shape).movedim((-2, -1), operator.images.axes)


def _pictures(measurement: Tensor, images: MeasuredImages) -> Tensor:
    """A measurement's images, (N, 1, rows, columns), float32."""
    pictures = measurement.movedim(images.axes, (-2, -1)).float()
    return pictures.reshape(-1, 1, *pictures.shape[-2:])


def _window(pictures: Tensor) -> list[int]:
    """Pixels along both axes; 1 along one that is too short, such as the single row of a fan beam."""
    return [WINDOW if count >= WINDOW else 1 for count in pictures.shape[-2:]]


def _variances_by_signal(measurement: Tensor, images: MeasuredImages) -> tuple[Tensor, Tensor, float] | None:
    """Mean signals of groups of pixels, rising, the noise's variances there, and the share of pixels that change.

    None if the images are too small, or nowhere change.
    """
    pictures = _pictures(measurement, images)
    window = _window(pictures)
    long = [count > 1 for count in window]
    if not any(long):
        return None
    difference = pictures.new_tensor([1.0, -2.0, 1.0]) / 6**0.5
    along_v, along_u = (difference if enough else difference.new_ones(1) for enough in long)
    kernel = (along_v[:, None] * along_u)[None, None]
    with computing_in("float32", pictures.device):  # rounded factors would look like noise
        near = conv2d(pictures, kernel)
        far = conv2d(pictures, kernel, dilation=2).flatten().abs()
    inner = [slice(1, -1) if enough else slice(None) for enough in long]
    near = near[(..., *inner)].flatten().abs()
    mean = avg_pool2d(pictures, window, stride=1).flatten()
    (changing,) = torch.where((near > 0) | (far > 0))
    if len(changing) == 0:
        return None
    order = changing[mean[changing].argsort()]
    groups = order.tensor_split(1 if images.even_noise else min(GROUPS, len(order)))
    near, far = (torch.stack([(r[group].median() / GAUSSIAN_MEDIAN).square() for group in groups]) for r in (near, far))
    noise = ((EDGE_GROWTH * near - far) / (EDGE_GROWTH - 1)).clamp(min=0)
    signals = torch.stack([mean[group].mean() for group in groups])
    return signals, noise, len(changing) / len(mean)
