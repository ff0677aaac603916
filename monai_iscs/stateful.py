# SPDX-License-Identifier: Apache-2.0
"""What remembers something from step to step, and can be told to go on elsewhere."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """A part of a run that holds state: random generators, dual variables, turns."""

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors, numbers, text, None and dictionaries of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...
