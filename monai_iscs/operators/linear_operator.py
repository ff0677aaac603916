# SPDX-License-Identifier: Apache-2.0
"""A linear map with an adjoint: what a scanner does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError


class _LinearMap(torch.autograd.Function):
    """A linear map whose gradient is the adjoint map; the adjoint's gradient is the map again, to any order."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, there: Callable, back: Callable) -> torch.Tensor:
        ctx.there, ctx.back = there, back
        return there(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return _LinearMap.apply(gradient, ctx.back, ctx.there), None, None


class MeasuredImages(NamedTuple):
    """A measurement whose values change smoothly from pixel to pixel of an image.

    Attributes:
        axes: the image's two axes, counted from the end of the measurement's shape.
        even_noise: whether its noise is the same everywhere, or depends on the signal as that of photons does.
    """

    axes: tuple[int, int]
    even_noise: bool


class LinearOperator(ABC):
    """A linear map A from tensors ending in `domain_shape` to tensors ending in `range_shape`.

    A subclass sets both shapes and implements `forward` and `adjoint` on tensors with exactly one leading batch
    dimension; it may override `gram` and `rows`.
    Users call `A(x)` and `A.T(y)`: they check the trailing shape, accept any number of leading dimensions (also none)
    and are differentiable, the gradient of one being the other. Everything is real: float64 stays float64, integers,
    booleans and halves are computed in float32 and give float32, complex tensors are refused.

    A wrapper of an operator (its adjoint, a multiple, a product, ...) has the same attributes with its own values, and
    None where they have no meaning or are unknown.

    Attributes:
        domain_shape: trailing shape of what A takes.
        range_shape: trailing shape of what A returns.
        matched: True if `adjoint` is the exact transpose of `forward`, as conjugate gradients need.
        resolution: distance of the measurement's samples along each axis of the domain, in voxels, or None where that
            has no meaning. Above 1 the measurement does not resolve neighbouring voxels.
        orbit_plane: where the measurement are views from around a plane, its two axes of the domain, each with the size
            of a voxel (mm): AᵀA blurs there by about 1 / |f|. Else None.
        images: where the measurement consists of images, what is known about them; else None.
        pseudo_inverse: A⁺, an operator from the range to the domain, or None if it is not known exactly.
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    matched: bool = True
    resolution: tuple[float, ...] | None = None
    orbit_plane: Mapping[int, float] | None = None
    images: MeasuredImages | None = None
    pseudo_inverse: LinearOperator | None = None

    @abstractmethod
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A x for x of shape (N, *domain_shape); returns (N, *range_shape)."""

    @abstractmethod
    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Aᵀ y for y of shape (N, *range_shape); returns (N, *domain_shape)."""

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        """AᵀA x for x of shape (N, *domain_shape)."""
        return self.adjoint(self.forward(x))

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        """The part of A for the entries `start` to `stop` of the measurement's first axis, such as some views.

        None: the measurement cannot be divided like that.
        """
        return None

    def factored(self) -> tuple[float, LinearOperator]:
        """A = factor · operator, where the operator is not itself a multiple of another."""
        return 1.0, self

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """A x.

        Args:
            x: real, (..., *domain_shape).

        Returns:
            (..., *range_shape), on the same device; float64 for float64, else float32.

        Raises:
            InputError: if x is complex or no tensor, or does not end in `domain_shape`.
        """
        return self._map(x, self.forward, self.adjoint, self.range_shape)

    @property
    def T(self) -> LinearOperator:
        """The adjoint as an operator; `A.T.T is A`."""
        if "_transposed" not in self.__dict__:
            self._transposed = _Adjoint(self)
        return self._transposed

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """AᵀA x, (..., *domain_shape) to the same shape."""
        return self._map(x, self.gram, self.gram, self.domain_shape)

    def __rmul__(self, scalar: float) -> LinearOperator:
        return _Scaled(self, float(scalar))

    def __matmul__(self, inner: LinearOperator) -> LinearOperator:
        """The operator `x -> self(inner(x))`."""
        return _Composed(self, inner)

    @property
    def name(self) -> str:
        """Name for error messages; wrappers build it from the wrapped operator's."""
        return type(self).__name__.lstrip("_")

    def _map(self, x: torch.Tensor, there: Callable, back: Callable, shape: tuple[int, ...]) -> torch.Tensor:
        """A map of x, (..., *domain_shape) to (..., *shape), whose gradient is `back`."""
        x = real_tensor(x, f"the input of {self.name}").as_subclass(torch.Tensor)
        lead = len(x.shape) - len(self.domain_shape)
        if lead < 0 or tuple(x.shape[lead:]) != tuple(self.domain_shape):
            raise InputError(
                f"the input of {self.name}: found shape {tuple(x.shape)}, expected it to end in "
                f"{tuple(self.domain_shape)}"
            )
        leading = tuple(x.shape[:lead])
        flat = x.reshape(prod(leading), *self.domain_shape)
        out = _LinearMap.apply(flat, there, back) if len(flat) else flat.new_zeros(0, *shape)
        return out.reshape(*leading, *shape)


class _Adjoint(LinearOperator):
    """The transpose of `parent`: only the two directions are exchanged.

    It maps measurements to volumes, so it has no resolution, no plane and no images; (Aᵀ)⁺ = (A⁺)ᵀ.
    """

    def __init__(self, parent: LinearOperator) -> None:
        self.parent = parent
        self.domain_shape, self.range_shape = parent.range_shape, parent.domain_shape
        self.matched = parent.matched

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parent.adjoint(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.parent.forward(y)

    @property
    def T(self) -> LinearOperator:
        return self.parent

    def factored(self) -> tuple[float, LinearOperator]:
        factor, operator = self.parent.factored()
        return factor, operator.T

    @property
    def pseudo_inverse(self) -> LinearOperator | None:
        inverse = self.parent.pseudo_inverse
        return None if inverse is None else inverse.T

    @property
    def name(self) -> str:
        return f"{self.parent.name}'s adjoint"


class _Scaled(LinearOperator):
    """scalar * A, with the same resolution, plane and images; (s A)⁺ = A⁺ / s, and 0⁺ = 0."""

    def __init__(self, parent: LinearOperator, scalar: float) -> None:
        self.parent, self.scalar = parent, scalar
        self.domain_shape, self.range_shape = parent.domain_shape, parent.range_shape
        self.matched, self.resolution, self.images = parent.matched, parent.resolution, parent.images
        self.orbit_plane = parent.orbit_plane

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scalar * self.parent.forward(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.scalar * self.parent.adjoint(y)

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self.scalar**2 * self.parent.gram(x)

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        part = self.parent.rows(start, stop)
        return None if part is None else self.scalar * part

    def factored(self) -> tuple[float, LinearOperator]:
        factor, operator = self.parent.factored()
        return self.scalar * factor, operator

    @property
    def pseudo_inverse(self) -> LinearOperator | None:
        if self.scalar == 0:
            return 0.0 * self.parent.T
        inverse = self.parent.pseudo_inverse
        return None if inverse is None else (1 / self.scalar) * inverse

    @property
    def name(self) -> str:
        return self.parent.name


class _Composed(LinearOperator):
    """outer after inner, with the images and rows of the outer one.

    Neither the resolution, nor the plane, nor the pseudo-inverse is known: samples of the outer one may lie anywhere in
    the inner one's domain, and A⁺ B⁺ is (B A)⁺ in special cases only.
    """

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain_shape != inner.range_shape:
            raise InputError(
                f"{outer.name} @ {inner.name}: found results of shape {inner.range_shape} inside, expected "
                f"{outer.domain_shape}"
            )
        self.outer, self.inner = outer, inner
        self.domain_shape, self.range_shape = inner.domain_shape, outer.range_shape
        self.matched, self.images = outer.matched and inner.matched, outer.images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.adjoint(self.outer.gram(self.inner.forward(x)))

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        part = self.outer.rows(start, stop)
        return None if part is None else part @ self.inner

    def factored(self) -> tuple[float, LinearOperator]:
        (left, outer), (right, inner) = self.outer.factored(), self.inner.factored()
        return left * right, outer @ inner

    @property
    def name(self) -> str:
        return f"{self.outer.name} @ {self.inner.name}"


def operator_norm(A: LinearOperator, *, iterations: int = 20, generator: torch.Generator | None = None) -> float:
    """The largest singular value of A, by power iteration on AᵀA (approached from below).

    Args:
        A: the operator.
        iterations: applications of AᵀA.
        generator: draws the first vector, on its own device; default a CPU generator with seed 0.

    Returns:
        The estimate of ‖A‖₂; 0 for the zero operator.
    """
    if iterations < 1:
        raise InputError(f"iterations: found {iterations}, expected at least 1")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    x = torch.randn(A.domain_shape, generator=generator, device=generator.device)
    eigenvalue = torch.zeros(())
    for _ in range(iterations):
        x = x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)
        x = A.normal(x)
        eigenvalue = x.norm()
    return float(eigenvalue.sqrt())
