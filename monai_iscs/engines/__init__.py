# SPDX-License-Identifier: Apache-2.0
"""Training of priors on Ignite, through MONAI's engines."""

from monai_iscs.engines.checkpoint import ResumableCheckpoint, WeightsLoader, save_atomically
from monai_iscs.engines.denoising import (
    NoiseLevels,
    TrainingBatch,
    ValidationBatch,
    denoising_psnr,
    mean_psnr,
    psnr_at,
)
from monai_iscs.engines.networks import networks_by_name
from monai_iscs.engines.processes import begin_training, training_device, training_loader
from monai_iscs.engines.scanned import ScanVolume, load_scanned_slices
from monai_iscs.engines.seeds import EpochSeeds
from monai_iscs.engines.slices import load_slices, middle_with_neighbours
from monai_iscs.engines.trainer import TrainedDenoiser, denoiser_evaluator, denoiser_trainer, warmed_up_cosine
from monai_iscs.engines.training import (
    FiniteLoss,
    GradientClipping,
    PrecisionInferer,
    UnscaledBFloat16,
    has_bfloat16,
    worker_count,
)
from monai_iscs.engines.volumes import ResultLayout, list_volumes, volume_names, volume_stem

__all__ = [
    "EpochSeeds",
    "FiniteLoss",
    "GradientClipping",
    "NoiseLevels",
    "PrecisionInferer",
    "ResultLayout",
    "ResumableCheckpoint",
    "ScanVolume",
    "TrainedDenoiser",
    "TrainingBatch",
    "UnscaledBFloat16",
    "ValidationBatch",
    "WeightsLoader",
    "begin_training",
    "denoiser_evaluator",
    "denoiser_trainer",
    "denoising_psnr",
    "has_bfloat16",
    "list_volumes",
    "load_scanned_slices",
    "load_slices",
    "mean_psnr",
    "middle_with_neighbours",
    "networks_by_name",
    "psnr_at",
    "save_atomically",
    "training_device",
    "training_loader",
    "volume_names",
    "volume_stem",
    "warmed_up_cosine",
    "worker_count",
]
