# SPDX-License-Identifier: Apache-2.0
"""Several samples of one measurement: their mean and their spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.sampling.loop import State
from monai_iscs.sampling.recipe import Recipe
from monai_iscs.sampling.run import Run


class Ensemble:
    """Runs of one measurement, one after the other: `for state in ensemble: ...`, then `ensemble.volume` and `.std`.

    Only the mean of the finished samples and their squared distances from it are kept, two volumes, which Welford's
    recurrence brings up to date with each sample. It can be stopped and continued after any step, as a `Run` can.

    Args:
        bind: makes the run of a sample, counted from 0; see `Recipe.bind`.
        samples: how many.

    Attributes:
        run: the unfinished one.
        member: which one that is.
    """

    def __init__(self, bind: Callable[[int], Run], samples: int) -> None:
        self._bind, self.samples, self.member = bind, samples, 0
        self.run = bind(0)
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def __len__(self) -> int:
        """Number of steps of all samples."""
        return self.samples * len(self.run)

    def __iter__(self) -> Iterator[State]:
        """The remaining steps of all samples, each once it is done; indices count within a sample."""
        while True:
            for state in self.run:
                if state.index + 1 == len(self.run):
                    self._add(self.run.volume)
                yield state
            if self.member + 1 == self.samples:
                return
            state = self.run.state
            state.x0 = state.x0_hat = state.eps_hat = None  # memory for the next sample
            self.member += 1
            self.run = self._bind(self.member)

    def _add(self, volume: Tensor) -> None:
        """Take a sample into the mean and the squares."""
        if self._mean is None or self._squares is None:
            self._mean, self._squares = volume, torch.zeros_like(volume)
            return
        change = volume - self._mean
        self._mean.add_(change, alpha=1 / (self.member + 1))
        self._squares.addcmul_(change, volume.sub_(self._mean))

    @property
    def volume(self) -> Tensor:
        """The mean of all samples, (C, X, Y, Z).

        Raises:
            InputError: not all samples are finished.
        """
        return self._finished()[0]

    @property
    def std(self) -> Tensor:
        """The standard deviation of all samples, (C, X, Y, Z); the variance is divided by the samples minus 1.

        Opposite samples err in opposite directions, so that their mean hardly does: of N of them it is about
        sqrt(N / (N - 1)) times that of independent samples.

        Raises:
            InputError: not all samples are finished.
        """
        return (self._finished()[1] / (self.samples - 1)).sqrt()

    def state_dict(self) -> dict[str, Any]:
        """All that the remaining steps depend on; the index counts the steps of all samples.

        Raises:
            InputError: no step is finished, or the next one was interrupted.
        """
        run = self.run.state_dict()
        index = self.member * len(self.run) + run["index"]
        return {"index": index, "member": self.member, "run": run, "mean": self._mean, "squares": self._squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after a step of an ensemble with the same settings: the result has the same bits as without a stop."""
        self.member, self._mean, self._squares = state["member"], state["mean"], state["squares"]
        self.run = self._bind(self.member)
        self.run.load_state_dict(state["run"])

    def _finished(self) -> tuple[Tensor, Tensor]:
        done = self.run.state is not None and self.run.state.index + 1 == len(self.run)
        if self._mean is None or self._squares is None or not done or self.member + 1 < self.samples:
            at = f"inside sample {self.member + 1}"
            raise InputError(f"ensemble: found it {at}, expected all {self.samples} samples to be finished")
        return self._mean, self._squares


def check_samples(samples: int, recipe: Recipe) -> int:
    """The number of samples, if it suits a recipe.

    Raises:
        InputError: neither 1 nor even, or several of a recipe whose samples would all be the same.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1 or (samples > 1 and samples % 2):
        raise InputError(f"samples: found {samples!r}, expected 1 or an even number: pairs of opposite noise")
    if samples > 1 and not recipe.noise.random:
        raise InputError(
            f"samples: found {samples} of {recipe.label}, expected 1: it draws no noise, and every sample is the same"
        )
    return samples
