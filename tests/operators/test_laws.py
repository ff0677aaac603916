# SPDX-License-Identifier: Apache-2.0
"""The contract of every operator and every wrapper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monai_iscs.classical.admm_tv import _DifferencesAndValue
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers.processes import SharedOperator
from monai_iscs.operators import (
    ConeBeamGeometry,
    ConeBeamProjector,
    Differences,
    ForeignOperator,
    GaussianProfile,
    GaussianSmoothing,
    LinearOperator,
    SliceAveraging,
    WeightedOperator,
)
from monai_iscs.sampling import DDNM
from monai_iscs.scans import Measurement

SHAPE = (6, 5, 7)
GRID = Grid.centered(SHAPE, (20.0, 24.0, 30.0))
GEOMETRY = ConeBeamGeometry.paper(GRID, views=4)


def foreign() -> LinearOperator:
    matrix = torch.rand(9, 210, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def there(x):
        return matrix.to(x) @ x.flatten()

    def back(y):
        return (matrix.to(y).T @ y).view(SHAPE)

    return ForeignOperator((there, back), domain_shape=SHAPE, range_shape=(9,))


def weights(A: LinearOperator) -> torch.Tensor:
    """Some of them 0."""
    return (torch.rand(A.range_shape, generator=torch.Generator().manual_seed(1)) - 0.2).clamp(min=0)


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "cone beam": lambda: ConeBeamProjector(GEOMETRY, GRID, backend="torch"),
    "cone beam, rows of three rays": lambda: ConeBeamProjector(GEOMETRY, GRID, backend="torch", row_rays=3),
    "thick slices": lambda: SliceAveraging(SHAPE, factor=2.5),
    "thick slices with a profile, across": lambda: SliceAveraging(SHAPE, factor=3, axis=0, profile=GaussianProfile()),
    "smoothing": lambda: GaussianSmoothing(SHAPE, std=0.7, axis=1),
    "differences": lambda: Differences(SHAPE, axes=(0, 2)),
    "differences and value": lambda: _DifferencesAndValue(SHAPE),
    "foreign": foreign,
}
WRAPPERS: dict[str, Callable[[LinearOperator], LinearOperator]] = {
    "itself": lambda A: A,
    "scaled": lambda A: -2.5 * A,
    "twice scaled": lambda A: 3 * (0.5 * A),
    "transposed": lambda A: A.T,
    "transposed and scaled": lambda A: 2 * A.T,
    "scaled and transposed": lambda A: (2 * A).T,
    "shared between processes": SharedOperator,
    "scaled and shared": lambda A: SharedOperator(0.5 * A),
    "shared and transposed": lambda A: SharedOperator(A).T,
    "weighted": lambda A: WeightedOperator(A, weights(A)),
    "scaled and weighted": lambda A: WeightedOperator(0.5 * A, weights(A)),
    "after smoothing": lambda A: A @ GaussianSmoothing(A.domain_shape, std=0.5, axis=0),
    "scaled after scaled smoothing": lambda A: (2 * A) @ (0.5 * GaussianSmoothing(A.domain_shape, std=0.5, axis=0)),
}
WITH_ROWS = {"cone beam", "cone beam, rows of three rays"}


# Operators that processes can share have rows.
PAIRS = [(name, wrapper) for name in OPERATORS for wrapper in WRAPPERS if "shared" not in wrapper or name in WITH_ROWS]


@pytest.fixture(params=PAIRS, ids=" ".join)
def pair(request) -> tuple[str, str]:
    return request.param


@pytest.fixture
def inner(pair) -> LinearOperator:
    return OPERATORS[pair[0]]()


@pytest.fixture
def wrap(pair) -> Callable[[LinearOperator], LinearOperator]:
    wrapper = WRAPPERS[pair[1]]
    wrapper.label = pair[1]
    return wrapper


@pytest.fixture
def A(inner, wrap) -> LinearOperator:  # noqa: N802
    return wrap(inner)


def test_only_what_has_rows_is_shared():
    assert {name for name, make in OPERATORS.items() if make().rows(0, 1) is not None} == WITH_ROWS


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum()


def test_adjoint_and_normal(A):
    x, y = random(*A.domain_shape), random(*A.range_shape, seed=1)
    assert A.matched
    torch.testing.assert_close(dot(A(x), y), dot(x, A.T(y)))
    torch.testing.assert_close(A.normal(x), A.T(A(x)))
    assert (A.T.domain_shape, A.T.range_shape) == (A.range_shape, A.domain_shape)
    torch.testing.assert_close(A.T.T(x), A(x))


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 2), (0,)])
def test_any_leading_dimensions(A, lead):
    x, y = random(*lead, *A.domain_shape), random(*lead, *A.range_shape, seed=1)
    for operator, given in ((A, x), (A.T, y), (A.pseudo_inverse, y)):
        if operator is None:
            continue
        found = operator(given)
        assert found.shape == (*lead, *operator.range_shape)
        one_by_one = [operator(item) for item in given.reshape(-1, *operator.domain_shape)]
        if one_by_one:
            torch.testing.assert_close(found.reshape(-1, *operator.range_shape), torch.stack(one_by_one))


def test_types_and_device(A):
    integers = torch.randint(0, 7, A.domain_shape, generator=torch.Generator().manual_seed(2))
    expected = A(integers.double())
    assert expected.dtype == torch.float64
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int16, torch.int64, torch.uint8):
        found = A(integers.to(dtype))
        assert (found.dtype, found.device) == (torch.float32, integers.device)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(A(integers > 3).double(), A((integers > 3).double()), rtol=1e-4, atol=1e-4)
    for operator in (A, A.T):
        for use in (operator, operator.normal):
            with pytest.raises(InputError, match="found complex128, expected a real tensor"):
                use(torch.zeros(operator.domain_shape, dtype=torch.complex128))


def test_the_pseudo_inverse_is_moore_and_penrose_s(A, inner, wrap):
    inverse = A.pseudo_inverse
    if inverse is None:
        assert "smoothing" in wrap.label or "weighted" in wrap.label or inner.pseudo_inverse is None
        return
    assert (inverse.domain_shape, inverse.range_shape) == (A.range_shape, A.domain_shape)
    x, y = random(*A.domain_shape), random(*A.range_shape, seed=1)
    torch.testing.assert_close(A(inverse(A(x))), A(x))
    torch.testing.assert_close(inverse(A(inverse(y))), inverse(y))
    for square, seen in ((lambda v: inverse(A(v)), x), (lambda v: A(inverse(v)), y)):
        other = random(*seen.shape, seed=2)
        torch.testing.assert_close(dot(square(seen), other), dot(seen, square(other)))
    torch.testing.assert_close(dot(inverse(y), x), dot(y, inverse.T(x)))


def test_rows_are_rows(A, inner, wrap):
    part = A.rows(1, 3)
    if part is None:
        first_axis_is_the_scanner_s = "transposed" not in wrap.label
        assert not (isinstance(inner, ConeBeamProjector) and first_axis_is_the_scanner_s)
        return
    x = random(*A.domain_shape)
    torch.testing.assert_close(part(x), A(x)[1:3])
    assert (part.resolution, part.orbit_plane, part.images, part.matched) == (
        *(A.resolution, A.orbit_plane, A.images, A.matched),
    )


def test_what_is_known_of_a_measurement_is_carried(inner, wrap, A):
    if "transposed" in wrap.label:
        assert A.resolution is None
        assert A.orbit_plane is None
        assert A.images is None
        return
    assert A.images == inner.images
    if "smoothing" in wrap.label or inner.resolution is None:
        assert A.resolution is None
        assert A.orbit_plane is None
    else:
        assert A.resolution == inner.resolution
        assert A.orbit_plane == inner.orbit_plane


def test_unmatched_is_said_by_every_wrapper(wrap):
    inner = OPERATORS["cone beam"]()
    inner.matched = False
    A = wrap(inner)
    assert not A.matched
    assert not A.T.matched


def test_zero_is_its_own_inverse():
    zero = 0.0 * OPERATORS["cone beam"]()
    assert not zero.pseudo_inverse(random(*zero.range_shape)).any()


FACTORS = {
    "scaled": -2.5,
    "twice scaled": 1.5,
    "transposed and scaled": 2,
    "scaled and transposed": 2,
    "scaled and shared": 0.5,
    "scaled and weighted": 0.5,
    "scaled after scaled smoothing": 1,
}


def test_the_factor_is_taken_out(A, inner, wrap):
    factor, operator = A.factored()
    assert factor == FACTORS.get(wrap.label, 1)
    assert operator.factored() == (1.0, operator) or "smoothing" in wrap.label
    assert (operator.domain_shape, operator.range_shape) == (A.domain_shape, A.range_shape)
    x = random(*A.domain_shape)
    torch.testing.assert_close(factor * operator(x), A(x))
    if "smoothing" not in wrap.label:  # methods check its type
        known = operator.operator if "weighted" in wrap.label else operator
        assert known is (inner.T if "transposed" in wrap.label else inner)


@pytest.mark.parametrize("scale", [1.0, 2.0, -0.3])
def test_ddnm_uses_a_multiple_s_own_inverse(scale):
    """One step fits the measurement exactly, unlike SIRT."""
    A = scale * SliceAveraging(SHAPE, factor=2.5)
    x0, y = random(1, *SHAPE).float(), random(1, *A.range_shape, seed=1).float()
    found = DDNM().bind(Measurement(y, A), axis=2)(x0, 0.3)
    torch.testing.assert_close(A(found), y, atol=1e-5, rtol=1e-5)
