# SPDX-License-Identifier: Apache-2.0
"""All that needs a GPU, on one card in a few minutes: tests, projector, network, a run of the paper's size, a volume.

    python benchmarks/gpu.py --output FOLDER [--sections NAME ...] [--minutes 8] [--rehearse]

Each section runs in a process of its own and may take its share of the time that is left, so that what one doesn't need
the later ones get. FOLDER gets SECTION.json and results.md after each section; a further run skips those that are
finished. A section that fails or runs out of time is named on the page, with what it had measured. The exit status is 1
if a section isn't finished, 2 without a GPU. `--rehearse` runs everything on the CPU at tiny sizes, Triton's kernels in
its interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from monai_iscs.errors import InputError, OutputError
from monai_iscs.files import FolderLock, staged

ROOT = Path(__file__).resolve().parents[1]
MOST_REPORTED = 1_000_000  # bytes of a section's report; more is a fault
LOG_LINES, LOG_WIDTH, LOG_BYTES = 30, 300, 65_536  # of what is kept of a failed section's errors


class Section(NamedTuple):
    title: str
    share: int
    """Of the time, beside those of the later sections: seconds of 8 minutes."""
    command: str
    """A script with its arguments."""
    rehearsal: str


# In order of value.
SECTIONS = {
    "environment": Section("The machine", 15, "gpu_sections.py environment", "gpu_sections.py environment --rehearse"),
    "tests": Section("Tests", 140, "gpu_sections.py tests", "gpu_sections.py tests --rehearse"),
    "triton": Section("Triton against numba", 30, "gpu_sections.py triton", "gpu_sections.py triton --rehearse"),
    "pair": Section("The projector pair", 40, "gpu_sections.py pair", "gpu_sections.py pair --rehearse"),
    "network": Section(
        "The network",
        75,
        "network.py --slices 64 --size 256 --batches 1 4 16 64",
        "network.py --device cpu --slices 4 --size 32 --batches 1 4 --repeats 1",
    ),
    "paper_size": Section(
        "A run of the paper's size",
        150,
        "paper_size.py --sections loop --loops compiled fast peer",
        "paper_size.py --sections loop --loops compiled fast peer --device cpu --shape 8 8 4 --channels 4 4 4 4 "
        "--views 2 --steps 4 --compile",
    ),
    "reconstruction": Section(
        "The demo's volume", 30, "gpu_sections.py reconstruction", "gpu_sections.py reconstruction --rehearse"
    ),
}


def words(name: str, rehearse: bool) -> list[str]:
    """The command of a section after `python`, from the repository's root."""
    section = SECTIONS[name]
    return shlex.split(f"benchmarks/{section.rehearsal if rehearse else section.command}")


def surroundings(scratch: str, rehearse: bool) -> dict[str, str]:
    """The environment variables of a section."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    settings = {**os.environ, "PYTHONPATH": path, "TMPDIR": scratch}
    settings.pop("TRITON_INTERPRET", None)
    return {**settings, **({"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if rehearse else {})}


def run(name: str, limit: float, rehearse: bool) -> dict[str, Any]:
    """A section's record; its process, and those that it started, end with it or after `limit` seconds."""
    start, command = time.perf_counter(), words(name, rehearse)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        report, log = Path(scratch) / "report", Path(scratch) / "log"
        with report.open("wb") as output, log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=surroundings(scratch, rehearse),
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                status = "finished" if code == 0 else f"failed (exit status {code})"
            except subprocess.TimeoutExpired:
                status = "out of time"
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return {
            "section": name,
            "status": status,
            "seconds": round(time.perf_counter() - start, 1),
            "limit": round(limit, 1),
            "rehearsal": rehearse,
            "command": shlex.join(["python", *command]),
            "report": lines(report.read_bytes()[:MOST_REPORTED]),
            "log": [] if status == "finished" else last_lines(log),
        }


def lines(content: bytes) -> list[str]:
    """Text without the repository's path."""
    return content.decode(errors="replace").replace(f"{ROOT}/", "").splitlines()


def last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - LOG_BYTES, 0))
        return [line[:LOG_WIDTH] for line in lines(file.read()) if line.strip()][-LOG_LINES:]


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of earlier sections, in order."""
    files = {name: folder / f"{name}.json" for name in SECTIONS}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def page(records: dict[str, dict[str, Any]], rehearse: bool) -> Iterator[str]:
    if rehearse:
        yield "# A rehearsal of the measurements on a GPU\n"
        yield "**All of it ran on a CPU at tiny sizes: no figure is a GPU's, and none says how fast anything is.**\n"
    else:
        yield "# Measured on one GPU\n"
    yield "Written by `python benchmarks/gpu.py`.\n"
    yield "| section | | status | s |\n|---|---|---|---|"
    for name, section in SECTIONS.items():
        record = records.get(name, {"status": "not run", "seconds": "", "report": []})
        missing = sum("not run" in line.lower() for line in record["report"])
        status = record["status"] + (f"; rows not run: {missing}" if missing else "")
        yield f"| {name} | {section.title} | {status} | {record['seconds']} |"
    for name, record in records.items():
        yield f"\n## {SECTIONS[name].title}\n"
        spent = f"{record['seconds']} s of at most {record['limit']}"
        yield f"{record['status'].capitalize()}: `{record['command']}`, {spent}.\n"
        yield from (f"##{line}" if line.startswith("#") else line for line in record["report"])
        if record["log"]:
            yield "\n".join(["\nIts last lines:\n", "```", *record["log"], "```"])


def measure(folder: Path, sections: list[str], end: float, rehearse: bool) -> list[str]:
    """Runs the sections that aren't finished until `end` of `time.perf_counter()`; those that still aren't afterwards.

    Raises:
        InputError: the folder has results of the other kind, rehearsed or measured.
        OutputError: the folder can't be written, or another run writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        records = recorded(folder)
        kinds = {False: "results of a GPU", True: "results of a rehearsal"}
        if any(record["rehearsal"] != rehearse for record in records.values()):
            raise InputError(f"{folder}: found {kinds[not rehearse]}, expected a folder without them")
        wanted = [name for name in SECTIONS if name in sections]
        left = [name for name in wanted if records.get(name, {}).get("status") != "finished"]
        for index, name in enumerate(left):
            rest = max(end - time.perf_counter(), 0.0)
            limit = rest * SECTIONS[name].share / sum(SECTIONS[later].share for later in left[index:])
            print(f"{name} (at most {limit:.0f} s) ...", flush=True)
            records[name] = run(name, limit, rehearse)
            print(f"    {records[name]['status']}, {records[name]['seconds']} s", flush=True)
            ordered = {known: records[known] for known in SECTIONS if known in records}
            with staged(folder) as stage:
                (stage / f"{name}.json").write_text(json.dumps(records[name], indent=1) + "\n", encoding="utf-8")
                (stage / "results.md").write_text("\n".join(page(ordered, rehearse)) + "\n", encoding="utf-8")
        return [name for name in left if records[name]["status"] != "finished"]


def main(arguments: list[str] | None = None) -> int:
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--minutes", type=float, default=8.0, help="for all sections of this run (default 8)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, tiny")
    given = parser.parse_args(arguments)
    try:
        if not given.minutes > 0:
            raise InputError(f"--minutes: found {given.minutes:g}, expected more than 0")
        if not given.rehearse:
            import torch

            if not torch.cuda.is_available():
                raise InputError("gpu.py: found no CUDA device, expected one (--rehearse runs on the CPU)")
        unfinished = measure(given.output, given.sections, start + 60 * given.minutes, given.rehearse)
    except (InputError, OutputError) as error:
        print(error, file=sys.stderr)
        return 2
    if unfinished:
        print(f"not finished: {', '.join(unfinished)}", file=sys.stderr)
    print(given.output / "results.md")
    return int(bool(unfinished))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a section ends with this process
    sys.exit(main())
