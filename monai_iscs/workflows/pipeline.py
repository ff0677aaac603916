# SPDX-License-Identifier: Apache-2.0
"""What the verbs share: from a file to a measurement, from a measurement to a volume, and back to the file's grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type, ensure_tuple_rep
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.precision import check_precision, choose_precision
from monai_iscs.workflows.bundle import choose_device, limit_memory, load_network, read_config
from monai_iscs.workflows.config import BundleConfig
from monai_iscs.workflows.limits import BYTES_A_NUMBER, check_memory
from monai_iscs.workflows.methods import Method, name_sampler
from monai_iscs.workflows.names import CHOICES

BYTES_A_STEP = 200  # its noise level as a number of Python, in the record and in what is written


def describe(inferer: SliceDiffusionInferer) -> dict[str, Any]:
    """A sampler's settings as they are in effect, defaults included, as JSON values."""
    return {
        "start": getattr(inferer.start, "__name__", None),
        "sigmas": [round(float(sigma), 6) for sigma in inferer.sigmas],
        "rule": type(inferer.rule).__name__,
        "eta": inferer.rule.eta,
        "momentum": inferer.momentum,
        "noise": type(inferer.noise).__name__,
        "anchor_angle": getattr(inferer.noise, "anchor_angle", None),
        "consistency": _describe_call(inferer.consistency),
        "noise_excess": inferer.noise_excess,
        "mirror": inferer.mirror,
        "non_negative": inferer.non_negative,
        "slice_axis": inferer.slice_axis,
        "slice_batch": inferer.slice_batch,
        "precision": inferer.precision,
        "compiled": inferer.compiled,
    }


def _describe_call(factory: Callable[..., Any]) -> dict[str, Any]:
    """Name and settings of a class or function, or of a `partial` of it: those given, and its defaults."""
    made, given = (factory.func, factory.keywords) if isinstance(factory, partial) else (factory, {})
    parameters = signature(made).parameters.values()
    settings = {p.name: p.default for p in parameters if p.default is not Parameter.empty} | given
    return {"name": made.__name__, **{key: _describe_value(value) for key, value in settings.items()}}


def _describe_value(value: Any) -> Any:
    """A setting as it is the same in every process: functions by name, a `partial` with what it was given."""
    if isinstance(value, partial):
        return {"name": value.func.__name__, **value.keywords}
    return getattr(value, "__name__", value) if callable(value) else value


class Measured(NamedTuple):
    """What a scan gave.

    Attributes:
        measurement: all that a method may see, (1, *measurement shape).
        reference: the volume that was scanned, (1, X, Y, Z) in the prior's units, or None where a real scanner did it.
    """

    measurement: MetaTensor
    reference: MetaTensor | None


class Pipeline:
    """A bundle, ready to reconstruct: its config with what the command line changes, and its network.

    Args:
        folder: the bundle.
        device: name of the device, or None for the best.
        memory: most GPU memory to use, GB, or None for all.
        network: whether the network is needed; without it no model file is read.
        overrides: new values of the config's entries, by id; None keeps the bundle's.
        over: names of the bundle's configs that override entries of ``inference.json``, such as "limited_angle".

    Attributes:
        config: the bundle's ``configs/inference.json`` with all that overrides it.
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
        self._over = over
        self.config = self._read(self._overrides)
        self.scan = self.config.get_parsed_content("scan")
        self._check_size()
        self.network = load_network(self.config, self.device) if network else None
        self._preprocessing = self.config.get_parsed_content("preprocessing")
        self.display = dict(self.config.get_parsed_content("display"))
        self.range = self.display.pop("range")

    def _read(self, overrides: Mapping[str, Any]) -> BundleConfig:
        return read_config(self.folder, "inference", overrides, over=self._over)

    def _check_size(self) -> None:
        """Refuse slices of which memory would not hold the two that a volume has at least."""
        if "size" in self.config:
            size = self.config.get_parsed_content("size")
            check_memory(self.config.place("size"), size, 2 * BYTES_A_NUMBER * math.prod(ensure_tuple_rep(size, 2)))

    def given(self, entry: str) -> bool | None:
        """Whether an entry of the config has a value; None where there is no such entry."""
        return self.config.get_parsed_content(entry) is not None if entry in self.config else None

    def load(self, path: Path) -> MetaTensor:
        """The volume of a file, (1, X, Y, Z), RAS, on the grid on which it is measured (or was)."""
        with self.config.blamed("preprocessing"):
            return self._preprocessing({"label": path})["label"]

    def measure(self, volume: MetaTensor) -> Measured:
        """The simulated measurement of a loaded volume; the volume itself where the bundle takes it as measured."""
        self._check_views(volume)
        measurement = self.config.get_parsed_content("measurement")
        with self.config.blamed("measurement"):
            data = measurement({"label": volume})
            return Measured(data["image"], data.get("label"))

    def _check_views(self, volume: MetaTensor) -> None:
        """Refuse more views than memory holds; a scan of one view tells what each of them takes."""
        views = getattr(self.scan, "views", None)
        if views is None or views == 1:
            return
        one = copy(self.scan)
        one.views = 1
        with self.config.blamed("scan"):
            numbers = math.prod(one(volume).range_shape)
        check_memory(self.config.place("views"), views, BYTES_A_NUMBER * numbers * views)

    def sampler(
        self, method: Method | None = None, *, changes: Mapping[str, Any] | None = None, **arguments: Any
    ) -> SliceDiffusionInferer:
        """The bundle's inferer, with the consistency step and the noise of a method.

        Args:
            method: a sampler, or None for the bundle's own choice.
            changes: further entries of the config, by id; they override all others.
            **arguments: of the consistency step, where it is not the preset's own.
        """
        plugs = {}
        if method is not None:
            consistency = CHOICES["sampler"][method.name]
            plugs["consistency"] = consistency and {**consistency, **arguments}
            plugs["noise"] = CHOICES["noise"][method.noise]
        config = self._read({**self._overrides, **plugs, **(changes or {})})
        check_memory(
            config.place("steps"),
            config.get("steps"),
            BYTES_A_STEP * (config.get_parsed_content("steps", default=None) or 0),
        )
        inferer = config.get_parsed_content("inferer")
        check_precision(inferer.precision, self.device)
        inferer.progress = False
        inferer.distributed = idist.get_world_size() > 1
        return inferer

    def name_sampler(self, inferer: SliceDiffusionInferer) -> str:
        """What tables call a sampler, such as DDS+ISCS."""
        settings = describe(inferer)
        return name_sampler(settings["consistency"]["name"], settings["noise"])

    def check_method(self, method: Method) -> None:
        """Raise an `InputError` for a baseline that this bundle's measurements have no use for."""
        baselines = self.baselines
        if method.noise is None and method.name not in baselines:
            known = ", ".join([*baselines, "or a sampler, dds or ddnm"])
            raise InputError(f"--method: found {method.name!r}, expected one that {self.folder} has: {known}")

    def sample(
        self, inferer: SliceDiffusionInferer, measurement: MetaTensor, callback: Callable[[Any], None]
    ) -> MetaTensor:
        """A volume (1, X, Y, Z) in the prior's units from its measurement alone; the callback hears of each step."""
        inferer.callback = callback
        with self.config.blamed("inferer"):
            return self.place(inferer(measurement[None], self.network)[0], measurement)

    def baseline(self, name: str, measurement: MetaTensor) -> MetaTensor:
        """The same by a classical method."""
        method = ConfigParser(CHOICES["baseline"]).get_parsed_content(name)
        with self.config.blamed("scan"):
            operator = self.scan(measurement)
            return self.place(method(measurement.as_tensor().to(self.device), operator), measurement)

    def place(self, volume: Tensor, measurement: MetaTensor) -> MetaTensor:
        """A reconstructed volume on the measurement's device, with its file name and the grid that it belongs to."""
        result = convert_to_dst_type(volume, measurement)[0]
        result.affine = self.scan.volume_affine(measurement)
        return result

    @property
    def measurement_seed(self) -> int:
        """Seed of a simulated measurement's noise."""
        entry = "measurement_seed" if "measurement_seed" in self.config else "seed"  # older bundles share one
        return self.config.get_parsed_content(entry)

    @property
    def baselines(self) -> list[str]:
        """Names of the classical methods that its measurements have a use for; the first one is quick."""
        return self.config.get_parsed_content("baselines")

    @property
    def slice_axis(self) -> int:
        """Axis (0, 1, 2 for x, y, z) that the prior's slices stack along."""
        return self.config.get_parsed_content("inferer::slice_axis")

    def to_units(self, volume: MetaTensor) -> MetaTensor:
        """A volume in the prior's units in those of the figures, on the same grid: HU for CT."""
        low, high = self.range
        return volume * (high - low) + low

    def restore(self, result: MetaTensor, measured: Measured) -> MetaTensor:
        """A result in the file's units, on the file's grid; a measured file's on the grid of the prior."""
        back = self.config.get_parsed_content("restoration")
        with self.config.blamed("restoration"):
            return back({"pred": result, "image": measured.measurement, "label": measured.reference})["pred"]

    def settings(self, inferer: SliceDiffusionInferer | None) -> dict[str, Any]:
        """What a run with this sampler (None: a baseline) uses, for ``run.json``."""
        used = self.config.get_parsed_content("settings")
        settings = {"bundle": str(self.folder), **{key: self.config.get_parsed_content(key) for key in used}}
        if inferer is None:
            return settings
        precision = choose_precision(inferer.precision, self.device)
        sampler = {"preset": self.config.get("preset"), **describe(inferer), "precision": precision}
        return {**settings, "sampler": sampler}
