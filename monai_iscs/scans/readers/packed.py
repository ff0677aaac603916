# SPDX-License-Identifier: Apache-2.0
"""Images one after another in a file, raw or compressed, read one at a time."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.naming import FileError

BLOCK = 2**20

Frames = Callable[[Sequence[int]], Iterator[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Where the images of a file are; `packed(indices)` yields those (rows, columns) of indices that rise.

    Attributes:
        file: that holds them.
        shape: (views, rows, columns).
        dtype: of its numbers.
        offset: byte that they begin at.
        gap: bytes before each image.
        encoding: "raw", "zlib" (or gzip, as MetaImage has it) or "gzip".

    Raises:
        InputError: a raw file of another length.
    """

    file: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int = 0
    gap: int = 0
    encoding: str = "raw"

    def __post_init__(self) -> None:
        if self.encoding == "raw":
            expected = self.shape[0] * (self.gap + self._length)
            found = self.file.stat().st_size - self.offset
            if found != expected:
                kind = f"{self.shape[0]} x {self.shape[1]} x {self.shape[2]} of {self.dtype}"
                raise FileError(
                    self.file, f"found {found:,} bytes of pixels, expected {expected:,} ({kind}; truncated?)"
                )

    @property
    def _length(self) -> int:
        return self.dtype.itemsize * self.shape[1] * self.shape[2]

    def __call__(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            if self.encoding == "zlib":
                stream = io.BufferedReader(_Inflated(stream), BLOCK)
            elif self.encoding == "gzip":
                stream = gzip.GzipFile(fileobj=stream)
            before = 0
            for index in indices:
                self._skip(stream, (index - before) * (self.gap + self._length) + self.gap)
                data = stream.read(self._length)
                if len(data) < self._length:
                    found = f"found its end within view {index}, expected {self.shape[0]} views (truncated?)"
                    raise FileError(self.file, found)
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])
                before = index + 1
            if before == self.shape[0] and stream.read(1):  # at the end the checksum of packed pixels is verified
                raise FileError(self.file, f"found bytes behind its last view, expected {self.shape[0]} views")

    def _skip(self, stream: BinaryIO, count: int) -> None:
        if self.encoding == "raw":
            stream.seek(count, io.SEEK_CUR)
            return
        while count > 0 and (data := stream.read(min(count, BLOCK))):
            count -= len(data)


class _Inflated(io.RawIOBase):
    """A file that is packed as MetaImage does it: zlib's format, or gzip's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._inflate = file, zlib.decompressobj(wbits=47)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(BLOCK)
            if not packed:
                raise InputError("found compressed pixels without an end, truncated?")
            if data := self._inflate.decompress(packed, len(buffer)):
                buffer[: len(data)] = data
                return len(data)
        return 0
