# SPDX-License-Identifier: Apache-2.0
"""What a scanner does, as a linear map with an adjoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch

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

    A subclass sets both shapes and writes `forward` and `adjoint` on tensors with exactly one leading batch dimension,
    and `gram` and `rows` where it knows better than the ones here.
    Users call `A(x)` and `A.T(y)`: they check the trailing shape, accept any number of leading dimensions (also none)
    and are differentiable, the gradient of one being the other.

    Attributes:
        domain_shape: trailing shape of what A takes.
        range_shape: trailing shape of what A returns.
        matched: True if `adjoint` is the exact transpose of `forward`, as conjugate gradients need.
        resolution: distance of the measurement's samples along each axis of the domain, in voxels, or None where that
            has no meaning. Above 1 the measurement does not tell neighbouring voxels apart.
        images: what is known of a measurement as images, or None where it is none.
        pseudo_inverse: A⁺, from the range to the domain (any leading dimensions), or None where it isn't known exactly.
    """

    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    matched: bool = True
    resolution: tuple[float, ...] | None = None
    images: MeasuredImages | None = None
    pseudo_inverse: Callable[[torch.Tensor], torch.Tensor] | None = None

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
        """What measures only the entries `start` to `stop` along the first axis of the measurement, such as some views.

        None: the measurement cannot be divided so.
        """
        return None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """A x.

        Args:
            x: floating point, (..., *domain_shape).

        Returns:
            (..., *range_shape), same type and device.

        Raises:
            InputError: if x does not end in `domain_shape`.
        """
        lead = self._leading(x)
        flat = x.as_subclass(torch.Tensor).reshape(prod(lead), *self.domain_shape)
        return _LinearMap.apply(flat, self.forward, self.adjoint).reshape(*lead, *self.range_shape)

    @property
    def T(self) -> LinearOperator:
        """The adjoint as an operator; `A.T.T is A`."""
        if "_transposed" not in self.__dict__:
            self._transposed = _Adjoint(self)
        return self._transposed

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """AᵀA x, (..., *domain_shape) to the same shape."""
        flat = x.as_subclass(torch.Tensor).reshape(prod(self._leading(x)), *self.domain_shape)
        return _LinearMap.apply(flat, self.gram, self.gram).reshape(x.shape)

    def __rmul__(self, scalar: float) -> LinearOperator:
        return _Scaled(self, float(scalar))

    def __matmul__(self, inner: LinearOperator) -> LinearOperator:
        """The operator `x -> self(inner(x))`."""
        return _Composed(self, inner)

    def _describe_input(self) -> str:
        """What error messages call an input; `_describe_output` says what they call the adjoint's."""
        return f"the input of {type(self).__name__}"

    def _describe_output(self) -> str:
        return f"the input of {type(self).__name__}'s adjoint"

    def _leading(self, x: torch.Tensor) -> tuple[int, ...]:
        if not torch.is_tensor(x) or not x.is_floating_point():
            found = f"{x.dtype}" if torch.is_tensor(x) else type(x).__name__
            raise TypeError(f"{self._describe_input()} is {found}, expected a floating point tensor")
        lead = len(x.shape) - len(self.domain_shape)
        if lead < 0 or tuple(x.shape[lead:]) != tuple(self.domain_shape):
            raise InputError(
                f"{self._describe_input()} has shape {tuple(x.shape)}, expected it to end in {tuple(self.domain_shape)}"
            )
        return tuple(x.shape[:lead])


class _Adjoint(LinearOperator):
    """The transpose of `parent`: nothing of its own but the exchange of the two directions."""

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

    def _describe_input(self) -> str:
        return self.parent._describe_output()


class _Scaled(LinearOperator):
    """scalar * A."""

    def __init__(self, parent: LinearOperator, scalar: float) -> None:
        self.parent, self.scalar = parent, scalar
        self.domain_shape, self.range_shape = parent.domain_shape, parent.range_shape
        self.matched, self.resolution, self.images = parent.matched, parent.resolution, parent.images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scalar * self.parent.forward(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.scalar * self.parent.adjoint(y)

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self.scalar**2 * self.parent.gram(x)

    def rows(self, start: int, stop: int) -> LinearOperator | None:
        part = self.parent.rows(start, stop)
        return None if part is None else self.scalar * part

    def _describe_input(self) -> str:
        return self.parent._describe_input()

    def _describe_output(self) -> str:
        return self.parent._describe_output()


class _Composed(LinearOperator):
    """outer after inner."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain_shape != inner.range_shape:
            raise InputError(
                f"{type(outer).__name__} takes {outer.domain_shape}, which {type(inner).__name__} doesn't return: it "
                f"returns {inner.range_shape}"
            )
        self.outer, self.inner = outer, inner
        self.domain_shape, self.range_shape = inner.domain_shape, outer.range_shape
        self.matched = outer.matched and inner.matched

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def gram(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.adjoint(self.outer.gram(self.inner.forward(x)))


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
        raise InputError(f"iterations is {iterations}, expected at least 1")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    x = torch.randn(A.domain_shape, generator=generator, device=generator.device)
    eigenvalue = torch.zeros(())
    for _ in range(iterations):
        x = x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)
        x = A.normal(x)
        eigenvalue = x.norm()
    return float(eigenvalue.sqrt())
