# SPDX-License-Identifier: Apache-2.0
"""The work of all verbs: from a file to a measurement, from a measurement to a volume, and back to the file's grid."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import torch
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type, ensure_tuple_rep
from torch import Tensor, nn

from monai_iscs.classical import admm_tv, direct
from monai_iscs.classical.direct import METHODS, direct_method
from monai_iscs.errors import InputError
from monai_iscs.files import sha256
from monai_iscs.methods import PRIORS, Method
from monai_iscs.precision import check_precision, choose_precision
from monai_iscs.reports import RunRecord
from monai_iscs.sampling import Ensemble, State
from monai_iscs.scans import MeasuredScan, Measurement, Scan
from monai_iscs.scans.meta import REGION, SCAN, from_meta_tensor, grid_of
from monai_iscs.scans.readers import OpenProjections
from monai_iscs.transforms import LoadProjectionsd, RegridResult
from monai_iscs.workflows.bundle import load_network, read_config
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.config import BundleConfig
from monai_iscs.workflows.device import choose_device, limit_memory
from monai_iscs.workflows.fingerprint import fingerprint
from monai_iscs.workflows.limits import BYTES_A_NUMBER, check_memory
from monai_iscs.workflows.recipes import REPLACING
from monai_iscs.workflows.sampler import Sampled, Sampler

BYTES_A_STEP = 200  # its sigma as a Python number, in the record and in the written file
CLASSICAL: dict[str, Callable[[Measurement], Tensor]] = {**METHODS, "admm-tv": admm_tv}


class Measured(NamedTuple):
    """The result of a scan.

    Attributes:
        measurement: all that a method may see; None of what is measured in slabs.
        image: the same as a `MetaTensor` of transforms, with its file's names and history.
        reference: the scanned volume, (1, X, Y, Z) in the prior's units, or None after a real scan.
    """

    measurement: Measurement | None
    image: MetaTensor
    reference: MetaTensor | None


class Pipeline:
    """A bundle, ready to reconstruct: its config with the changes of the command line, and its network.

    Args:
        folder: the bundle.
        device: name of the device, or None for the best.
        memory: most GPU memory to use, GB, or None for all.
        network: whether the network is needed; if not, no model file is read.
        overrides: new values of the config's entries, by id; None keeps the bundle's.
        over: names of the bundle's configs that override entries of ``inference.json``, such as "limited_angle".

    Attributes:
        config: the bundle's ``configs/inference.json`` with all overrides.
        display: settings of the figures, for `three_view_figure`; see `to_units`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        memory: float | None = None,
        network: bool = True,
        overrides: Mapping[str, Any],
        over: Sequence[str] = (),
    ) -> None:
        self.device = choose_device(device)
        if memory is not None:
            limit_memory(self.device, memory)
        self.folder = folder
        self._overrides = {key: value for key, value in overrides.items() if value is not None}
        if idist.get_world_size() > 1:
            self._overrides["distributed"] = True
        self._over = over
        self.config = self._read(self._overrides)
        self.scan = self.config.get_parsed_content("scan")
        self._check_size()
        self.network = load_network(self.config, self.device) if network else None
        self._networks = {"prior": self.network}
        self._preprocessing = self.config.get_parsed_content("preprocessing")
        self.display = dict(self.config.get_parsed_content("display"))
        self.range = self.display.pop("range")

    def _read(self, overrides: Mapping[str, Any]) -> BundleConfig:
        return read_config(self.folder, "inference", overrides, over=self._over)

    def _check_size(self) -> None:
        """Refuse slices so large that two, the fewest of a volume, do not fit into memory."""
        if "size" in self.config:
            size = self.config.get_parsed_content("size")
            check_memory(self.config.place("size"), size, 2 * BYTES_A_NUMBER * math.prod(ensure_tuple_rep(size, 2)))

    def given(self, entry: str) -> bool | None:
        """Whether an entry of the config has a value; None where there is no such entry."""
        return self.config.get_parsed_content(entry) is not None if entry in self.config else None

    def open(self, path: Path) -> OpenProjections | None:
        """Projections for `load` before their pixels are read; None where the bundle does more than to read them."""
        loader = self._preprocessing
        return loader.load.open(path) if isinstance(loader, LoadProjectionsd) else None

    def load(self, path: Path | OpenProjections) -> MetaTensor:
        """The volume of a file, (1, X, Y, Z), RAS, on the grid of its scan; or projections, (1, view, v, u)."""
        with self.config.blamed("preprocessing"):
            return self._preprocessing({"label": path})["label"]

    def measure(self, volume: MetaTensor, *, scan: MeasuredScan | None = None) -> Measured:
        """The simulated measurement of a loaded volume; the volume itself if the bundle takes it as measured.

        Args:
            volume: as it was loaded.
            scan: another one than the bundle's.
        """
        self._check_views(volume)
        config = self.config if scan is None else self._read({**self._overrides, "scan": scan})
        transform = config.get_parsed_content("measurement")
        with self.config.blamed("measurement"):
            data = transform({"label": volume})
            return Measured(from_meta_tensor(data["image"]), data["image"], data.get("label"))

    def _check_views(self, volume: MetaTensor) -> None:
        """Refuse more views than fit into memory: each needs as much as a scan of one view."""
        views = self.config.get_parsed_content("views") if "views" in self.config else 1
        if views == 1 or not isinstance(self.scan, Scan):
            return
        one = self._read({**self._overrides, "views": 1}).get_parsed_content("scan")
        with self.config.blamed("scan"):
            numbers = math.prod(one.operator(grid_of(volume)).range_shape)
        check_memory(self.config.place("views"), views, BYTES_A_NUMBER * numbers * views)

    def sampler(self, method: Method | None = None, *, changes: Mapping[str, Any] | None = None) -> Sampler:
        """The bundle's sampler, with the consistency step and the noise of a method.

        Args:
            method: a sampler, or None for the bundle's own choice.
            changes: further entries of the config, by id; they override all others.
        """
        chosen = {} if method is None else {"method": method.text}
        config = self._read({**self._overrides, **chosen, **(changes or {})})
        steps = config.get_parsed_content("steps") or 0
        check_memory(config.place("steps"), steps, BYTES_A_STEP * steps)
        inferer = config.get_parsed_content("inferer")
        check_precision(inferer.hardware.precision, self.device)
        replaced = {entry: config.get(entry) for entry in REPLACING if config.get(entry) not in (None, {})}
        return Sampler(inferer, config.get_parsed_content("recipe"), replaced)

    def check_method(self, method: Method) -> None:
        """Raise an `InputError` for a baseline that does not suit this bundle's measurements, or a prior it lacks."""
        baselines = self.baselines
        if method.noise is None and method.name not in baselines:
            known = ", ".join([*baselines, "or a sampler, dds or ddnm"])
            raise InputError(f"--method: found {method.name!r}, expected one that {self.folder} has: {known}")
        if method.name in PRIORS:
            self._needed(self.sampler(method))

    def sample(
        self,
        sampler: Sampler,
        measured: Measured,
        callback: Callable[[State], Any],
        checkpoint: Checkpoint | None = None,
    ) -> Sampled:
        """A volume from its measurement alone.

        Args:
            sampler: the bundle's.
            measured: the measurement.
            callback: gets each step.
            checkpoint: the run goes on from it, and saves its steps there.
        """
        with self.config.blamed("inferer"):
            run = sampler.inferer.run(measured.measurement, self._needed(sampler))
            if checkpoint is not None:
                checkpoint.restore(run, self.device)
            for state in run:
                callback(state)
                if checkpoint is not None:
                    checkpoint.save(run)
            std = self.place(run.std, measured) if isinstance(run, Ensemble) else None
            return Sampled(self.place(run.volume, measured), std)

    def _needed(self, sampler: Sampler) -> dict[str, nn.Module]:
        """The networks of a sampler's prior, which are read when they are first needed."""
        for name in set(sampler.networks) - set(self._networks):
            self._networks[name] = load_network(self.config, self.device, name)
        return {name: self._networks[name] for name in sampler.networks}

    def baseline(self, name: str, measured: Measured) -> MetaTensor:
        """A volume (1, X, Y, Z) in the prior's units by a classical method."""
        with self.config.blamed("measurement"):
            measurement = measured.measurement.to(self.device)
            method = direct if name == direct_method(measurement.operator) else CLASSICAL[name]
            return self.place(method(measurement), measured)

    def place(self, volume: Tensor, measured: Measured) -> MetaTensor:
        """A volume on the measurement's device, with its file name and grid."""
        result = convert_to_dst_type(volume, measured.image)[0]
        for entry in (SCAN, REGION):
            result.meta.pop(entry, None)
        result.affine = torch.tensor(measured.measurement.grid.affine, dtype=torch.float64)
        return result

    def shown(self, result: MetaTensor, measured: Measured) -> MetaTensor:
        """A result where it is wanted: on the grid of the scanned volume, or the part of its grid that a scan sees."""
        with self.config.blamed("measurement"):
            return RegridResult()(result, measured.image, measured.reference)

    def weights(self, sampler: Sampler) -> str | dict[str, str]:
        """SHA-256 of the weights that a sampler's prior uses: of one file, or by the names of several networks."""
        names = self._needed(sampler)
        entries = {name: "ckpt_path" if name == "prior" else f"networks::{name}::ckpt_path" for name in names}
        found = {name: sha256(Path(self.config.get_parsed_content(entry))) for name, entry in entries.items()}
        return found["prior"] if list(found) == ["prior"] else found

    def identity(self, record: RunRecord, path: Path, measured: Measured, sampler: Sampler) -> dict[str, Any]:
        """All that a run's result depends on, as JSON values: settings, seed, versions, device, input and weights."""
        known = record.as_dict()
        for taken in ("seconds", "peak_memory_mb", "peak_gpu_memory_mb"):
            del known[taken]
        # a geometry, flat field or air value that lies beside the input decides the measurement, too
        digest = hashlib.sha256(str(measured.image.meta.get(SCAN)).encode())
        digest.update(measured.image.as_tensor().detach().cpu().contiguous().numpy())
        same = {"input": fingerprint(path), "measurement": digest.hexdigest(), "weights": self.weights(sampler)}
        return {**known, **same, "processes": idist.get_world_size()}

    @property
    def measurement_seed(self) -> int:
        """Seed of a simulated measurement's noise."""
        return self.config.get_parsed_content("measurement_seed")

    @property
    def baselines(self) -> list[str]:
        """Names of the classical methods that suit its measurements."""
        return self.config.get_parsed_content("baselines")

    @property
    def slice_axis(self) -> int:
        """Axis (0, 1, 2 for x, y, z) that the prior's slices stack along."""
        return self.config.get_parsed_content("inferer").recipe.prior.axis

    def to_units(self, volume: MetaTensor) -> MetaTensor:
        """A volume from the prior's units to those of the figures (HU for CT), on the same grid."""
        return self.scaled(volume) + self.range[0]

    def scaled(self, difference: Tensor) -> Tensor:
        """A difference of two volumes in the units of the figures."""
        low, high = self.range
        return difference * (high - low)

    def restore(self, result: MetaTensor, measured: Measured) -> MetaTensor:
        """A result in the file's units, on the file's grid, or on the prior's grid for a measured file."""
        back = self.config.get_parsed_content("restoration")
        with self.config.blamed("restoration"):
            return back({"pred": result, "image": measured.image, "label": measured.reference})["pred"]

    def restore_difference(self, difference: MetaTensor, measured: Measured) -> MetaTensor:
        """A difference of two results, such as a spread, in the file's units, on the file's grid."""
        return self.restore(difference, measured) - self.restore(torch.zeros_like(difference), measured)

    def settings(self, sampler: Sampler | None) -> dict[str, Any]:
        """The settings of a run with this sampler (None: a baseline), for ``run.json``."""
        used = self.config.get_parsed_content("settings")
        settings = {"bundle": str(self.folder), **{key: self.config.get_parsed_content(key) for key in used}}
        if sampler is None:
            return settings
        hardware = sampler.inferer.hardware
        computed = {
            "precision": choose_precision(hardware.precision, self.device),
            "slice_batch": hardware.slice_batch,
            "compiled": hardware.compiled,
        }
        replaced = dict(sampler.replaced)
        return {
            **settings,
            "sampler": {
                "recipe": sampler.name,
                "replaced": replaced,
                **sampler.recipe.as_dict(),
                "samples": sampler.samples,
                "result": sampler.result,
                **computed,
            },
        }
