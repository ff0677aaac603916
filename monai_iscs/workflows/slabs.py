# SPDX-License-Identifier: Apache-2.0
"""A long helix, reconstructed in slabs along z that share their seams."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_iscs.errors import InputError
from monai_iscs.methods import Method
from monai_iscs.sampling import Ensemble, Run
from monai_iscs.scans.field_of_view import ray_heights
from monai_iscs.scans.meta import REGION, SCAN, naming, projections_of, region_of
from monai_iscs.scans.readers import OpenProjections
from monai_iscs.scans.slabs import Slab, SlabPlan, is_long, plan_slabs
from monai_iscs.workflows.checkpoint import Checkpoint
from monai_iscs.workflows.explanation import Fit
from monai_iscs.workflows.pipeline import Measured, Pipeline
from monai_iscs.workflows.reconstruction import Beside, Step, Tell, Whole, reconstruct
from monai_iscs.workflows.sampler import Sampled, Sampler
from monai_iscs.workflows.scanned import placing_notes

SURVEYED = 1000  # views that tell how wide a body is, and whether they fit each other
AXIS = 2  # of the slices: slabs are along z


def load_scan(pipeline: Pipeline, path: Path, *, real: bool) -> Whole | Slabs:
    """The scan of a file, at once, or in slabs where it is a long helix.

    Args:
        pipeline: the bundle.
        path: of a volume, or of projections.
        real: whether it is of projections.

    Raises:
        InputError: what `read_projections` and `plan_slabs` refuse, and slabs of a scan that is no helix.
    """
    files = pipeline.open(path) if real else None
    if files is None:
        return Whole(pipeline, pipeline.load(path), real=real)
    geometry, scan = files.geometry, pipeline.scan
    if not is_long(geometry):
        if scan.slab is not None:
            raise InputError(f"slab: found {scan.slab:g} mm for a scan that sees its volume at once, expected a helix")
        return Whole(pipeline, pipeline.load(files), real=True)
    few = geometry.views <= SURVEYED
    some = files if few else files.only(np.linspace(0, geometry.views - 1, SURVEYED).astype(int).tolist())
    volume = pipeline.load(some)
    with naming(volume):
        plan = plan_slabs(geometry, projections_of(volume), scan)
    if plan is not None:
        return Slabs(pipeline, files, plan, volume)
    return Whole(pipeline, volume if few else pipeline.load(files), real=True)


class Slabs:
    """The slabs of a long helix, one after the other; what is finished can be stopped and continued, as a `Run` can.

    Of each, only its own views are read and only its own slices computed. Their noise is that of the whole stack
    (`Window`), and where they overlap their results are blended.

    Args:
        pipeline: the bundle.
        files: the projections.
        plan: of the slabs.
        volume: some of the views, as they were loaded.

    Attributes:
        measured: what stands for the measurement of the whole: these views, on the wanted grid.
        parts: how many slabs there are.
    """

    def __init__(self, pipeline: Pipeline, files: OpenProjections, plan: SlabPlan, volume: MetaTensor) -> None:
        self.pipeline, self.files, self.plan, self.volume = pipeline, files, plan, volume
        self.parts = len(plan.slabs)
        image = MetaTensor(volume.as_tensor()).copy_meta_from(volume)
        image.affine = torch.tensor(plan.wanted.affine, dtype=torch.float64)
        image.meta[SCAN] = json.dumps([[slab.grid.shape, slab.grid.affine] for slab in plan.slabs])
        self.measured = Measured(None, image, None)
        self._done = 0
        self._run: Run | Ensemble | None = None
        self._unfinished: dict[str, Any] | None = None
        self._checkpoint: Checkpoint | None = None
        self._volumes: dict[str, Tensor] = {}
        self._fit = Fit([], [])
        self._method, self._notes = "", []

    def measure(self, method: Method | Sampler, tell: Tell) -> None:
        """Say what they are; each is measured when its turn comes.

        Args:
            method: classical or a sampler, which is going to reconstruct them.
            tell: gets what is to be said, also later.

        Raises:
            InputError: a sampler whose slices are not along z, or whose noise follows the whole estimate.
        """
        step, stack = self.plan.stack.spacing[AXIS], self.plan.stack.shape[AXIS]
        if isinstance(method, Sampler):
            if set(axes := method.recipe.prior.axes) != {AXIS}:
                found = " and ".join(map(str, axes))
                raise InputError(f"slab: found a prior of slices along axis {found}, expected {AXIS}")
            method.windowed(0, stack)
        self.method, self._tell = method, tell
        length, shared = self.plan.wanted.shape[AXIS] * step / self.parts, self.plan.overlap * step
        views, slabs = len(self.files.views), f"{self.parts} slabs of {length:.0f} mm"
        tell([f"found a helix of {views} views, reconstructed in {slabs} and {shared:.0f} mm that neighbours share"])

    @property
    def voxels(self) -> int:
        """How many the result has."""
        return math.prod(self.plan.wanted.shape)

    def reconstruct(self, callback: Step, checkpoint: Checkpoint | None = None) -> Sampled:
        """The whole volume, on the wanted grid.

        Args:
            callback: gets each step of a sampler, else None after each slab.
            checkpoint: a sampler's run goes on from it, and saves its steps there.
        """
        self._checkpoint = checkpoint
        if checkpoint is not None:
            checkpoint.restore(self, self.pipeline.device)
        for number in range(self._done, self.parts):
            self._reconstruct(self.plan.slabs[number], callback)
            self._done, self._run = number + 1, None
        return Sampled(self._whole("result"), self._whole("std") if "std" in self._volumes else None)

    @property
    def beside(self) -> Beside:
        """What is shown beside the result; once they are reconstructed."""
        complete = len(self._fit.chi_squares) == len(self._fit.residuals)  # all slabs have a noise level
        fit = self._fit if complete else self._fit._replace(chi_squares=None)
        return Beside(self._method, self._whole("first"), self._whole("seen"), fit)

    def state_dict(self) -> dict[str, Any]:
        """All that the remaining steps depend on; the index counts the steps of all slabs."""
        run = self._run.state_dict()
        index = self._done * len(self._run) + run["index"]
        known = {"volumes": self._volumes, "fit": list(self._fit), "method": self._method, "notes": self._notes}
        return {"index": index, "done": self._done, "run": run, **known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after a step of the same slabs."""
        self._done, self._unfinished = state["done"], state["run"]
        self._volumes, self._fit, self._method = state["volumes"], Fit(*state["fit"]), state["method"]
        self._say(state["notes"])

    def restore(self, run: Run | Ensemble, device: torch.device) -> None:
        """For the unfinished slab what `Checkpoint.restore` is for a run that is alone."""
        if self._unfinished is not None:
            run.load_state_dict(self._unfinished)
            self._unfinished = None

    def save(self, run: Run | Ensemble) -> None:
        """Likewise, `Checkpoint.save`: with the slabs that are finished."""
        self._run = run
        self._checkpoint.save(self)

    def _reconstruct(self, slab: Slab, callback: Step) -> None:
        """Reconstruct a slab and blend it into the whole."""
        method, measured = self.method, self._measure(slab)
        self._say(placing_notes(self.pipeline, measured, model=isinstance(method, Sampler)))
        if isinstance(method, Sampler):
            method = method.windowed(self._first(slab, measured), self.plan.stack.shape[AXIS])
        sampled = reconstruct(self.pipeline, method, measured, callback, self if self._checkpoint else None)
        if not isinstance(method, Sampler):
            callback(None)
        beside = Beside.of(self.pipeline, measured, sampled.volume)
        self._method = beside.method
        parts = {"result": sampled.volume, "std": sampled.std}
        parts = {name: self.pipeline.shown(part, measured) for name, part in parts.items() if part is not None}
        for name, part in {**parts, "first": beside.first, "seen": beside.seen}.items():
            self._add(name, part.as_tensor().cpu(), slab)
        self._add_fit(beside.fit, slab, measured)

    def _say(self, notes: list[str]) -> None:
        """Tell what no slab before has told."""
        new = [note for note in notes if note not in self._notes]
        self._notes += new
        self._tell(new)

    def _measure(self, slab: Slab) -> Measured:
        """A slab's measurement, from its own views alone."""
        volume = self.pipeline.load(self.files.only(slab.views.tolist()))
        given = {"shape": slab.grid.shape, "center": slab.grid.center, "wide_enough": True}
        return self.pipeline.measure(volume, scan=replace(self.pipeline.scan, **given))

    def _first(self, slab: Slab, measured: Measured) -> int:
        """The slice of the stack that a measurement's grid begins with."""
        return self.plan.region[AXIS][0] + slab.slices[0] - region_of(measured.image)[AXIS][0]

    def _add(self, name: str, part: Tensor, slab: Slab) -> None:
        """Blend a slab's slices, (1, X, Y, Z), into the whole."""
        if name not in self._volumes:
            self._volumes[name] = torch.zeros(1, *self.plan.wanted.shape)
        across = (slice(None), *(slice(*ends) for ends in self.plan.region[:AXIS]))
        self._volumes[name][..., slice(*slab.slices)] += torch.from_numpy(slab.weights) * part[across]

    def _add_fit(self, fit: Fit, slab: Slab, measured: Measured) -> None:
        """Keep the fit of the views whose middle is in the slab's own part: each view is in one."""
        _, projector = measured.measurement.operator.factored()
        middle = np.mean(ray_heights(projector.geometry, 0.0), axis=0)
        mine = np.flatnonzero((middle >= slab.own[0]) & (middle < slab.own[1]))
        for whole, part in zip(self._fit, fit, strict=True):
            whole += [part[view] for view in mine] if part else []

    def _whole(self, name: str) -> MetaTensor:
        result = MetaTensor(self._volumes[name]).copy_meta_from(self.measured.image)
        for entry in (SCAN, REGION):
            result.meta.pop(entry, None)
        return result
