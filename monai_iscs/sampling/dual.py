# SPDX-License-Identifier: Apache-2.0
"""What prior and measurement go on to disagree about, from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


class BoundDual:
    """A consistency step with a dual variable u: `step(x0, sigma) -> x0_hat`, on volumes (C, X, Y, Z).

    With it prior and consistency are the two steps of the alternating direction method of multipliers (Venkatakrishnan,
    Bouman and Wohlberg 2013, "Plug-and-play priors for model based reconstruction"); without it they are half-quadratic
    splitting. What the consistency step changes in the prior's estimate is summed up in

        u ← share (u + x0_hat − x0) (sigma / sigma before)²,

    where x0 is the next estimate. It is subtracted from that before it is brought to the measurement, and added to the
    result before it is noised again, so that the prior meets again what it took away. The ratio of the sigmas keeps the
    unscaled multiplier, because the penalty on a difference of the two grows as 1 / sigma².

    Args:
        step: the consistency step.
        share: of u that is kept, above 0 to 1.

    Attributes:
        dual: u of the last step, or None before the first one, whose u is 0.
    """

    def __init__(self, step: Callable[[Tensor, float], Tensor], share: float) -> None:
        self._step, self._share = step, share
        self._last: tuple[Tensor, float] | None = None
        self.dual: Tensor | None = None

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """The estimate after the consistency step, without u."""
        if self._last is None:
            x = self._step(x0, sigma)
        else:
            before, sigma_before = self._last
            disagreement = before - x0
            if self.dual is not None:
                disagreement += self.dual
            self.dual = disagreement.mul_(self._share * (sigma / sigma_before) ** 2)
            x = self._step(x0 - self.dual, sigma)
        self._last = x, sigma
        return x

    def state_dict(self) -> dict[str, Any]:
        """u, and the last step's result and sigma."""
        x, sigma = self._last or (None, None)
        return {"dual": self.dual, "x": x, "sigma": sigma}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.dual = state["dual"]
        self._last = None if state["x"] is None else (state["x"], state["sigma"])
