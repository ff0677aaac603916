# SPDX-License-Identifier: Apache-2.0
"""``monai-iscs reconstruct``: a volume from a simulated or measured scan."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder
from monai_iscs.scans.readers import holds_projections
from monai_iscs.studies.volumes import distinct_names
from monai_iscs.torchrun import process_count
from monai_iscs.workflows.batch import inputs_in, run_each
from monai_iscs.workflows.device import choose_backend, joined
from monai_iscs.workflows.groups import Alone, Groups
from monai_iscs.workflows.names import MEASURED, MEASURED_OVERRIDES, OVERRIDES, SIMULATED_ONLY, SPEED
from monai_iscs.workflows.one_input import reconstruct_input
from monai_iscs.workflows.pipeline import Pipeline

SAMPLER_OPTIONS = (
    *("recipe", "steps", "eta", "smoothing", "noise_level", "samples"),
    *SPEED,
)


def reconstruct(arguments: Namespace) -> None:
    """Runs the verb.

    Raises:
        InputError: an argument cannot be used, or inputs failed.
    """
    sampling = arguments.method is None or arguments.method.noise is not None
    _refuse_idle_options(arguments, sampling=sampling)
    given, size = arguments.inputs, arguments.processes_per_volume
    described = arguments.geometry is not None or MEASURED in arguments.config  # one scan, whatever its files are
    inputs = given if described else [path for item in given for path in inputs_in(item)]
    size = size or (process_count() if inputs == given[:1] else 1)
    kinds = {path: described or holds_projections(path) for path in inputs}
    for path, real in kinds.items():
        _refuse_other_scans(arguments, path, real=real)
    pipelines = {real: _pipeline(arguments, real=real, network=sampling, shared=size > 1) for real in {*kinds.values()}}
    tell = partial(print, flush=True)

    def one(path: Path, output: Path, *, again: bool = True) -> None:
        each = Namespace(**{**vars(arguments), "input": path, "output": output})
        for line in reconstruct_input(each, pipelines[kinds[path]], real=kinds[path], again=again):
            tell(line)

    if inputs == given[:1]:
        if size != process_count():
            raise InputError(
                f"--processes-per-volume: found {size} of {process_count()} processes with one input, expected all"
            )
        with joined(arguments.device):
            one(*inputs, arguments.output)
        return
    RunFolder(arguments.output, inputs=given)  # it is inside none of them
    turns = Groups(size, choose_backend(arguments.device)) if process_count() > 1 else Alone()
    named = {name.replace("*", "_"): path for name, path in zip(distinct_names(inputs), inputs, strict=True)}
    run_each(named, arguments.output, partial(one, again=False), turns, tell, what="reconstructed")


def _pipeline(arguments: Namespace, *, real: bool, network: bool, shared: bool) -> Pipeline:
    """The bundle, for real or simulated scans, on one process or several that share each volume."""
    options = OVERRIDES + MEASURED_OVERRIDES * real
    pipeline = Pipeline(
        arguments.bundle,
        device=arguments.device,
        memory=arguments.memory,
        network=network,
        overrides={option: getattr(arguments, option) for option in options} | {"distributed": shared or None},
        over=[MEASURED, *(name for name in arguments.config if name != MEASURED)] if real else arguments.config,
    )
    if arguments.method is not None:
        pipeline.check_method(arguments.method)
    if pipeline.given("noise_std") is True and pipeline.given("factor") is False:
        raise InputError("--noise-std: found without --factor, expected both: measured slices have noise already")
    return pipeline


def _refuse_other_scans(arguments: Namespace, path: Path, *, real: bool) -> None:
    """Options of simulated scans with real projections, or the other way round, would be ignored silently."""
    options = SIMULATED_ONLY if real else MEASURED_OVERRIDES
    given = _given(arguments, options)
    if given:
        found, expected = ("projections", "a volume to simulate a scan of") if real else ("a volume", "projections")
        raise InputError(f"{given}: found with {found}, {path}, expected with {expected}")


def _refuse_idle_options(arguments: Namespace, *, sampling: bool) -> None:
    """Refuse options that the method would ignore."""
    if arguments.anonymous and not arguments.dicom:
        raise InputError("--anonymous: found without --dicom, expected both: it is of the DICOM series")
    given = _given(arguments, SAMPLER_OPTIONS)
    if given and not sampling:
        name = arguments.method.name
        raise InputError(f"{given}: found with --method {name}, expected with a sampler, dds or ddnm")


def _given(arguments: Namespace, options: Sequence[str]) -> str:
    """Those of some options that were given, as they are typed."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in options if getattr(arguments, name) is not None)
