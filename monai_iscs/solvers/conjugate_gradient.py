# SPDX-License-Identifier: Apache-2.0
"""Conjugate gradients for symmetric positive semidefinite systems."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import expect


def conjugate_gradient(
    A: Callable[[torch.Tensor], torch.Tensor],
    b: torch.Tensor,
    x0: torch.Tensor | None = None,
    *,
    iterations: int = 10,
    rtol: float = 0.0,
    enough: float = math.inf,
    batch_dims: int = 0,
    preconditioner: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Solve A x = b (Hestenes and Stiefel 1952), `iterations` steps from x0.

    Once the squared residual is below (10 eps)² ‖b‖², it is rounding noise, and further steps could only change x in
    A's null space: x then stays the same. An exact start is therefore returned unchanged, without NaN.

    If no gradients are recorded, x and the residual are updated in place: besides b there are four tensors of its
    shape, five with a preconditioner.

    Args:
        A: symmetric positive semidefinite linear map; must keep the shape.
        b: right-hand side, any shape, real; not modified. Everything is computed in float32, or float64 if b is.
        x0: the start, shape of b, default zeros; not modified.
        iterations: number of steps, at least 0.
        rtol: 0: exactly `iterations` steps, without waiting for the device; above 0: stop as soon as
            ‖b − A x‖ ≤ rtol ‖b‖ (in every system).
        enough: stop where xᵀA x − 2 bᵀx, which each step minimises, is this far below its start; the last step is
            shortened to end there. For normal equations of a least-squares problem it is the drop of its
            squared residual.
        batch_dims: this many leading dimensions index independent systems, each with its own scalars.
        preconditioner: symmetric positive semidefinite linear map M, default the identity. All steps stay in x0 + its
            range; if A is singular, it decides to which solution they converge.

    Returns:
        x, shape of b.

    Raises:
        InputError: if an argument is out of range, or complex.
    """
    b = real_tensor(b, "b")
    x0 = None if x0 is None else real_tensor(x0, "x0").to(b)
    expect(iterations >= 0, "iterations", iterations, "at least 0")
    expect(not rtol < 0, "rtol", rtol, "a number of at least 0")
    expect(not math.isnan(enough), "enough", enough, "a number")
    expect(0 <= batch_dims <= b.dim(), "batch_dims", batch_dims, f"0 to {b.dim()}, the dimensions of b")
    if x0 is not None:
        expect(x0.shape == b.shape, "x0", f"shape {tuple(x0.shape)}", f"that of b, {tuple(b.shape)}")

    def dot(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        lead = p.shape[:batch_dims]
        return (p * q).reshape(*lead, -1).sum(-1).reshape(*lead, *[1] * (p.dim() - batch_dims))

    def precondition(residual: torch.Tensor) -> torch.Tensor:
        return residual if preconditioner is None else preconditioner(residual)

    add = torch.Tensor.addcmul if torch.is_grad_enabled() else torch.Tensor.addcmul_
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else b - A(x)
    z = precondition(r)
    p, rr, bb = z.clone(), dot(r, r), dot(b, b)
    rz = rr if preconditioner is None else dot(r, z)
    del z
    noise_floor = (10 * torch.finfo(b.dtype).eps) ** 2 * bb
    lowered = torch.zeros_like(bb)
    for _ in range(iterations):
        if rtol > 0 and bool((rr <= rtol**2 * bb).all()):
            break
        if enough < math.inf and bool((lowered >= enough).all()):
            break
        Ap = A(p)
        curvature = dot(p, Ap)
        active = (rr > noise_floor) & (curvature > 0)
        alpha = torch.where(active, rz / torch.where(active, curvature, 1.0), 0.0)
        if enough < math.inf:  # a share t of the step lowers the objective by 2t − t² of the whole step's decrease
            left = (enough - lowered) / (alpha * rz).clamp_min(torch.finfo(b.dtype).tiny)
            x = add(x, (1 - (1 - left.clamp(0, 1)).sqrt()) * alpha, p)
            lowered = lowered + alpha * rz
        else:
            x = add(x, alpha, p)
        r = add(r, -alpha, Ap)
        del Ap
        z = precondition(r)
        rz_before, rr = rz, dot(r, r)
        rz = rr if preconditioner is None else dot(r, z)
        p = torch.addcmul(z, torch.where(active, rz / torch.where(active, rz_before, 1.0), 0.0), p)
        del z
    return x
