# SPDX-License-Identifier: Apache-2.0
"""Conjugate gradients for symmetric positive semidefinite systems."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError


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

    Once the squared residual is below (10 eps)² ‖b‖², it is rounding noise and further steps could only wander in A's
    null space: from there on x stays as it is. An exact start is therefore returned unchanged, without NaN.

    Without gradients to keep, x and the residual are updated in place: besides b it holds four tensors of its shape,
    five with a preconditioner.

    Args:
        A: symmetric positive semidefinite linear map; must keep the shape.
        b: right-hand side, any shape, real; not modified. All is computed in float32, or float64 if b is.
        x0: the start, shape of b, default zeros; not modified.
        iterations: number of steps, at least 0.
        rtol: 0 makes exactly `iterations` steps without ever waiting for the device; above 0 stops as soon as
            ‖b − A x‖ ≤ rtol ‖b‖ (in every system).
        enough: stop where xᵀA x − 2 bᵀx, which each step lowers as far as it can, is this far below its start; the last
            step is shortened to end there. For normal equations of a least-squares problem it is the drop of its
            squared residual.
        batch_dims: this many leading dimensions index independent systems, each with scalars of its own.
        preconditioner: symmetric positive semidefinite linear map M, default the identity. All steps stay in x0 + its
            range; where A is singular, it thus decides which solution they tend to.

    Returns:
        x, shape of b.

    Raises:
        InputError: if an argument is out of range, or complex.
    """
    b = real_tensor(b, "b")
    x0 = None if x0 is None else real_tensor(x0, "x0").to(b)
    if iterations < 0 or rtol < 0 or math.isnan(enough) or not 0 <= batch_dims <= b.dim():
        raise InputError(
            f"iterations={iterations}, rtol={rtol}, enough={enough}, batch_dims={batch_dims}: expected "
            f"iterations >= 0, rtol >= 0, not NaN and 0 <= batch_dims <= {b.dim()} (the dimensions of b)"
        )
    if x0 is not None and x0.shape != b.shape:
        raise InputError(f"x0 has shape {tuple(x0.shape)}, expected that of b, {tuple(b.shape)}")

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
        if enough < math.inf:  # a share t of the step lowers the objective by 2t − t² of what the whole step does
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
