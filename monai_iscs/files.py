# SPDX-License-Identifier: Apache-2.0
"""Files of one folder that appear together or not at all, even after a kill."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import threading
import weakref
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from monai_iscs.errors import InputError, OutputError, causes

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Hidden folders inside the output folder, so that the final names appear by renaming only. Only the process that has
# the folder's lock makes them: if another process finds them, a killed run left them.
OWN = ".monai-iscs-"
# Errors of a disk, which have no file name if they come from a write to an open file.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO}
_PARTIAL, _COMPLETE, _REPLACED = (f"{OWN}{part}" for part in ("partial", "complete", "replaced"))
_PLAN = f"{OWN}plan.json"


class FolderLock:
    """A folder that one process writes at a time; the process may lock it several times.

    The system frees it when the process ends, also after a kill. On a file system that several machines share, only
    processes of the same machine see the lock. Windows has no such lock.

    Args:
        folder: an existing folder.

    Raises:
        OutputError: another process has the lock, or the folder can't be opened.
    """

    _held: dict[tuple[int, int], list[int]] = {}  # noqa: RUF012 - file descriptor and count of this process's locks

    def __init__(self, folder: Path) -> None:
        self.release = weakref.finalize(self, lambda: None)
        if fcntl is None:
            return
        try:
            status = folder.stat()
            key = (status.st_dev, status.st_ino)
            if key in self._held:
                self._held[key][1] += 1
            else:
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    os.close(descriptor)
                    if isinstance(error, BlockingIOError):
                        raise OutputError(
                            f"{folder}: found another run that is writing there, expected one at a time: wait for it "
                            "or choose another folder"
                        ) from None
                    if error.errno not in {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}:
                        raise
                    return  # a file system without locks
                self._held[key] = [descriptor, 1]
        except OSError as error:
            raise output_error(folder, error) from error
        self.release = weakref.finalize(self, self._release, key)

    @classmethod
    def _release(cls, key: tuple[int, int]) -> None:
        held = cls._held[key]
        held[1] -= 1
        if not held[1]:
            os.close(held[0])
            del cls._held[key]

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def output_error(folder: Path, error: OSError) -> OutputError:
    """An error while a folder was written, as one line that names it."""
    if error.errno == errno.EDQUOT:
        return OutputError(f"{folder}: the disk quota is used up, nothing was written")
    if error.errno != errno.ENOSPC:
        name = Path(error.filename).name if isinstance(error.filename, str | os.PathLike) else folder.name
        which = "" if name == folder.name else f"{name}: "
        return OutputError(f"{folder}: the output folder can't be written ({which}{error.strerror or error})")
    with suppress(OSError, AttributeError):
        system = os.statvfs(folder)
        if system.f_files and not system.f_favail:
            return OutputError(
                f"{folder}: the disk has no room for another file (all of its {system.f_files} inodes are in use), "
                "nothing was written"
            )
    with suppress(OSError):
        free = shutil.disk_usage(folder).free / 2**20
        return OutputError(f"{folder}: the disk is full ({free:.0f} MB free), nothing was written")
    return OutputError(f"{folder}: the disk is full, nothing was written")


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Turns errors of the system while a folder is written into an `OutputError` that names it.

    Also those that a library has wrapped in its own errors. An error about a file elsewhere is not changed.
    """
    try:
        yield
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, InputError):
                raise
            if isinstance(cause, OSError):
                if not isinstance(cause.filename, str | os.PathLike):
                    if cause.errno not in _DISK:
                        raise
                elif folder.absolute() not in ((path := Path(cause.filename).absolute()), *path.parents):
                    raise
                raise output_error(folder, cause) from error
        raise


def sha256(path: Path) -> str:
    """SHA-256 of a file, computed again only when the file has changed."""
    status = path.stat()
    return _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def damaged_part(path: Path) -> str | None:
    """The first part of a PyTorch file (a ZIP) with a wrong checksum; PyTorch does not check it."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


@contextmanager
def staged(
    folder: Path, *, last: str = "", replaces: Collection[str] = (), folders: Collection[str] = ()
) -> Iterator[Path]:
    """A folder to write to. What it holds gets its final names in `folder` when the block ends well.

    Everything is on the disk before the first final name appears. Then the earlier files are removed, the one called
    `last` first, and the new ones are moved in, that one last: old and new files are never there together. If the
    process is killed meanwhile, `recover` does the rest; after an error or Ctrl-C nothing has changed.

    Args:
        folder: an existing folder.
        last: the file whose presence says that the results are complete.
        replaces: names of earlier files, which go also where no new one takes their place.
        folders: names of earlier folders that may go like files; any other one in the way is an error.

    Raises:
        OutputError: another process has the folder, or it can't be written (any more).
    """
    with FolderLock(folder):
        recover(folder)
        partial = folder / _PARTIAL
        try:
            with telling(folder):  # before it is removed: the message says how full the disk is
                partial.mkdir()
                yield partial
                new = sorted((file.name for file in partial.iterdir()), key=lambda name: (name == last, name))
                plan = {"new": new, "old": sorted({*replaces, *new}, key=lambda name: (name != last, name))}
                (partial / _PLAN).write_text(json.dumps({**plan, "folders": sorted(folders)}))
                _flush(partial)
                with _signals_held():
                    _commit(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finishes what a killed process had completed and removes the rest; only with the folder's lock.

    Raises:
        OutputError: the folder can't be written.
    """
    with telling(folder):
        if (folder / _COMPLETE / _PLAN).exists():
            with _signals_held():
                _swap(folder)
        for leftover in (_PARTIAL, _COMPLETE, _REPLACED):
            if (folder / leftover).exists():
                shutil.rmtree(folder / leftover)


def _commit(folder: Path) -> None:
    os.replace(folder / _PARTIAL, folder / _COMPLETE)
    try:
        _flush_one(folder)
        _swap(folder)
    except OSError:
        _undo(folder)
        raise


def _swap(folder: Path) -> None:
    """Moves complete files in; can be repeated after a kill at any point."""
    complete, replaced = folder / _COMPLETE, folder / _REPLACED
    plan = json.loads((complete / _PLAN).read_text())
    folders = plan.get("folders", ())
    if len(plan["old"]) > 1 or folders:  # a single file replaces its predecessor in one step
        replaced.mkdir(exist_ok=True)
        for name in plan["old"]:
            if name in plan["new"] and not os.path.lexists(complete / name):
                continue  # the new one is in place already
            if (folder / name).is_dir() and not (folder / name).is_symlink() and name not in folders:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
            if os.path.lexists(folder / name):
                os.replace(folder / name, replaced / name)
    for name in plan["new"]:
        if os.path.lexists(complete / name):
            os.replace(complete / name, folder / name)
    _flush_one(folder)
    shutil.rmtree(complete, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


def _undo(folder: Path) -> None:
    """After an error in a swap: moves everything back, as far as the disk allows."""
    complete, replaced = folder / _COMPLETE, folder / _REPLACED
    with suppress(OSError):
        for name in reversed(json.loads((complete / _PLAN).read_text())["new"]):
            if not os.path.lexists(complete / name):
                os.replace(folder / name, complete / name)
        for file in replaced.iterdir() if replaced.is_dir() else ():
            os.replace(file, folder / file.name)
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(complete, folder / _PARTIAL)


def _flush(folder: Path) -> None:
    """Waits until a folder and all its files are on the disk."""
    for inside, _, files in os.walk(folder):
        for file in files:
            _flush_one(Path(inside, file))
        _flush_one(Path(inside))


def _flush_one(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do this for this kind of file
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block has ended."""
    if threading.current_thread() is not threading.main_thread():  # signals only arrive there
        yield
        return
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not None
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(received):
            signal.raise_signal(number)
