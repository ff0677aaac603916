# SPDX-License-Identifier: Apache-2.0
"""Objects with a state from step to step that can be saved and loaded."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """A part of a run that has state: random generators, dual variables, turns."""

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors, numbers, text, None and dictionaries of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...
