# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():  # read by Triton when MONAI imports it, and by the projector's backends
    os.environ["TRITON_INTERPRET"] = "1"

from monai.bundle import ConfigParser

from monai_iscs.cli import main
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.priors import Mirrored, NonNegative, Overstated, SlicePrior
from monai_iscs.sampling import (
    DDNM,
    DDS,
    DDSTV,
    RECIPES,
    ConjugateGradient,
    Cubic,
    DDSRule,
    Geometric,
    Recipe,
)

DATA = Path(__file__).parent / "data"


@pytest.fixture
def data_folder() -> Path:
    """Small real volumes, see `tests/data/README.md`."""
    return DATA


def tuned(
    sigmas: Geometric,
    factor: float,
    *,
    momentum: float = 0.0,
    iterations: int = 20,
    smoothing: float = 0.65,
    plane_smoothing: float = 0.0,
    axis: int = 2,
    **settings: Any,
) -> Recipe:
    solver = ConjugateGradient(iterations=iterations, smoothing=smoothing, plane_smoothing=plane_smoothing)
    return Recipe(
        sigmas=sigmas,
        prior=NonNegative(Mirrored(Overstated(SlicePrior(axis), factor), mirror=0)),
        consistency=DDS(solver=solver, discrepancy=True),
        rule=DDSRule(momentum=momentum),
        samplers={
            "ddnm": DDNM(iterations=20, smoothing=smoothing, discrepancy=True),
            "dds+tv": DDSTV(discrepancy=True),
        },
        **settings,
    )


@pytest.fixture(scope="session")
def recipes() -> dict[str, Recipe]:
    """Recipes like those of the bundles, and the library's own."""
    return {
        "default": tuned(Geometric(30, 0.2, 0.002), 1.67),
        "fast": tuned(Geometric(15, 0.1, 0.002), 2.75, momentum=0.45),
        "limited-angle": tuned(Geometric(30, 1.0, 0.002), 1.67),
        "super-resolution": tuned(
            Geometric(12, 0.1, 0.005), 4.5, iterations=10, smoothing=0.0, plane_smoothing=0.4, axis=1, start=Cubic()
        ),
        **RECIPES,
    }


@pytest.fixture(scope="session")
def cone_beam() -> Callable[..., ConeBeamProjector]:
    """``cone_beam(shape, spacing, views=, backend=)``: the paper's scan of a volume with equal voxels, mm."""

    def make(shape: Sequence[int], spacing: float, *, views: int, backend: str = "auto") -> ConeBeamProjector:
        grid = Grid.centered(shape, (spacing,) * 3)
        return ConeBeamProjector(ConeBeamGeometry.paper(grid, views=views), grid, backend=backend)

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """``small_disk(megabytes=1, files=20)``: a folder on its own small file system."""
    folder = tmp_path / "disk"
    mounted = []

    def mount(*, megabytes: float, files: int) -> Path:
        folder.mkdir()
        options = f"size={int(megabytes * 1024)}k,nr_inodes={files}"
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount")
        mounted.append(folder)
        return folder

    yield mount
    for disk in mounted:
        subprocess.run(["umount", "--lazy", disk], check=True)  # locks may still be open


@pytest.fixture
def taken() -> Iterator[Callable[[Path], None]]:
    """``taken(folder)``: another process has the lock of a folder until the test ends."""
    others = []
    code = "import sys; from pathlib import Path; from monai_iscs.files import FolderLock; "
    code += "lock = FolderLock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"

    def take(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", code, str(folder)]
        others.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert others[-1].stdout.readline() == b"\n"

    yield take
    for other in others:
        other.communicate(b"")


class Published:
    """A reference network with weights by a formula: its checkpoint and its outputs, see `tests/data/README.md`.

    Attributes:
        settings: of the same network here.
        weights: by the names and in the order of the reference's checkpoints.
        x: an input.
        every: distance of the kept outputs.
        answers: sigma or timestep, and the first of those outputs, for some of them.
    """

    def __init__(self, kind: str) -> None:
        content = json.loads((DATA / "published" / f"{kind}.json").read_text())
        self.settings, self.every = content["settings"], content["every"]
        self.weights = {
            name: self._weight(index, name, shape) for index, (name, shape) in enumerate(content["weights"])
        }
        self.x = 0.5 + self.numbers(10_000, content["input_shape"])
        self.answers = [(answer["level"], torch.tensor(answer["values"])) for answer in content["answers"]]

    @staticmethod
    def numbers(seed: int, shape: Sequence[int]) -> Tensor:
        """Numbers from -1 to 1 that are the same on every machine: a 32-bit hash of each index and the seed."""
        value = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed * 40503 + 97)
        for shift, factor in ((15, 2246822519), (13, 3266489917), (16, 1)):
            value = (value ^ (value >> np.uint32(shift))) * np.uint32(factor)
        return torch.from_numpy(value.astype(np.float64) / 2**31 - 1).float().reshape(tuple(shape))

    def _weight(self, index: int, name: str, shape: Sequence[int]) -> Tensor:
        """Scaled so that every layer about keeps the variance of its input."""
        numbers, (layer, _, part) = self.numbers(index, shape), name.rpartition(".")
        if layer == "all_modules.0":
            return 16 * numbers
        if len(shape) == 1:
            norm = "GroupNorm" in layer or layer.endswith((".norm", "in_layers.0", "out_layers.0")) or layer == "out.0"
            return 0.2 * numbers + (norm and part == "weight")
        return numbers * math.sqrt(3 / math.prod(shape[1:] if len(shape) > 2 else shape[-1:]))

    def difference(self, answer: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The largest relative error (L2) of ``answer(x, level)`` over sigmas or timesteps."""

        def error(level: float, values: Tensor) -> float:
            with torch.inference_mode():
                found = answer(self.x, torch.full((len(self.x),), level)).flatten()[:: self.every][: len(values)]
            return float((found - values).norm() / values.norm())

        return max(error(level, values) for level, values in self.answers)

    def training_checkpoint(self, prefix: str = "module.") -> dict[str, Any]:
        """In the format of ISCS, TPDM and DiffusionMBIR: `weights` are the averages; the trained weights differ."""
        untrained = ("sigmas", "all_modules.0.W")
        optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
        optimiser.param_groups[0]["lr"] = 2e-4 * np.minimum(100 / 5000, 1.0)  # a NumPy number, as after a warm-up
        return {
            "optimizer": optimiser.state_dict(),
            "model": {prefix + name: value + (name not in untrained) for name, value in self.weights.items()},
            "ema": {
                "decay": 0.999,
                "num_updates": 100,
                "shadow_params": [value for name, value in self.weights.items() if name not in untrained],
            },
            "step": 100,
        }


@pytest.fixture(scope="session")
def published() -> Callable[[str], Published]:
    """``published("ncsnpp")`` or ``published("guided_diffusion")``."""
    return Published


BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SMALL = {
    "network_def::network::network::channels": [8, 8],
    "network_def::network::network::num_res_blocks": 1,
    "network_def::network::network::attention_levels": [False, False],
    "network_def::network::network::norm_num_groups": 4,
    "network_def::network::network::num_head_channels": 4,
}


def _write_config(shipped: Path, folder: Path, kind: str, changes: dict[str, object]) -> ConfigParser:
    """A shipped bundle's config with some entries changed."""
    parser = ConfigParser(ConfigParser.load_config_file(shipped / "configs" / f"{kind}.json"))
    for key, value in changes.items():
        if key.split("::")[0] in parser:
            parser[key] = value
    (folder / "configs" / f"{kind}.json").write_text(json.dumps(parser.get()))
    return parser


@pytest.fixture(scope="session")
def shrink_bundle() -> Callable[..., Path]:
    """``shrink_bundle(shipped, folder, changes)``: a copy with a network of a few thousand weights, never trained."""

    def shrink(shipped: Path, folder: Path, changes: dict[str, object]) -> Path:
        (folder / "configs").mkdir(parents=True)
        (folder / "models").mkdir()
        (folder / "configs" / "metadata.json").write_text('{"version": "0.0.1"}')
        training = {"crop": 16, "epochs": 2, "batch_size": 2, "validate_every": 4}
        _write_config(shipped, folder, "train", {**SMALL, **changes, **training})
        config = _write_config(shipped, folder, "inference", {**SMALL, **changes})
        torch.manual_seed(0)
        network = config.get_parsed_content("network_def")
        torch.save({name: value.half() for name, value in network.state_dict().items()}, folder / "models" / "model.pt")
        return folder

    return shrink


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, shrink_bundle) -> Path:
    """The shipped CT bundle, small; treat as read-only."""
    changes = {"size": 32, "views": 6, "steps": 3}
    return shrink_bundle(BUNDLES / "body_ct_reconstruction", tmp_path_factory.mktemp("bundles") / "tiny", changes)


@pytest.fixture(scope="session")
def phantom() -> np.ndarray:
    """A body of water with two bones and a lung, (36, 32, 12) voxels, in HU; treat as read-only."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (36, 32, 12)), indexing="ij")
    volume = np.full(x.shape, -1000.0)
    volume[(x / 0.8) ** 2 + (y / 0.7) ** 2 < 1] = 30
    volume[((x - 0.3) / 0.2) ** 2 + (y / 0.3) ** 2 + (z / 0.9) ** 2 < 1] = -850
    volume[((x + 0.4) / 0.12) ** 2 + (y / 0.12) ** 2 < 1] = 700
    return volume.astype(np.float32)


@pytest.fixture(scope="session")
def save_volume() -> Callable[..., Path]:
    """``save_volume(path, array, affine)``: 8 mm voxels and left, anterior, superior axes unless an affine is given."""

    def save(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
        image = nib.Nifti1Image(volume, np.diag([-8.0, 8.0, 8.0, 1.0]) if affine is None else affine)
        nib.save(image, path)
        return path

    return save


@pytest.fixture(scope="session")
def body(tmp_path_factory, save_volume, phantom) -> Path:
    """The phantom as a file; treat as read-only."""
    return save_volume(tmp_path_factory.mktemp("data") / "body.nii.gz", phantom)


@pytest.fixture
def bodies(body: Path, tmp_path: Path) -> Path:
    """A folder with three volumes."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(body, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def mri(tmp_path_factory, shrink_bundle) -> Path:
    """The shipped bundle with a network of a few thousand weights, never trained; treat as read-only."""
    return shrink_bundle(
        BUNDLES / "brain_mri_super_resolution", tmp_path_factory.mktemp("mri_bundles") / "tiny_mri", {"steps": 3}
    )


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    """A smooth skull-stripped "brain" of arbitrary signal; treat as read-only."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 34, 22)), indexing="ij")
    inside = ((x - 0.1) / 0.6) ** 2 + (y / 0.7) ** 2 + ((z - 0.05) / 0.75) ** 2 < 1
    return np.where(inside, 900 + 250 * np.sin(3 * x + 4 * z) + 100 * y, 0).astype(np.float32)


@pytest.fixture(scope="session")
def affine() -> np.ndarray:
    """Left, anterior, superior, 1 mm, off centre."""
    return np.array([[-1.0, 0, 0, 16], [0, 1, 0, -21], [0, 0, 1, 7], [0, 0, 0, 1]])


@pytest.fixture(scope="session")
def thin(tmp_path_factory, save_volume, brain, affine) -> Path:
    """The brain as a file; treat as read-only."""
    return save_volume(tmp_path_factory.mktemp("thin") / "thin.nii.gz", brain, affine)


@pytest.fixture
def fails(capsys) -> Callable[..., str]:
    """Runs the command line, which must fail with one line, and returns that line."""

    def run(*arguments: object, code: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == code
        lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
        (error,) = (line for line in lines if line.startswith("monai-iscs: "))
        assert lines[-1] == error
        assert not any("Traceback" in line for line in lines)
        return error

    return run
