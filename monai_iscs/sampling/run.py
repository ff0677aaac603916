# SPDX-License-Identifier: Apache-2.0
"""One reconstruction, which can be stopped after any step and continued in another process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.sampling.loop import Plugs, State, sample
from monai_iscs.stateful import Stateful


class Run:
    """The steps from sigma to sigma: `for state in run: ...`, then `run.volume`.

    Args:
        plugs: start, prior, consistency, noise and rule.
        sigmas: one for each step.
        lower_bound: the result is clipped there.

    Attributes:
        sigmas: one for each step.
        state: the last finished step, or None.
    """

    def __init__(self, plugs: Plugs, sigmas: Sequence[float], *, lower_bound: float = float("-inf")) -> None:
        self.plugs, self.sigmas, self.lower_bound = plugs, list(sigmas), lower_bound
        self.state: State | None = None

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.sigmas)

    @torch.no_grad()
    def __iter__(self) -> Iterator[State]:
        """The remaining steps, each once it is done.

        Raises:
            InputError: a step was interrupted before.
        """
        if self.state is not None:
            self._finished()
        for state in sample(self.plugs, self.sigmas, self.state):
            self.state = state
            yield state

    @property
    def volume(self) -> Tensor:
        """The result of the last finished step, (C, X, Y, Z).

        Raises:
            InputError: no step is finished, or the next one was interrupted.
        """
        return self._finished().x0_hat.clamp(min=self.lower_bound)

    def state_dict(self) -> dict[str, Any]:
        """All that the remaining steps depend on.

        Raises:
            InputError: no step is finished, or the next one was interrupted.
        """
        state = self._finished()
        plugs = {name: plug.state_dict() for name, plug in self._stateful().items()}
        return {"index": state.index, "sigma": state.sigma, "x0_hat": state.x0_hat, "eps_hat": state.eps_hat, **plugs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after a step of a run with the same settings: the result has the same bits as without the stop."""
        for name, plug in self._stateful().items():
            plug.load_state_dict(state[name])
        self.state = State(state["index"], state["sigma"], None, state["x0_hat"], state["eps_hat"])

    def _finished(self) -> State:
        if self.state is None or self.state.x0_hat is None:
            at = "before its first step" if self.state is None else f"inside step {self.state.index + 2}"
            raise InputError(f"run: found it {at}, expected it between two steps: keep its state after each step")
        return self.state

    def _stateful(self) -> dict[str, Stateful]:
        return {name: plug for name, plug in self.plugs._asdict().items() if isinstance(plug, Stateful)}
