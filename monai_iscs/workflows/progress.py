# SPDX-License-Identifier: Apache-2.0
"""One bar for the whole of a run: the stage, the step, the time left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ignite.distributed as idist
from tqdm import tqdm

from monai_iscs.reports import RunRecord


class Progress:
    """A progress bar over stages that are known in advance.

    Args:
        stages: steps of each stage, in the order in which they will run. A step of one stage should take about as long
            as one of another: the time left is estimated from their number.
        record: gets the seconds of each stage.
    """

    def __init__(self, stages: Mapping[str, int], record: RunRecord) -> None:
        self._stages, self._record = dict(stages), record
        layout = "{l_bar}{bar:20}| step {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]"
        self._bar = tqdm(total=sum(self._stages.values()), bar_format=layout, disable=idist.get_rank() > 0)
        self._end = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.leave = kind is None  # an error is shown without the bar
        self._bar.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Names the stage on the bar and times it; when it ends without an error, the bar moves to its end."""
        self._end += self._stages[name]
        self._bar.set_description(name)
        with self._record.stage(name):
            yield
        self._bar.update(self._end - self._bar.n)

    def lengthen(self, name: str, times: int) -> int:
        """A stage that has not begun takes so many times its steps; returns their number."""
        self._bar.total += (times - 1) * self._stages[name]
        self._stages[name] *= times
        return self._stages[name]

    def write(self, line: str) -> None:
        """A line for the user on standard output, above the bar."""
        if not self._bar.disable:
            self._bar.write(line)

    def step(self, *_: Any) -> None:
        """One step of the stage is done; a callback that ignores its arguments."""
        self._bar.update(self._bar.n < self._end)
