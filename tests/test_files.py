# SPDX-License-Identifier: Apache-2.0
"""Real kills at any point of a swap, locks of other processes, and full disks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monai_iscs.errors import InputError, OutputError
from monai_iscs.files import OWN, FolderLock, output_error, recover, sha256, staged, telling
from monai_iscs.reports import RunFolder, read_results, write_json

# Replaces the results of copies of a folder; the process of copy n is killed before the n-th call that changes the
# disk, until one process survives.
KILLS = """
import json, os, shutil, signal, sys
from pathlib import Path
from monai_iscs.files import sha256, staged

def deadly(call):
    def counted(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*arguments, **options)
    return counted

def replace(folder):
    for name in ("replace", "rename", "unlink", "rmdir", "fsync", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))
    with staged(folder, last="run.json", replaces=["figure", "stale", "volume", "series"], folders=["series"]) as stage:
        (stage / "series").mkdir()
        for name in ("volume", "figure", "extra", "series/1", "series/2"):
            (stage / name).write_text("new")
        files = {str(file.relative_to(stage)): sha256(file) for file in stage.rglob("*") if file.is_file()}
        (stage / "run.json").write_text(json.dumps({"version": "new", "files": files}))

for left in range(200):
    folder = Path(sys.argv[1]) / str(left)
    shutil.copytree(sys.argv[2], folder)
    if (child := os.fork()) == 0:
        replace(folder)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
"""
FILES = {
    "old": {"volume": "old", "figure": "old", "stale": "old", "series/1": "old", "series/3": "old"},
    "new": {"volume": "new", "figure": "new", "extra": "new", "series/1": "new", "series/2": "new"},
}


def _write(folder: Path, version: str) -> None:
    with RunFolder(folder).results() as stage:
        (stage / "series").mkdir()
        for name, content in FILES[version].items():
            (stage / name).write_text(content)
        write_json(stage / "run.json", {"version": version})


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder with the results of an earlier run, and a file of the user."""
    folder = tmp_path / "earlier"
    _write(folder, "old")
    (folder / "mine").write_text("mine")
    return folder


def _visible(folder: Path) -> dict[str, str]:
    names = [f.relative_to(folder) for f in folder.rglob("*") if f.is_file() and f.name not in ("run.json", "mine")]
    return {str(name): (folder / name).read_text() for name in names if not name.parts[0].startswith(OWN)}


def _version(folder: Path) -> str:
    """The set of complete results, which are alone with the user's file."""
    record = read_results(folder)
    assert _visible(folder) == FILES[record["version"]]
    assert set(record["files"]) == set(_visible(folder))
    assert (folder / "mine").read_text() == "mine"
    return record["version"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_point_leaves_no_mixture_and_the_next_run_mends_it(tmp_path, earlier):
    copies = tmp_path / "copies"
    subprocess.run([sys.executable, "-c", KILLS, copies, earlier], check=True, timeout=120)
    versions = []
    for folder in sorted(copies.iterdir(), key=lambda path: int(path.name)):
        assert len(set(_visible(folder).values())) <= 1, "old and new files beside each other"
        if (folder / "run.json").exists():
            _version(folder)
        with RunFolder(folder):  # the next run
            assert not any(file.name.startswith(OWN) for file in folder.iterdir())
        versions.append(_version(folder))
    assert len(versions) > 20
    assert versions == sorted(versions, reverse=True)  # undone until all was on the disk, finished after that
    assert set(versions) == {"old", "new"}


def test_an_error_in_the_middle_of_the_swap_brings_the_old_files_back(earlier, monkeypatch):
    replace = os.replace

    def failing(source, target):
        if Path(target) == earlier / "volume" and "complete" in str(source):
            raise OSError(5, "Input/output error", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match="volume: Input/output error"):
        _write(earlier, "new")
    assert _version(earlier) == "old"


@pytest.mark.parametrize("name", ["volume", "run.json", "stale"])
def test_a_folder_in_the_way_changes_nothing(earlier, name):
    (earlier / name).unlink()
    (earlier / name / "mine").mkdir(parents=True)
    before = sorted(earlier.rglob("*"))
    if name != "run.json":
        with pytest.raises(InputError, match=f"{name}: found a folder where a result goes"):
            RunFolder(earlier).expect("volume")
    with pytest.raises(OutputError, match=f"{name}: Is a directory"):
        _write(earlier, "new")
    assert sorted(earlier.rglob("*")) == before


def test_a_folder_of_results_with_a_file_of_the_user_stays(earlier):
    (earlier / "series" / "mine").write_text("mine")
    before = sorted(earlier.rglob("*"))
    with pytest.raises(InputError, match="series: found a folder where a result goes"):
        RunFolder(earlier).expect("volume")
    with pytest.raises(OutputError, match="series: Is a directory"):
        _write(earlier, "new")
    assert sorted(earlier.rglob("*")) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_the_end_of_the_swap(earlier, monkeypatch, number):
    def stop(*_):
        raise KeyboardInterrupt

    def signalled(source, target):
        replace(source, target)
        signal.raise_signal(number)

    replace, before = os.replace, signal.signal(number, stop)
    monkeypatch.setattr(os, "replace", signalled)
    try:
        with pytest.raises(KeyboardInterrupt):
            _write(earlier, "new")
    finally:
        signal.signal(number, before)
    assert _version(earlier) == "new"


LOCKING = """
import sys, time
from pathlib import Path
from monai_iscs.files import staged
with staged(Path(sys.argv[1])) as stage:
    (stage / "half").write_text("half")
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such lock")
def test_a_folder_belongs_to_one_process_until_that_ends(earlier):
    other = subprocess.Popen([sys.executable, "-c", LOCKING, earlier], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        for _ in range(2):
            with pytest.raises(InputError, match=f"^{earlier}: found another run that is writing there"):
                RunFolder(earlier).__enter__()
            with pytest.raises(OutputError, match="another run"), staged(earlier):
                pass
        assert list(earlier.glob(f"{OWN}*/half"))  # of a running process
    finally:
        other.kill()
        other.communicate()
    with RunFolder(earlier), RunFolder(earlier).results():  # a process may lock a folder again
        pass
    assert not list(earlier.glob(f"{OWN}*"))


def test_a_lock_is_free_when_the_last_one_is_released(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    probe = f"from pathlib import Path; from monai_iscs.files import FolderLock; FolderLock(Path({str(tmp_path)!r}))"
    first.release()
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 1
    second.release()
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


def test_what_belongs_to_nobody_stays(tmp_path):
    (tmp_path / ".hidden").mkdir()
    recover(tmp_path)
    assert (tmp_path / ".hidden").exists()


def test_a_disk_that_fills_up(small_disk):
    disk = small_disk(megabytes=1, files=20)
    folder = RunFolder(disk)
    with folder.results() as stage:
        (stage / "volume").write_text("old")

    def write_much(stage: Path) -> None:
        (stage / "volume").write_bytes(b"n" * 2**21)

    def save_much(stage: Path) -> None:
        with (stage / "volume").open("wb") as file:  # PyTorch replaces the system's error by its own
            torch.save(torch.zeros(2**20), file)

    def write_many(stage: Path) -> None:
        for index in range(20):
            (stage / f"volume_{index}").touch()

    full = r"the disk is full \(\d MB free\)"
    for write, message in ((write_much, full), (save_much, full), (write_many, "no room for another file")):
        with pytest.raises(InputError, match=f"^{disk}: .*{message}"), folder.results() as stage:
            write(stage)
    assert {file.name: file.read_text() for file in disk.iterdir()} == {"volume": "old"}
    with pytest.raises(InputError, match="found 1 MB free on the disk, expected at least 2 MB"):
        folder.expect(size=2**21)


def test_a_limit_of_the_file_size(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="File too large"), RunFolder(tmp_path).results() as stage:
            (stage / "volume").write_bytes(b"n" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [(122, "disk quota is used up"), (30, "Read-only file system"), (13, "Permission denied"), (28, "disk is full")],
)
def test_every_reason_is_one_line(tmp_path, code, expected):
    line = str(output_error(tmp_path, OSError(code, os.strerror(code))))
    assert line.startswith(f"{tmp_path}: ")
    assert expected in line


def test_errors_about_files_elsewhere_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError), telling(tmp_path / "output"):
        (tmp_path / "input").read_text()


def test_a_hash_follows_the_file(tmp_path):
    (tmp_path / "a").write_text("1")
    first = sha256(tmp_path / "a")
    (tmp_path / "a").write_text("2")
    assert first != sha256(tmp_path / "a")
