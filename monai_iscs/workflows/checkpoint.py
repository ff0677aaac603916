# SPDX-License-Identifier: Apache-2.0
"""The last finished step of a run, kept in its output folder: after a kill, the same command goes on from there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from monai_iscs.files import OWN, damaged_part, telling
from monai_iscs.sampling import Ensemble, Run

MOST_TIME = 0.01  # share of a run that its checkpoints may take
NAME = f"{OWN}unfinished.pt"


class Checkpoint:
    """The file of an unfinished run, in its output folder.

    It is written completely and then renamed, without waiting for the disk: a killed process loses nothing, and after a
    loss of power a damaged file is recognised by its checksum and ignored. If a step takes less than a hundred times as
    long as a checkpoint, some steps are not saved.

    Args:
        folder: the output folder, which this process has locked.
        settings: all that the result depends on, as JSON values: a run goes on only if all of them are the same.
        name: of the file: a folder may hold several unfinished runs.

    Attributes:
        restored: how many steps, of all samples, an earlier run had finished; 0 without an earlier run.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, name: str = NAME) -> None:
        self._file = folder / name
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        self._cost, self._before = 0.0, time.perf_counter()
        self.restored = 0

    def restore(self, run: Run | Ensemble, device: torch.device) -> None:
        """Bring a run to the last saved step of an earlier one with the same settings.

        Args:
            run: not started yet.
            device: of its volumes.
        """
        state = self._read(device)
        idist.barrier()  # the first process may write from here on
        if state is None:
            self.remove()
        else:
            run.load_state_dict(state)
            self.restored = state["index"] + 1

    def save(self, run: Run | Ensemble) -> None:
        """Save the last finished step, unless that would take more than its share of the time.

        Raises:
            OutputError: the folder can't be written any more.
        """
        start = time.perf_counter()
        if idist.get_rank() > 0 or self._cost > MOST_TIME * (start - self._before):
            return
        aside = self._file.with_suffix(".new")
        with telling(self._file.parent):
            with aside.open("wb") as file:  # its errors are clearer than PyTorch's
                torch.save({"settings": self._settings, "run": run.state_dict()}, file)
            os.replace(aside, self._file)
        self._before = time.perf_counter()
        self._cost = self._before - start

    def remove(self) -> None:
        """Delete the file: the run is done, or another one begins."""
        if idist.get_rank() == 0:
            for file in (self._file, self._file.with_suffix(".new")):
                file.unlink(missing_ok=True)

    def _read(self, device: torch.device) -> dict[str, Any] | None:
        def placed(storage: Any, location: str) -> Any:
            return storage if location == "cpu" else storage.to(device)

        try:
            if not self._file.is_file() or damaged_part(self._file) is not None:
                return None
            content = torch.load(self._file, map_location=placed, weights_only=True)
        except Exception:  # truncated, or another kind of file
            return None
        same = isinstance(content, dict) and content.get("settings") == self._settings
        return content["run"] if same else None
