# SPDX-License-Identifier: Apache-2.0
"""Only the measurement reaches a method: the reference is changed as soon as the measurement exists."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.methods import SAMPLERS, parse_method
from monai_iscs.studies.measured import MeasuredVolume
from monai_iscs.transforms import SimulateMeasurement
from monai_iscs.workflows.pipeline import Pipeline


def _results(bundle, file, overrides):
    """The volume of every method, with the bundle's noise; and the scale of the measurement."""
    pipeline = Pipeline(bundle, overrides={"seed": 0, **overrides})
    shared = MeasuredVolume(pipeline, pipeline.load(file))
    results = {name: shared.baseline(name) for name in pipeline.config["baselines"]}
    for method in SAMPLERS:
        sampler = pipeline.sampler(parse_method(f"{method}+iscs"))
        recorder = shared.recorder(sampler)
        results[method] = shared.sample(sampler, recorder).volume
    results["scale"] = torch.tensor(shared.measured.image.meta.get("robust_maximum", 1.0))
    return results, shared.volume


@pytest.mark.parametrize(
    ("bundle_name", "file_name", "overrides"),
    [
        ("bundle", "body", {"photons": 1e5}),
        ("bundle", "body", {"views": 10, "arc": 100.0}),
        ("mri", "thin", {"factor": 5}),
    ],
)
def test_no_method_sees_the_reference(monkeypatch, request, bundle_name, file_name, overrides):
    bundle, file = (request.getfixturevalue(name) for name in (bundle_name, file_name))
    clean, reference = _results(bundle, file, overrides)
    measure = SimulateMeasurement.__call__

    def poisoning(self, img):
        measurement = measure(self, img)
        img.mul_(-37).add_(5)
        return measurement

    monkeypatch.setattr(SimulateMeasurement, "__call__", poisoning)
    poisoned, other = _results(bundle, file, overrides)
    assert (other - reference).abs().max() > 1
    for name, result in clean.items():
        assert torch.equal(torch.as_tensor(result), torch.as_tensor(poisoned[name])), name
