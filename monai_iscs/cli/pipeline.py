# SPDX-License-Identifier: Apache-2.0
"""What the verbs share: from a file to a measurement, from a measurement to a volume, and back to the file's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type
from torch import Tensor

from monai_iscs.cli.bundle import choose_device, load_network, read_config
from monai_iscs.cli.names import CHOICES
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import SIRT, LinearOperator
from monai_iscs.transforms import ct_postprocessing


def sirt(measurement: Tensor, operator: LinearOperator) -> Tensor:
    """SIRT from zero, without negative attenuation: (C, view, v, u) to (C, X, Y, Z)."""
    return SIRT(operator, non_negative=True)(measurement)


def describe(inferer: SliceDiffusionInferer) -> dict[str, Any]:
    """A sampler's settings as they are in effect, as JSON values."""
    consistency = inferer.consistency
    arguments = consistency.keywords if isinstance(consistency, partial) else {}
    return {
        "start": getattr(inferer.start, "__name__", None),
        "sigmas": [round(float(sigma), 6) for sigma in inferer.sigmas],
        "rule": type(inferer.rule).__name__,
        "eta": inferer.rule.eta,
        "noise": type(inferer.noise).__name__,
        "consistency": {"name": getattr(consistency, "func", consistency).__name__, **arguments},
        "noise_excess": inferer.noise_excess,
        "mirror": inferer.mirror,
        "non_negative": inferer.non_negative,
        "slice_batch": inferer.slice_batch,
    }


class Pipeline:
    """A bundle, ready to reconstruct: its config with what the command line changes, and its network.

    Args:
        folder: the bundle.
        device: name of the device, or None for the best.
        network: whether the network is needed; without it no model file is read.
        overrides: new values of the config's entries, by id; None keeps the bundle's.

    Attributes:
        config: the bundle's ``configs/inference.json`` with the overrides.
    """

    def __init__(
        self, folder: Path, *, device: str | None = None, network: bool = True, overrides: Mapping[str, Any]
    ) -> None:
        self.device = choose_device(device)
        self.folder = folder
        self._overrides = {key: value for key, value in overrides.items() if value is not None}
        self.config = read_config(self.folder, "inference", self._overrides)
        self.scan = self.config.get_parsed_content("scan")
        self.network = load_network(self.folder, self.config, self.device) if network else None
        self._preprocessing = self.config.get_parsed_content("preprocessing")

    def load(self, path: Path) -> MetaTensor:
        """The volume of a file, (1, X, Y, Z), RAS, in the prior's units."""
        return self._preprocessing({"label": path})["label"]

    def measure(self, volume: MetaTensor) -> MetaTensor:
        """The simulated measurement of a volume, (1, view, v, u) line integrals."""
        return self.config.get_parsed_content("measurement")({"label": volume})["image"]

    def sampler(
        self, method: str, noise: str | None = None, *, changes: Mapping[str, Any] | None = None, **arguments: Any
    ) -> SliceDiffusionInferer:
        """The bundle's inferer with a consistency step and, where one is given, another noise.

        Args:
            method: name of the consistency step.
            noise: name of the noise.
            changes: further entries of the config, by id; they go before all others.
            **arguments: of the consistency step, where it is not the preset's own.
        """
        consistency = CHOICES["sampler"][method]
        plugs = {"consistency": consistency and {**consistency, **arguments}}
        if noise is not None:
            plugs["noise"] = CHOICES["noise"][noise]
        config = read_config(self.folder, "inference", {**self._overrides, **plugs, **(changes or {})})
        inferer = config.get_parsed_content("inferer")
        inferer.progress = False
        return inferer

    def sample(
        self, inferer: SliceDiffusionInferer, measurement: MetaTensor, callback: Callable[[Any], None]
    ) -> MetaTensor:
        """A volume (1, X, Y, Z) in the prior's units from its measurement alone; the callback hears of each step."""
        inferer.callback = callback
        return inferer(measurement[None], self.network)[0]

    def baseline(self, name: str, measurement: MetaTensor) -> MetaTensor:
        """The same by a classical method."""
        method = ConfigParser(CHOICES["baseline"]).get_parsed_content(name)
        operator = self.scan(measurement)
        return convert_to_dst_type(method(measurement.as_tensor().to(self.device), operator), measurement)[0]

    @property
    def slice_axis(self) -> int:
        """Axis (0, 1, 2 for x, y, z) that the prior's slices stack along."""
        return int(self.config["inferer"]["slice_axis"])

    def to_hu(self, volume: MetaTensor) -> MetaTensor:
        """A volume in the prior's units in HU, on the same grid."""
        low, high = self.config.get_parsed_content("hu_range")
        return volume * (high - low) + low

    def restore(self, result: MetaTensor, volume: MetaTensor) -> MetaTensor:
        """A result in HU on the grid of the file that ``volume`` was loaded from."""
        hu_range = self.config.get_parsed_content("hu_range")
        back = ct_postprocessing("pred", transform=self._preprocessing, orig_keys="label", hu_range=hu_range)
        return back({"pred": result, "label": volume})["pred"]

    def settings(self, inferer: SliceDiffusionInferer | None) -> dict[str, Any]:
        """What a run with this sampler (None: a baseline) uses, for ``run.json``."""
        used = ("hu_range", "size", "views", "arc", "photons")
        settings = {"bundle": str(self.folder), **{key: self.config.get_parsed_content(key) for key in used}}
        return settings if inferer is None else {**settings, "sampler": describe(inferer)}
