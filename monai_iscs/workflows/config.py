# SPDX-License-Identifier: Apache-2.0
"""A bundle's config, with errors of one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from monai_iscs.errors import InputError, explain
from monai_iscs.workflows.contract import CONTRACTS


class BundleConfig(ConfigParser):
    """MONAI's parser of a bundle's config; every error names the file and the entry, and says what is wrong.

    Args:
        entries: the entries, as they are written.
        file: where they were read from; its name selects the contract.
    """

    def __init__(self, entries: Mapping[str, Any], file: Path) -> None:
        super().__init__(entries)
        self.file = file
        self.contract = CONTRACTS.get(file.stem, {})
        self.origins: dict[str, str] = {}  # of entries that were set from elsewhere, such as another config

    def check(self) -> None:
        """Raise an `InputError` unless the config keeps its contract, as far as that is quick to check.

        Entries that are made of others are checked when they are read: a network may be large.
        """
        for name, entry in self.contract.items():
            if name in self and not entry.made:
                self.get_parsed_content(name)
            elif entry.required and name not in self:
                raise InputError(f"{self.place(name)}: found no such entry, expected {entry.check.expected}")
        if "recipes" in self.contract:
            name, known = self.get_parsed_content("recipe"), self.get_parsed_content("recipes")
            if name not in known:
                raise InputError(f"{self.place('recipe')}: found {name!r}, expected one of {', '.join(known)}")

    def get_parsed_content(self, id: str = "", **kwargs: Any) -> Any:
        """The value or the object of an entry.

        Raises:
            InputError: the entry is missing, cannot be made, or breaks the contract.
        """
        if id and id not in self and "default" not in kwargs:
            raise InputError(f"{self.place(id)}: found no such entry, expected one")
        try:
            value = super().get_parsed_content(id, **kwargs)
        except Exception as error:
            raise self._fault(self._culprit(id), error) from error
        entry = self.contract.get(id)
        if entry is not None and not entry.check.usable(value):
            raise InputError(f"{self.place(id)}: found {_shown(value)}, expected {entry.check.expected}")
        return value

    @contextmanager
    def blamed(self, entry: str) -> Iterator[None]:
        """While an object of the config runs: report its errors as the entry's, in one line.

        Errors that a user can fix elsewhere (an `InputError`, a full disk, too little memory) are not changed.
        """
        try:
            yield
        except Exception as error:
            if explain(error) is not None:
                raise
            raise self._fault(entry, error) from error

    def _fault(self, entry: str, error: Exception) -> InputError:
        while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):  # as MONAI wraps errors
            error = error.__cause__
        said = explain(error) or f"{type(error).__name__}: {error}"
        return InputError(f"{self.place(entry)}: cannot be used ({' '.join(said.split())[:300]})")

    def place(self, entry: str) -> str:
        """Where an entry was set, for messages: file and entry, or the option of the command line."""
        origin = self.origins.get(entry) or self.origins.get(entry.split("::")[0]) or str(self.file)
        return origin if origin.startswith("--") else f"{origin}: entry {entry!r}"

    def _culprit(self, entry: str) -> str:
        """The entry that causes an entry's fault: one that is faulty although all entries that it refers to are not."""
        seen = {entry}
        while True:
            config = self.get(entry)
            for name in ReferenceResolver.find_refs_in_config(config, entry):
                if name not in seen and self._is_faulty(name):
                    seen.add(name)
                    entry = name
                    break
            else:
                return entry

    def _is_faulty(self, entry: str) -> bool:
        try:
            super().get_parsed_content(entry)
        except Exception:
            return True
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
