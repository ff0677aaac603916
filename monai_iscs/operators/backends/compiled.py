# SPDX-License-Identifier: Apache-2.0
"""Numba's compiler, also without a writable cache folder and in forked processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache, wraps
from types import FunctionType

from numba import njit

_FORKED: set[int] = set()  # OpenMP's threads, PyTorch's among them, don't survive a fork; numba would wait for them


def _after_fork() -> None:
    _FORKED.add(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def compiled(fastmath: Iterable[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: compile at the first call, for as many threads as there are processors.

    The machine code is cached for later processes if numba finds a writable folder, else compiled in each process. In a
    forked process, such as a worker of PyTorch's DataLoader, the function runs in one thread: if the parent had started
    threads, numba's or PyTorch's, it would wait for them forever.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        # another name: numba names its cache files by function, not by options
        serial = FunctionType(function.__code__, function.__globals__, function.__name__)
        serial.__qualname__ = f"{function.__qualname__}_serial"

        @cache
        def build(parallel: bool, keep: bool) -> Callable[..., None]:
            options = {"parallel": parallel, "fastmath": set(fastmath)}
            if not keep:
                return njit(function if parallel else serial, **options)
            try:
                return njit(function if parallel else serial, cache=True, **options)
            except RuntimeError:  # no folder
                return build(parallel, False)

        @wraps(function)
        def call(*args: object) -> None:
            parallel = os.getpid() not in _FORKED
            try:
                build(parallel, True)(*args)
            except OSError:  # the folder could not be written after all, such as on a full disk
                build(parallel, False)(*args)

        return call

    return decorate
