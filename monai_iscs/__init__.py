# SPDX-License-Identifier: Apache-2.0
"""Consistent 3D CT and MRI reconstruction from 2D diffusion priors, for MONAI."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "classical": ("ADMMTV", "admm_tv", "cubic", "direct", "fdk", "helical_fbp", "sirt"),
    "errors": ("InputError",),
    "grid": ("Grid",),
    "inferers": ("Hardware", "SliceDiffusionInferer"),
    "metrics": (
        "DataResidual",
        "SliceDifference",
        "SliceDifferenceGap",
        "SliceLPIPS",
        "ViewLPIPS",
        "ViewPSNR",
        "ViewSSIM",
        "data_residual",
        "summarise",
    ),
    "operators": (
        "BoxProfile",
        "ConeBeamGeometry",
        "ConeBeamProjector",
        "ForeignOperator",
        "GaussianProfile",
        "LinearOperator",
        "SliceAveraging",
    ),
    "priors": (
        "Denoiser",
        "DisplayOriented",
        "EDMDenoiser",
        "EpsilonDenoiser",
        "GuidedDiffusionUNet",
        "Mirrored",
        "NCSNpp",
        "NonNegative",
        "Overstated",
        "PatchNetwork",
        "PublishedPrior",
        "ScoreDenoiser",
        "SliceBatches",
        "SlicePrior",
        "linear_alphas_cumprod",
        "load_published_prior",
    ),
    "sampling": (
        "DDIMRule",
        "DDNM",
        "DDS",
        "DDSRule",
        "DDSTV",
        "FDK",
        "ConjugateGradient",
        "Cubic",
        "Direct",
        "Ensemble",
        "Geometric",
        "IdenticalNoise",
        "IndependentNoise",
        "NoNoise",
        "Opposite",
        "PartialNoise",
        "Recipe",
        "Run",
        "SlerpNoise",
        "StagedNoise",
        "State",
        "Window",
        "Zeros",
        "geometric_sigmas",
        "sample",
    ),
    "scans": (
        "ConeBeamScan",
        "GaussianNoise",
        "MeasuredScan",
        "Measurement",
        "Projections",
        "RicianNoise",
        "ThickSliceScan",
        "correct_beam_hardening",
        "estimate_noise_level",
        "fit_water_correction",
        "read_projections",
        "write_ct_pd",
        "write_projections",
    ),
    "scans.meta": ("projections_of",),
    "schedulers": ("ISCSScheduler",),
    "solvers": ("SIRT",),
    "transforms": (
        "LoadProjections",
        "LoadProjectionsd",
        "PlaceProjections",
        "PlaceProjectionsd",
        "RegridResult",
        "RegridResultd",
        "ScaleByRobustMaximum",
        "ScaleByRobustMaximumd",
        "SimulateMeasurement",
        "SimulateMeasurementd",
        "TakeAsMeasured",
        "TakeAsMeasuredd",
        "ct_postprocessing",
        "ct_preprocessing",
        "mr_postprocessing",
        "mr_preprocessing",
        "thick_slice_postprocessing",
        "thick_slice_preprocessing",
    ),
    "workflows.bundle": ("find_bundle",),
    "workflows.recipes": ("load_recipe",),
}
_MODULES = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Imports a name when it is used: the command line's help should not wait for PyTorch."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
