# SPDX-License-Identifier: Apache-2.0
"""Many volumes on the processes of ``torchrun``: groups of them take the next volume whenever they are free."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from monai_iscs.errors import InputError, causes, explain
from monai_iscs.torchrun import local_process, not_joined, process_count

if TYPE_CHECKING:
    from torch.distributed import Store

BEAT = 5.0  # seconds from sign of life to sign of life of a process
SILENT = 120.0  # seconds without one after which nobody waits for a process any longer
_CONNECTION = ("gloo", "connection closed", "nccl", "timed out")  # in errors that another process's end causes


class Alone:
    """One process takes all volumes in turn; what `Groups` is without ``torchrun``."""

    leads, prints = True, True

    def indices(self, count: int) -> Iterator[int]:
        """The numbers of the volumes that this process is to take."""
        yield from range(count)

    def run(self, _: int, work: Callable[[], Any]) -> str | None:
        """Do the work of a volume; returns one line about an error that a user can fix, or None."""
        try:
            work()
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            return message
        return None

    def all_failures(self, own: dict[int, str]) -> dict[int, str]:
        """What failed, by the numbers of the volumes."""
        return own


class Groups:
    """Groups of processes, each of which takes the next volume when it is free; see `Alone`.

    Within a group, PyTorch's default process group is the group itself while a volume is worked on, made anew for each:
    so a failure of one process ends what the others wait for, and the next volume starts from a clean state.

    Args:
        size: processes of a group.
        backend: of PyTorch's collectives, "gloo" or "nccl".

    Attributes:
        leads: whether this process is the first of its group.
        prints: whether this process is the first of all.

    Raises:
        InputError: the number of processes is no multiple of the size, or the others do not answer.
    """

    def __init__(self, size: int, backend: str) -> None:
        import torch
        import torch.distributed as dist

        if backend == "nccl":
            torch.cuda.set_device(local_process())  # whose GPU barriers use
        count = process_count()
        if count % size:
            raise InputError(
                f"--processes-per-volume: found {size} of {count} processes, expected a number that divides {count}"
            )
        self._size, self._backend, self._count = size, backend, count
        self._rank = int(os.environ["RANK"])
        self._group, self._member = divmod(self._rank, size)
        self.leads, self.prints = self._member == 0, self._rank == 0
        wait = timedelta(seconds=SILENT)
        try:
            self._store, _, _ = next(dist.rendezvous("env://", rank=self._rank, world_size=count, timeout=wait))
        except (RuntimeError, ValueError) as error:
            raise not_joined(error) from error
        self._beats: dict[int, tuple[int, float]] = {}
        threading.Thread(target=self._live, args=(self._store.clone(),), daemon=True).start()

    def indices(self, count: int) -> Iterator[int]:
        """The numbers of the volumes that this group is to take, each taken by one group only."""
        turn = 0
        while True:
            key = f"next/{self._group}/{turn}"
            if self.leads:
                self._store.set(key, str(self._store.add("taken", 1) - 1))
            index = int(self._wait(key, self._group * self._size))
            if index >= count:
                return
            yield index
            turn += 1

    def run(self, index: int, work: Callable[[], Any]) -> str | None:
        """Do the group's work of a volume; returns one line about an error that a user can fix, or None.

        All processes of the group return the same. A process that an error of another one stopped says nothing.
        """
        error: Exception | None = None
        try:
            with self._together(index):
                work()
        except Exception as caught:
            error = caught
        word = None if error is None else explain(error)
        bad = error is not None and word is None
        caused = bad and any(sign in str(link).lower() for link in causes(error) for sign in _CONNECTION)
        said = {"failed": error is not None, "word": word, "defect": bad and not caused}
        self._store.set(f"word/{index}/{self._member}", json.dumps(said))
        first = self._group * self._size
        words = [json.loads(self._wait(f"word/{index}/{member}", first + member)) for member in range(self._size)]
        if said["defect"]:
            raise error
        if any(found["defect"] for found in words):
            return "stopped by a defect of the program in another process, which says more"
        lines = [found["word"] for found in words if found["word"]]
        if lines:
            return lines[0]
        if any(found["failed"] for found in words):
            return "found no connection between the group's processes, expected one until the volume is done"
        return None

    def all_failures(self, own: dict[int, str]) -> dict[int, str]:
        """What failed in all groups, once all are done or silent, by the numbers of the volumes."""
        self._store.set(f"left/{self._rank}", json.dumps(own if self.leads else {}))
        failures: dict[int, str] = {}
        for rank in range(self._count):
            found = json.loads(self._wait(f"left/{rank}", rank))
            failures |= {int(index): line for index, line in found.items()}
        self._store.add("seen", 1)
        end = time.monotonic() + BEAT  # the first process may keep the store of the others
        while self.prints and self._store.add("seen", 0) < self._count and time.monotonic() < end:
            time.sleep(0.02)
        return failures

    @contextmanager
    def _together(self, index: int) -> Iterator[None]:
        """The group as PyTorch's default process group, which Ignite sees, too."""
        if self._size == 1:
            yield
            return
        import ignite.distributed as idist
        import torch.distributed as dist

        store = dist.PrefixStore(f"volume/{index}", self._store)
        settings = {"rank": self._member, "world_size": self._size, "timeout": timedelta(seconds=SILENT)}
        dist.init_process_group(self._backend, store=store, **settings)
        try:
            idist.sync()  # else Ignite sees the group, and ends it, only if somebody asks for it
            yield
        finally:
            with suppress(RuntimeError):  # of a connection that is broken already
                idist.finalize()

    def _wait(self, key: str, rank: int) -> str:
        """What another process says under a key.

        Raises:
            InputError: it has been silent for too long.
        """
        while not self._store.check([key]):
            beat = self._store.add(f"beat/{rank}", 0)
            before, since = self._beats.get(rank, (-1, time.monotonic()))
            if beat != before:
                self._beats[rank] = beat, time.monotonic()
            elif time.monotonic() - since > SILENT:
                raise InputError(
                    f"process {rank}: found no sign of life for {SILENT:.0f} s, expected one every {BEAT:.0f} s: was "
                    "it killed? The same command goes on with what is missing"
                )
            time.sleep(0.05)
        return self._store.get(key).decode()

    def _live(self, store: Store) -> None:
        """Give signs of life until the process ends."""
        with suppress(RuntimeError):  # the store is gone: the run is over
            while True:
                store.add(f"beat/{self._rank}", 1)
                time.sleep(BEAT)
