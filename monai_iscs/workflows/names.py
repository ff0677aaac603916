# SPDX-License-Identifier: Apache-2.0
"""What the names on the command line stand for: one table, in the language of the bundles' configs."""

from __future__ import annotations

from typing import Any

# Options that set the entry of the same name in a bundle's inference config.
OVERRIDES = (
    *("views", "arc", "photons", "noise_std", "factor", "measurement_seed", "spacing"),
    *("preset", "steps", "eta", "smoothing", "noise_level"),
    *("seed", "slice_batch", "precision", "compiled"),
)

MOST = 2**63 - 1  # of a whole number: more than any option has a use for, and what PyTorch's integers hold
MOST_SMOOTHING = 1000  # samples of the scan: its kernel is as long

CHOICES: dict[str, dict[str, Any]] = {
    # A sampler's entry is the consistency step of the bundle's config; null is that of the preset, DDS.
    "sampler": {
        "dds": None,
        "ddnm": {
            "_target_": "monai_iscs.sampling.DDNM",
            "_mode_": "callable",
            "iterations": "$sampling.find_preset(@preset).sirt_iterations",
        },
        "dds-tv": {
            "_target_": "monai_iscs.sampling.DDSTV",
            "_mode_": "callable",
            "iterations": "$sampling.find_preset(@preset).cg_iterations",
            "gamma": "$sampling.find_preset(@preset).gamma",
        },
    },
    "baseline": {
        "fdk": {"_target_": "monai_iscs.classical.methods.fdk_volume", "_mode_": "callable"},
        "sirt": {"_target_": "monai_iscs.classical.methods.sirt_volume", "_mode_": "callable"},
        "admm-tv": {"_target_": "monai_iscs.classical.methods.admm_tv_volume", "_mode_": "callable"},
        "cubic": {"_target_": "monai_iscs.classical.methods.cubic_volume", "_mode_": "callable"},
    },
    "noise": {
        "iscs": {"_target_": "monai_iscs.sampling.SlerpNoise", "_mode_": "callable"},
        "identical": {"_target_": "monai_iscs.sampling.IdenticalNoise", "_mode_": "callable"},
        "identical-steps": {
            "_target_": "monai_iscs.sampling.StagedNoise",
            "_mode_": "callable",
            "start": {"_target_": "monai_iscs.sampling.SlerpNoise", "_mode_": "callable"},
            "steps": {"_target_": "monai_iscs.sampling.IdenticalNoise", "_mode_": "callable"},
        },
        "independent": {"_target_": "monai_iscs.sampling.IndependentNoise", "_mode_": "callable"},
    },
    "preset": {name: name for name in ("default", "fast", "limited-angle", "super-resolution", "released", "paper")},
    "orientation": {name: name for name in ("display", "array")},
}
