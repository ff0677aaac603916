# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resize

from monai_iscs.errors import InputError
from monai_iscs.transforms import FitInPlane, FitInPlaneD, FitInPlaned, FitInPlaneDict
from monai_iscs.transforms.fit import area_weights


@pytest.fixture
def affine() -> np.ndarray:
    """RAS, square pixels, not centred."""
    return np.array([[2.0, 0, 0, -31], [0, 2.0, 0, -47], [0, 0, 3.0, 12], [0, 0, 0, 1]])


def coordinates(shape: tuple[int, int, int], affine: np.ndarray) -> MetaTensor:
    """An image whose three channels are the world coordinates of its voxel centres."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in shape), indexing="ij"))
    matrix = torch.as_tensor(affine)
    world = torch.einsum("ij,jxyz->ixyz", matrix[:3, :3], index) + matrix[:3, 3, None, None, None]
    return MetaTensor(world.float(), affine=matrix)


def test_halving_is_the_mean_of_two_by_two(affine):
    fine = MetaTensor(torch.rand(1, 32, 32, 5), affine=torch.as_tensor(affine))
    coarse = FitInPlane(16)(fine)
    mean = fine.as_tensor().reshape(1, 16, 2, 16, 2, 5).mean((2, 4))
    torch.testing.assert_close(coarse.as_tensor(), mean)
    torch.testing.assert_close(coarse.as_tensor(), Resize((16, 16, 5), mode="area")(fine).as_tensor())
    expected = affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(coarse.affine, expected)


@pytest.mark.parametrize("shape", [(32, 32, 3), (22, 32, 3), (30, 20, 3), (9, 14, 3)])
def test_a_slice_is_fitted_as_in_its_volume(affine, shape):
    volume = MetaTensor(torch.rand(1, *shape), affine=torch.as_tensor(affine))
    fitted = FitInPlane(16)(volume).as_tensor()
    for k in range(3):
        one = FitInPlane(16)(volume.as_tensor()[..., k])
        torch.testing.assert_close(one, fitted[..., k])
        torch.testing.assert_close(FitInPlane(16)(volume[..., k]).as_tensor(), one)
        half = FitInPlane(16)(volume.as_tensor()[..., k].half())
        torch.testing.assert_close(half.float(), one, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("shape", "size", "pixels"),
    [((32, 32, 4), 16, 1e-4), ((22, 32, 4), 16, 1e-4), ((31, 20, 3), 64, 1e-4), ((30, 30, 4), 17, 0.13)],
)
def test_the_affine_says_where_every_voxel_is(affine, shape, size, pixels):
    image = coordinates(shape, affine)
    fitted = FitInPlane(size)(image)
    patient = FitInPlane(size)(image * 0 + 1)[0].as_tensor() > 0.999
    assert 0.1 < patient.float().mean() <= 1
    expected = coordinates(tuple(fitted.shape[1:]), fitted.affine.numpy())
    apart = (fitted - expected).as_tensor()[:, patient].norm(dim=0)
    assert float(apart.max()) < pixels * 2.5


@pytest.mark.parametrize(("fine", "coarse"), [(256, 128), (130, 128), (300, 128), (7, 3)])
def test_area_weights_keep_the_mass_and_move_nothing(fine, coarse):
    weights = area_weights(fine, coarse).double()
    torch.testing.assert_close(weights.sum(1), torch.ones(coarse).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.sum(0), torch.full((fine,), coarse / fine).double(), atol=1e-6, rtol=0)
    # interval centres, in fine pixels; a pixel shared with the neighbour counts at its own centre
    centres = weights @ torch.arange(fine).double()
    expected = (torch.arange(coarse) + 0.5) * fine / coarse - 0.5
    assert float((centres - expected).abs().max()) < 0.13


@pytest.mark.parametrize("shape", [(40, 30, 6), (16, 16, 6), (9, 14, 3), (33, 21, 4)])
def test_inverse_restores_shape_and_affine(affine, shape):
    x, y, z = torch.meshgrid(*(torch.linspace(0, 1, n) for n in shape), indexing="ij")
    image = MetaTensor((x + 2 * y - z)[None], affine=torch.as_tensor(affine))
    fit = FitInPlane(16, fill=1.0)
    back = fit.inverse(fit(image))
    assert back.shape == image.shape
    assert back.applied_operations == []
    torch.testing.assert_close(back.affine, image.affine, atol=1e-9, rtol=0)
    if max(shape[:2]) <= 16:
        assert torch.equal(back.as_tensor(), image.as_tensor())
    else:  # averaging and linear interpolation keep a plane, away from the padding
        inner = (slice(None), slice(4, -4), slice(4, -4))
        torch.testing.assert_close(back.as_tensor()[inner], image.as_tensor()[inner], atol=0.02, rtol=0)


def test_small_slices_are_padded_with_air_and_not_enlarged(affine):
    image = MetaTensor(torch.ones(1, 9, 14, 3), affine=torch.as_tensor(affine))
    fitted = FitInPlane(16)(image)
    assert fitted.shape == (1, 16, 16, 3)
    assert fitted.sum() == image.sum()
    torch.testing.assert_close(fitted[:, 3:12, 1:15].as_tensor(), image.as_tensor())


def test_plain_tensor_and_dictionary(affine):
    plain = torch.rand(1, 8, 8, 2)
    assert not isinstance(FitInPlane(4)(plain), MetaTensor)
    chain = Compose([FitInPlaned(["a", "b"], 4)])
    image = MetaTensor(plain, affine=torch.as_tensor(affine))
    fitted = chain({"a": image, "b": image + 1})
    torch.testing.assert_close(fitted["a"].as_tensor(), FitInPlane(4)(plain))
    torch.testing.assert_close((fitted["b"] - fitted["a"]).as_tensor(), torch.ones(1, 4, 4, 2))
    assert chain.inverse(fitted)["b"].shape == plain.shape
    assert FitInPlaneD is FitInPlaned
    assert FitInPlaneDict is FitInPlaned


@pytest.mark.parametrize("size", [16, 128])
@pytest.mark.parametrize(
    ("shape", "pixel"), [((80, 16, 3), (1.0, 5.0)), ((16, 70, 3), (5.0, 1.2)), ((30, 20, 2), (1.0, 1.1))]
)
def test_pixels_become_square_in_mm(shape, pixel, size):
    """A coronal or sagittal stack keeps its shape, mass and position, and is restored on its grid."""
    affine = torch.diag(torch.tensor([*pixel, 4.0, 1.0]).double())
    affine[:3, 3] = torch.tensor([3.0, -4.0, 5.0])
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = MetaTensor(torch.exp(-4 * (x - 0.1) ** 2 - 4 * (y + 0.1) ** 2)[None] * (z + 2), affine=affine)
    fit = FitInPlane(size)
    fitted = fit(image)
    assert fitted.shape == (1, size, size, shape[2])
    sides = fitted.affine[:2, :2].norm(dim=0)
    assert float(sides[0]) == pytest.approx(float(sides[1]))
    assert float(sides[0]) == pytest.approx(max(shape[0] * pixel[0] / size, shape[1] * pixel[1] / size, min(pixel)))
    area = pixel[0] * pixel[1]
    assert float(fitted.sum()) * float(sides.prod()) == pytest.approx(float(image.sum()) * area, rel=1e-4)
    for one, other in zip(_centre(fitted), _centre(image), strict=True):
        assert one == pytest.approx(other, abs=0.05)
    back = fit.inverse(fitted)
    assert back.shape == image.shape
    torch.testing.assert_close(back.affine, image.affine, atol=1e-9, rtol=0)
    if size == 128:
        assert float((back - image).abs().max()) < 0.35
    plain = FitInPlane(size, fill=1.0)(image * 0 + 1)
    torch.testing.assert_close(plain.as_tensor(), torch.ones(1, size, size, shape[2]))


def _centre(image: MetaTensor) -> list[float]:
    """Of the signal, in mm."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in image.shape[1:]), indexing="ij"))
    values = image[0].as_tensor().double()
    mean = (index * values).flatten(1).sum(1) / values.sum()
    return (image.affine[:3, :3] @ mean + image.affine[:3, 3]).tolist()


def test_pixels_that_are_square_but_for_rounding_are_fitted_as_before(affine):
    image = MetaTensor(torch.rand(1, 32, 32, 5), affine=torch.diag(torch.tensor([1.0, 1.001, 2, 1]).double()))
    mean = image.as_tensor().reshape(1, 16, 2, 16, 2, 5).mean((2, 4))
    torch.testing.assert_close(FitInPlane(16)(image).as_tensor(), mean)


def test_size_must_be_positive():
    with pytest.raises(InputError, match="size: found 0"):
        FitInPlane(0)
