# SPDX-License-Identifier: Apache-2.0
"""Errors about files of projections: one line, which begins with the file's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from monai_iscs.errors import InputError

LONGEST = 400  # letters of a message: damaged files hold long words


class FileError(InputError):
    """An `InputError` that names its file already: "FILE: found ..., expected ..."."""

    def __init__(self, path: str | PathLike[str], message: str) -> None:
        super().__init__(f"{path}: {' '.join(message.split())[:LONGEST]}")


@contextmanager
def naming_file(path: str | PathLike[str]) -> Iterator[None]:
    """Errors about what a file holds begin with its name; those of the libraries that read it become one line."""
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise FileError(path, str(error)) from error
    except FileNotFoundError as error:
        raise FileError(error.filename or path, "found no such file or folder") from error
    except KeyError as error:
        raise FileError(path, f"found no entry {error} in it, expected one") from error
    except MemoryError:
        raise
    except Exception as error:  # each library raises whatever it runs into in a damaged file
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise FileError(path, f"can't be read, truncated or damaged? ({lines[-1][:200]})") from error


def missing_package(name: str, extra: str) -> InputError:
    """For a package that only some formats need."""
    return InputError(f"reading it needs {name}, found none: pip install 'monai-iscs[{extra}]'")
