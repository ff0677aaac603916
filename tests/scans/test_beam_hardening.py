# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iscs import correct_beam_hardening, fit_water_correction, read_projections, write_projections
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans import Projections

LENGTHS = np.arange(5.0, 405.0, 5.0)  # mm
WATER = 0.0205  # per mm


def two_energies(lengths):
    """Line integrals of water, 0.026 and 0.018 /mm, for two energies that the detector sees equally in air."""
    return -np.log((np.exp(-0.026 * lengths) + np.exp(-0.018 * lengths)) / 2)


@pytest.fixture(scope="module")
def coefficients():
    return fit_water_correction(LENGTHS, two_energies(LENGTHS), water=WATER)


def test_a_length_is_no_line_integral():
    """Coefficients that give mm of water instead of line integrals would make everything 50 times as dense."""
    with pytest.raises(
        InputError, match=r"found a polynomial that makes 250 of 5, the highest .*, and no length in mm"
    ):
        correct_beam_hardening(torch.tensor([0.0, 5.0]), (50.0,))


def test_water_becomes_proportional_to_its_thickness(coefficients):
    between = np.linspace(0, 400, 997)
    measured = two_energies(between)
    assert np.abs(measured / 0.022 - between).max() > 15  # mm; 0.022 /mm of thin water is not that of thick water
    corrected = correct_beam_hardening(torch.from_numpy(measured)[None], coefficients)[0].numpy()
    np.testing.assert_allclose(corrected / WATER, between, atol=0.3)
    assert corrected[0] == 0


@pytest.mark.parametrize("degree", [1, 2, 6])
def test_a_polynomial_is_found_again(degree):
    """Water whose thickness is a polynomial of what is measured."""
    measured = np.linspace(0.1, 8, 40)
    known = np.array([1.1, 0.04, 0.003, 2e-4, 1e-5, 1e-6])[:degree]
    lengths = sum(c * measured**k for k, c in enumerate(known, 1)) / WATER
    np.testing.assert_allclose(fit_water_correction(lengths, measured, water=WATER, degree=degree), known, rtol=1e-5)


def test_one_energy_needs_no_correction():
    found = fit_water_correction(LENGTHS, WATER * LENGTHS, water=WATER)
    np.testing.assert_allclose(found, [1, 0, 0, 0], atol=1e-9)


def test_the_scale_is_that_of_water(coefficients):
    doubled = fit_water_correction(LENGTHS, two_energies(LENGTHS), water=2 * WATER)
    np.testing.assert_allclose(doubled, 2 * np.array(coefficients), rtol=1e-9)


def test_type_and_noise_below_air_are_kept(coefficients):
    data = torch.tensor([[-0.02, 0.0, 3.0]], dtype=torch.float32)
    corrected = correct_beam_hardening(data, coefficients)
    assert corrected.dtype == torch.float32
    assert corrected[0, 0] < 0 == corrected[0, 1]
    assert data[0, 2] == 3


def test_read_projections_corrects(tmp_path, coefficients):
    geometry = ConeBeamGeometry.circular(
        source_to_isocenter=100.0, source_to_detector=150.0, detector_shape=(4, 5), detector_pitch=(1.0, 1.0), views=3
    )
    data = torch.linspace(0, 6, 60).reshape(3, 4, 5)
    path = write_projections(Projections(data=data, geometry=geometry), tmp_path / "scan.mha")
    corrected = read_projections(path, beam_hardening=coefficients).data
    torch.testing.assert_close(corrected, correct_beam_hardening(data, coefficients))
    with pytest.raises(InputError, match=r"scan\.mha: beam_hardening: found a polynomial that turns at .* 3\.33"):
        read_projections(path, beam_hardening=[1, -0.15])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, -0.1], "found a polynomial that turns at a line integral of 5, expected one that rises from -0.1 to 6"),
        ([1, 6], "found a polynomial that turns at a line integral of -0.0833"),
        ([-1], "found a polynomial that falls, expected one that rises"),
        ([0], "found a polynomial that falls"),
        ([1, float("nan")], "expected at least one finite number"),
        ([], "expected at least one finite number"),
        (1.0, "found 1.0, expected at least one finite number"),
        (["soft"], "expected at least one finite number"),
    ],
)
def test_bad_coefficients(bad, message):
    with pytest.raises(InputError, match=f"^beam_hardening: .*{message}"):
        correct_beam_hardening(torch.tensor([[-0.1, 6.0]]), bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [10, 20, 15, 40]}, "lengths: found .*, expected rising numbers"),
        ({"lengths": [0, 10, 20, 40]}, "lengths: found .*, expected at least one finite positive numbers"),
        ({"line_integrals": [1, 2, 3]}, "line_integrals: found 3, expected 4, one for each length"),
        ({"line_integrals": [1, 2, 2, 3]}, "line_integrals: found .*, expected rising numbers"),
        ({"degree": 5}, "lengths: found 4, expected at least 5, the polynomial's degree"),
        ({"degree": 0}, "degree: found 0, expected a whole number of at least 1"),
        ({"water": 0}, "water: found 0, expected a positive number per mm"),
    ],
)
def test_bad_measurements_of_water(change, message):
    given = {"lengths": [10, 20, 30, 40], "line_integrals": [0.2, 0.4, 0.6, 0.8]} | change
    with pytest.raises(InputError, match=f"^{message}"):
        fit_water_correction(**given)
