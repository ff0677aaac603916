# SPDX-License-Identifier: Apache-2.0
"""Images of a detector, read one at a time: nothing holds a whole file twice."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.scans.readers.itk_file import ITK_SUFFIXES, open_itk
from monai_iscs.scans.readers.naming import FileError, missing_package, naming_file
from monai_iscs.scans.readers.options import Images
from monai_iscs.scans.readers.packed import Frames

TIFF = (".tif", ".tiff")
SUFFIXES = (*ITK_SUFFIXES, ".npy", *TIFF)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Images of one size.

    Attributes:
        path: what messages call them.
        shape: (views, rows, columns).
        dtype: of the stored numbers.
        frames: `frames(indices)` yields the images (rows, columns) of indices that rise.
        pitch: signed pixel size (along v, along u), mm; None: the file has none.
        origin: of the first pixel's centre (along v, along u), mm; None: the file has none.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    frames: Frames
    pitch: tuple[float, float] | None = None
    origin: tuple[float, float] | None = None

    def mean(self) -> np.ndarray:
        """Average of all images, (rows, columns), float64."""
        return sum(frame.astype(np.float64) for frame in self.frames(range(self.shape[0]))) / self.shape[0]


def open_stack(path: Path, *, views: int | None = None) -> Stack:
    """The images of a file, of a folder, or of all files whose name fits a pattern (`scan_*.tif`).

    Args:
        path: .mha, .mhd, .nrrd, .nhdr, .npy, .tif, or a folder of such files that are numbered.
        views: how many are expected: tells a .npy in ASTRA's order (rows, views, columns), or of one row a view
            (views, columns), from one of (views, rows, columns).

    Raises:
        InputError: nothing there, another kind of file, numbers with gaps, or images of different sizes.
    """
    files = list_files(path, SUFFIXES)
    stacks = [_open_file(file, views if len(files) == 1 else None) for file in files]
    return joined(path, stacks)


def open_frames(images: Images, pixels: tuple[int, int], name: str) -> np.ndarray:
    """The average of flat or dark images.

    Args:
        images: an array (rows, columns) or (n, rows, columns), a file, folder or pattern, or several of these.
        pixels: (rows, columns) that are expected.
        name: what messages call them.

    Returns:
        (rows, columns), float64.

    Raises:
        InputError: other pixels, or values that are not finite.
    """
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3) or images.dtype.kind not in "fiu" or not images.size:
            raise InputError(f"{name}: found shape {images.shape} of {images.dtype}, expected counts (rows, columns)")
        stacked = images.reshape(-1, *images.shape[-2:])
        means, counts = [stacked.mean(0, dtype=np.float64)], [len(stacked)]
    else:
        paths = [images] if isinstance(images, str | PathLike) else list(images)
        stacks = [open_stack(Path(path).expanduser()) for path in paths]
        means, counts = [stack.mean() for stack in stacks], [stack.shape[0] for stack in stacks]
    for mean in means:
        if mean.shape != tuple(pixels):
            raise InputError(f"{name}: found {mean.shape} pixels, expected the projections' {tuple(pixels)}")
        if not np.isfinite(mean).all():
            raise InputError(f"{name}: found NaN or infinite values, expected finite counts")
    return sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)


def _open_file(path: Path, views: int | None) -> Stack:
    name = path.name.lower()
    with naming_file(path):
        if name.endswith(ITK_SUFFIXES):
            return Stack(path=path, **open_itk(path))
        if name.endswith(".npy"):
            return _open_npy(path, views)
        if name.endswith(TIFF):
            return _open_tiff(path)
    raise FileError(path, f"found {path.suffix or 'no suffix'}, expected images: {', '.join(SUFFIXES)}")


def list_files(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """One file, or those of a folder or pattern, in the order of their numbers.

    Raises:
        InputError: there are none of these suffixes, or see `numbered`.
    """
    if "*" in path.name:
        found = [file for file in path.parent.glob(path.name) if file.is_file()]
    elif path.is_dir():
        found = [file for file in path.iterdir() if file.name.lower().endswith(tuple(suffixes))]
    elif path.exists():
        return [path]
    else:
        raise FileError(path, "found no such file or folder, expected projections")
    if not found:
        raise FileError(path, f"found no images in it, expected {', '.join(suffixes)}")
    return numbered(path, found)


def numbered(path: Path, files: Sequence[Path]) -> list[Path]:
    """Files in the order of the last number in their names.

    Raises:
        InputError: files of several kinds, or a number that is missing.
    """
    split = {file: re.fullmatch(r"(.*?)(\d*)(\D*)", file.name) for file in files}
    names = sorted({match[1] + "*" * bool(match[2]) + match[3] for match in split.values()})
    if len(names) > 1:
        raise FileError(
            path, f"found {', '.join(names[:4])}, expected numbered files of one kind: choose them by such a pattern"
        )
    ordered = sorted(files, key=lambda file: int(split[file][2] or 0))
    numbers = [int(split[file][2] or 0) for file in ordered]
    steps = np.diff(numbers)
    if len(steps) and steps.max() > steps.min():
        gap = int(np.argmax(steps))
        expected = numbers[gap] + int(steps.min())
        raise FileError(path, f"found {ordered[gap].name} and then {ordered[gap + 1].name}, expected {expected}")
    return ordered


def joined(path: Path, stacks: Sequence[Stack]) -> Stack:
    """The images of several files as one.

    Raises:
        InputError: images of different sizes or types.
    """
    first = stacks[0]
    if len(stacks) == 1:
        return first
    for stack in stacks:
        if stack.shape[1:] != first.shape[1:] or stack.dtype != first.dtype:
            found = f"{stack.shape[1]} x {stack.shape[2]} pixels of {stack.dtype}"
            expected = f"{first.shape[1]} x {first.shape[2]} of {first.dtype}"
            raise FileError(stack.path, f"found {found}, expected {expected} as in {first.path.name}")
    places = [(stack, index) for stack in stacks for index in range(stack.shape[0])]

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        chosen = (places[index] for index in indices)
        for _, group in groupby(chosen, key=lambda place: id(place[0])):
            together = list(group)
            yield from together[0][0].frames([index for _, index in together])

    shape = (len(places), *first.shape[1:])
    return Stack(path=path, shape=shape, dtype=first.dtype, frames=frames, pitch=first.pitch, origin=first.origin)


def _open_npy(path: Path, views: int | None) -> Stack:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        array = array[:, None] if views is not None and len(array) == views > 1 else array[None]
    if array.ndim != 3 or array.dtype.kind not in "fiu" or not array.size:
        raise FileError(path, f"found shape {array.shape} of {array.dtype}, expected real numbers (view, v, u)")
    if views is not None and len(array) != views == array.shape[1]:
        array = np.moveaxis(array, 1, 0)

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (np.asarray(array[index]) for index in indices)

    return Stack(path=path, shape=array.shape, dtype=array.dtype, frames=frames)


@contextmanager
def _opened_tiff(path: Path) -> Iterator[Any]:
    """A `TiffFile`, whose library keeps to itself what it thinks of a damaged file: the error says it better."""
    try:
        import tifffile
    except ImportError:
        raise missing_package("tifffile", "projections") from None
    logger = tifffile.logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    finally:
        logger.setLevel(level)


def _open_tiff(path: Path) -> Stack:
    with _opened_tiff(path) as file:
        page, count = file.pages[0], len(file.pages)
        if len(page.shape) != 2 or page.dtype is None or page.dtype.kind not in "fiu":
            raise FileError(path, f"found an image {page.shape} of {page.dtype}, expected grey values (rows, columns)")
        shape, dtype = (count, *page.shape), page.dtype

    def frames(indices: Sequence[int]) -> Iterator[np.ndarray]:
        with _opened_tiff(path) as file:
            for index in indices:
                frame = file.pages[index].asarray()
                if frame.shape != shape[1:]:
                    raise FileError(path, f"found page {index} of {frame.shape} pixels, expected {shape[1:]}")
                yield frame

    return Stack(path=path, shape=shape, dtype=dtype, frames=frames)
