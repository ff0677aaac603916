# SPDX-License-Identifier: Apache-2.0
"""Damages a bundle in hundreds of ways: each must end in one line that names the file, never in a traceback.

    python benchmarks/damaged_bundles.py [--only TEXT] [--every N]

takes the shipped CT bundle with a network of a few thousand weights, damages one thing at a time, runs ``monai-iscs``
on it in this process, and prints the result of each damage. The exit status is the number of faults. Damage to entries
that the command does not use (only ``monai.bundle run`` reads them) is shown as harmless.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser

from monai_iscs.cli import main
from monai_iscs.workflows.bundle import find_bundle

SMALL = {
    "network_def::network::network::channels": [8, 8],
    "network_def::network::network::num_res_blocks": 1,
    "network_def::network::network::attention_levels": [False, False],
    "network_def::network::network::norm_num_groups": 4,
    "network_def::network::network::num_head_channels": 4,
    "size": 16,
}
CHANGES = {
    "inference": {**SMALL, "views": 3, "steps": 1},
    "train": {**SMALL, "crop": 16, "epochs": 1, "batch_size": 2, "validate_every": 2},
}


class Damage(NamedTuple):
    """One fault in a bundle.

    Attributes:
        name: of the fault.
        file: the damaged file, relative to the bundle.
        apply: damages the file, given its path.
    """

    name: str
    file: str
    apply: Callable[[Path], None]


def make_bundle(folder: Path) -> Path:
    """The shipped CT bundle with a network of a few thousand weights, never trained."""
    shipped = find_bundle("body_ct_reconstruction")
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    shutil.copy(shipped / "configs" / "metadata.json", folder / "configs")
    for kind, changes in CHANGES.items():
        config = ConfigParser(ConfigParser.load_config_file(shipped / "configs" / f"{kind}.json"))
        for key, value in changes.items():
            config[key] = value
        (folder / "configs" / f"{kind}.json").write_text(json.dumps(config.get()))
    torch.save(config.get_parsed_content("network_def").state_dict(), folder / "models" / "model.pt")
    return folder


def make_volume(path: Path) -> Path:
    """A body of water with a bone, in air: 16 x 16 x 4 voxels of 16 mm, in HU."""
    volume = np.full((16, 16, 4), -1000, np.float32)
    volume[3:13, 4:12] = 30
    volume[6:8, 6:8] = 700
    nib.save(nib.Nifti1Image(volume, np.diag([16.0, 16.0, 16.0, 1.0])), path)
    return path


def entry_damages(kind: str, entries: Mapping[str, Any]) -> Iterator[Damage]:
    """Every entry of a config, and entries two levels inside it, damaged in each way that fits its type."""
    for key, value in entries.items():
        yield from _damages_of(kind, entries, (key,), value)
    yield _edit(kind, "an unknown entry", {**entries, "colour": 1})
    yield _edit(kind, "a circular reference", {**entries, "scan": "@measurement", "trained": "@optimizer"})


def _damages_of(kind: str, entries: Mapping[str, Any], path: tuple[str, ...], value: Any) -> Iterator[Damage]:
    def edit(what: str, change: Callable[[dict[str, Any]], None]) -> Damage:
        changed = deepcopy(dict(entries))
        parent = changed
        for step in path[:-1]:
            parent = parent[step]
        change(parent)
        return _edit(kind, f"{'::'.join(path)} {what}", changed)

    def put(what: str, new: Any) -> Damage:
        return edit(what, lambda parent: parent.__setitem__(path[-1], new))

    yield edit("removed", lambda parent: parent.pop(path[-1]))
    yield put("of another type", "text" if not isinstance(value, str) else 7)
    if len(path) > 2:
        return
    yield put("null", None)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield put("negative", -1)
        yield put("not a number", float("nan"))
        yield put("huge", 10**30)
    if isinstance(value, list):
        yield put("empty", [])
    if isinstance(value, str) and value.startswith(("$", "@")):
        yield put("with a syntax error", "$)(")
        yield put("of an unknown reference", "@nowhere")
        yield put("that divides by zero", "$1 / 0")
    if isinstance(value, dict):
        if "_target_" in value:
            yield put("of an unknown class", {**value, "_target_": "monai_iscs.nothing.Nobody"})
            yield put("of another class", {**value, "_target_": "builtins.int"})
            yield put("with an unknown argument", {**value, "colour": 1})
        for key, inner in value.items():
            yield from _damages_of(kind, entries, (*path, key), inner)


def _edit(kind: str, what: str, entries: Mapping[str, Any]) -> Damage:
    text = json.dumps(entries)
    return Damage(f"{kind}: {what}", f"configs/{kind}.json", lambda file: file.write_text(text) and None)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


FILE_DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "a folder": _folder,
    "empty": lambda file: file.write_bytes(b""),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:60]),
    "of random bytes": lambda file: file.write_bytes(bytes(range(256)) * 8),
    "UTF-16": lambda file: file.write_bytes('{"a": 1}'.encode("utf-16")),
    "a list": lambda file: file.write_text("[1, 2]"),
    "null": lambda file: file.write_text("null"),
    "nested too deep": lambda file: file.write_text("[" * 100_000),
    "without entries": lambda file: file.write_text("{}"),
}


def file_damages(files: tuple[str, ...]) -> Iterator[Damage]:
    """Every file, damaged in each way."""
    for file in files:
        for what, apply in FILE_DAMAGES.items():
            yield Damage(f"{Path(file).stem}: the file {what}", file, apply)


def command(damage: Damage, bundle: Path, volume: Path, output: Path) -> list[str]:
    """The command that reads the damaged file."""
    if damage.file.endswith("train.json"):
        given = ["train", "--dataset", volume.parent, "--device", "cpu"]
    elif any(damage.name.startswith(f"inference: {entry}") for entry in ("comparison", "display")):
        given = ["evaluate", volume, volume, "--lpips", "none"]
    else:
        given = ["reconstruct", volume, "--device", "cpu"]
    return [str(part) for part in (*given, "--bundle", bundle, "--output", output)]


def outcome(damage: Damage, bundle: Path, volume: Path, folder: Path) -> tuple[str, str]:
    """The result of a damage, "harmless", "told" (one line names the file) or "fault", and what was printed."""
    copy = shutil.copytree(bundle, folder / "bundle")
    damage.apply(copy / damage.file)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(command(damage, copy, volume, folder / "out"))
    except BaseException as error:
        return "fault", f"{type(error).__name__}: {error}"
    lines = [line for line in said.getvalue().splitlines() if line.startswith("monai-iscs: ")]
    if code == 0:
        return "harmless", ""
    if code != 2 or len(lines) != 1 or "Traceback" in said.getvalue():
        return "fault", f"exit status {code}: {said.getvalue()[-300:]}"
    return ("told" if Path(damage.file).name in lines[0] else "fault"), lines[0]


def _run() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only damages whose name holds this text")
    parser.add_argument("--every", type=int, default=1, help="only every N-th of them, to save time")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as root, without_figures():
        bundle = make_bundle(Path(root) / "tiny")
        (Path(root) / "data").mkdir()
        volume = make_volume(Path(root) / "data" / "body.nii.gz")
        for name in ("train", "val"):
            (volume.parent / name).mkdir()
            shutil.copy(volume, volume.parent / name)
        damages = list(file_damages(("configs/inference.json", "configs/train.json", "models/model.pt")))
        for kind in CHANGES:
            damages += entry_damages(kind, json.loads((bundle / "configs" / f"{kind}.json").read_text()))
        for damage in [damage for damage in damages if arguments.only in damage.name][:: arguments.every]:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                result, said = outcome(damage, bundle, volume, Path(folder))
            counts[result] += 1
            print(f"{result:8} {damage.name}: {said.replace(folder, '')}", flush=True)
    print(", ".join(f"{number} {result}" for result, number in counts.items()))
    return counts["fault"]


@contextlib.contextmanager
def without_figures() -> Iterator[None]:
    """Skips the figures: they take longest and never fail."""

    def touch(*given: Any, **_: Any) -> None:
        given[-1].touch()

    figures = (f"monai_iscs.{room}.three_view_figure" for room in ("workflows.one_input", "cli.evaluate"))
    with patch(next(figures), touch), patch(next(figures), touch):
        yield


if __name__ == "__main__":
    sys.exit(min(_run(), 100))
