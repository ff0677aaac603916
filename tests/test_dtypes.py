# SPDX-License-Identifier: Apache-2.0
"""Complex tensors are refused by name everywhere; integers, booleans and halves are used with their exact values."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.classical import ADMMTV, admm_tv, cubic, fdk, sirt
from monai_iscs.dtypes import real_tensor
from monai_iscs.errors import InputError
from monai_iscs.grid import Grid
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.metrics import (
    DataResidual,
    SliceDifference,
    ViewPSNR,
    ViewSSIM,
    data_residual,
    modulation_transfer,
    noise_power,
    psnr_per_slice,
    ring_correlation,
    slice_difference,
    ssim_per_slice,
    summarise,
)
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector, SliceAveraging
from monai_iscs.priors import EDMDenoiser, EpsilonDenoiser, ScoreDenoiser, linear_alphas_cumprod
from monai_iscs.sampling import DDNM, DDS, DDSTV, Geometric, Recipe
from monai_iscs.scans import GaussianNoise, Measurement, estimate_noise_level
from monai_iscs.schedulers import ISCSScheduler
from monai_iscs.solvers import SIRT, conjugate_gradient, voxel_weight
from monai_iscs.transforms import (
    CheckVolume,
    FitInPlane,
    InsertLesions,
    ScaleByRobustMaximum,
    SimulateMeasurement,
    ThickenSlices,
)
from monai_iscs.transforms.lesions import Lesion

SHAPE = (12, 12, 12)
THICK = SliceAveraging(SHAPE, factor=3)
GRID = Grid.centered(SHAPE, (20.0, 20.0, 20.0))
CONE = ConeBeamProjector(ConeBeamGeometry.paper(GRID, views=3), GRID)
SPHERES = [Lesion((24.0, 24.0, 24.0), 16.0, 5.0)]
PSEUDO = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))


class Answer(torch.nn.Module):
    """A network that returns a share of its input."""

    def forward(self, x, *given, **named):
        return 0.3 * x


def meta(x):
    return MetaTensor(x, affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64)))


def inferer():
    recipe = Recipe(sigmas=Geometric(steps=2, first=0.1, last=0.05))
    return SliceDiffusionInferer(recipe, scan=THICK, progress=False)


def consistent(step, x0=PSEUDO, y=None):
    """One consistency step on x0, of measurement y."""
    y = THICK(PSEUDO) if y is None else y
    return step.bind(Measurement(y, THICK), 2)(x0, 0.1)


def prior(x, sigma):
    return 0.9 * x


def step(scheduler):
    scheduler.set_timesteps(3)
    return lambda x: scheduler.step(x, int(scheduler.timesteps[0]), x)[0]


# functions of a volume (1, 12, 12, 12) of whole numbers from 0 to 7
TAKES_A_VOLUME = {
    "operator": THICK,
    "adjoint of an operator": SliceAveraging(SHAPE, factor=3).pseudo_inverse.T,
    "conjugate gradients": lambda x: conjugate_gradient(lambda p: 2 * p, x, iterations=3),
    "conjugate gradients' start": lambda x: conjugate_gradient(lambda p: 2 * p, PSEUDO, x, iterations=1),
    "voxel weight": lambda x: torch.tensor(voxel_weight(THICK, x)),
    "DDS": lambda x: consistent(DDS(), x),
    "DDS near the estimate": lambda x: consistent(DDS(gamma=0.5), x),
    "DDNM": lambda x: consistent(DDNM(), x),
    "DDSTV": lambda x: consistent(DDSTV(), x),
    "DDSTV near the estimate": lambda x: consistent(DDSTV(gamma=0.5), x),
    "scheduler": lambda x: step(ISCSScheduler())(x),
    "EDM denoiser": lambda x: EDMDenoiser(Answer(), sigma_data=0.3)(x, 0.5),
    "score denoiser": lambda x: ScoreDenoiser(Answer())(x, 0.5),
    "epsilon denoiser": lambda x: EpsilonDenoiser(Answer(), alphas_cumprod=linear_alphas_cumprod())(x, 0.5),
    "simulated measurement": SimulateMeasurement(THICK, noise_std=0.1),
    "robust maximum": ScaleByRobustMaximum(),
    "fit": FitInPlane(5),
    "thicker slices": lambda x: ThickenSlices(5.0)(meta(x)),
    "lesions": lambda x: InsertLesions(diameters=[4.0], contrasts=[0.25], tissue=(-1, 9), repeats=1)(meta(x))[0],
    "MR noise": lambda x: GaussianNoise(0.02)(x, torch.Generator().manual_seed(0)),
    "PSNR": lambda x: psnr_per_slice(x[0], 7 * PSEUDO[0], 2),
    "PSNR's reference": lambda x: psnr_per_slice(7 * PSEUDO[0], x[0], 2),
    "PSNR of two": lambda x: psnr_per_slice(x[0], x[0].flip(0), 2),
    "SSIM": lambda x: ssim_per_slice(x[0], 7 * PSEUDO[0], 2),
    "PSNR of a view": lambda x: ViewPSNR("axial")(x[None], x[None].flip(2)),
    "SSIM of a view": lambda x: ViewSSIM("axial")(x[None], x[None].flip(2)),
    "slice difference": lambda x: torch.tensor(slice_difference(x[0])),
    "slice difference of a batch": lambda x: SliceDifference()(x[None]),
    "data residual": lambda x: torch.tensor(data_residual(x, THICK(7 * PSEUDO), THICK)),
    "data residual of a batch": lambda x: DataResidual(THICK)(x[None], THICK(7 * PSEUDO)[None]),
    "noise power": lambda x: torch.tensor(noise_power(x[0], x[0], (4.0,) * 3, tissue=(-1, 9))["noise"]),
    "modulation transfer": lambda x: torch.tensor(
        modulation_transfer(x[0], 7 * PSEUDO[0], SPHERES, (4.0,) * 3)["kept"]
    ),
    "ring correlation": lambda x: torch.tensor(ring_correlation(x[0], 7 * PSEUDO[0], (4.0,) * 3, flat=0)["median"]),
    "summary": lambda x: torch.tensor(summarise(x, x.flip(1))["axial"]["psnr"]),
}
# the same for a measurement (1, 12, 12, 4)
TAKES_A_MEASUREMENT = {
    "adjoint": THICK.T,
    "pseudo-inverse": THICK.pseudo_inverse,
    "SIRT": SIRT(THICK),
    "ADMM-TV": ADMMTV(THICK, iterations=3),
    "cubic": lambda y: cubic(Measurement(y, THICK)),
    "SIRT's volume": lambda y: sirt(Measurement(y, THICK)),
    "ADMM-TV's volume": lambda y: admm_tv(Measurement(y, THICK), iterations=3),
    "noise level": lambda y: torch.tensor(estimate_noise_level(y, THICK)),
    "DDS": lambda y: consistent(DDS(), y=y),
    "DDNM": lambda y: consistent(DDNM(), y=y),
    "DDSTV": lambda y: consistent(DDSTV(), y=y),
    "inferer": lambda y: inferer()(y[None], prior),
    "data residual": lambda y: torch.tensor(data_residual(PSEUDO, y + y.abs().max(), THICK)),
    "FDK": lambda y: fdk(Measurement(y.reshape(24, 24).expand(1, 3, 24, 24), CONE)),
}
CASES = [
    *((f"volume: {name}", function, (1, *SHAPE)) for name, function in TAKES_A_VOLUME.items()),
    *((f"measurement: {name}", function, (1, *THICK.range_shape)) for name, function in TAKES_A_MEASUREMENT.items()),
]
each = pytest.mark.parametrize(("function", "shape"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


def whole_numbers(shape):
    return torch.randint(0, 8, shape, generator=torch.Generator().manual_seed(1))


@each
@pytest.mark.filterwarnings("error")
def test_complex_is_refused_by_name(function, shape):
    with pytest.raises(InputError, match="found complex64, expected a real"):
        function(whole_numbers(shape) * (1 + 1j))


@each
def test_whole_numbers_and_halves_are_the_numbers_they_are(function, shape):
    x = whole_numbers(shape)
    expected = torch.as_tensor(function(x.float())).float()
    for dtype in (torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16):
        found = torch.as_tensor(function(x.to(dtype)))
        assert found.dtype in (torch.float32, torch.float64)
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=0, equal_nan=True)


def test_booleans_count_as_0_and_1():
    mask = whole_numbers(SHAPE) > 3
    torch.testing.assert_close(THICK(mask), THICK(mask.float()))
    measured = SimulateMeasurement(THICK)(mask[None])
    torch.testing.assert_close(measured[0].as_tensor(), THICK(mask.float()))


def test_double_stays_double_and_nothing_is_copied_for_nothing():
    for dtype in (torch.float32, torch.float64):
        x = torch.rand(3, dtype=dtype)
        assert real_tensor(x, "x") is x
    assert isinstance(real_tensor(meta(whole_numbers((1, *SHAPE))), "x"), MetaTensor)
    assert consistent(DDS(), PSEUDO.double(), THICK(PSEUDO.double())).dtype == torch.float64


@pytest.mark.parametrize("value", [None, [1.0], 3.0])
def test_what_is_no_tensor_is_refused(value):
    with pytest.raises(InputError, match=f"y: found {type(value).__name__}, expected a tensor"):
        real_tensor(value, "y")


def test_a_complex_volume_fails_the_check():
    with pytest.raises(InputError, match="image: found complex64"):
        CheckVolume()(meta(PSEUDO * (1 + 1j)))


@pytest.mark.parametrize("shape", [(12, 12, 12), (1, 1, 12, 12, 12)])
@pytest.mark.parametrize(
    "make", [lambda: SimulateMeasurement(THICK), lambda: ThickenSlices(5.0)], ids=["scan", "thick"]
)
def test_a_forgotten_channel_or_an_extra_batch_is_named(make, shape):
    with pytest.raises(InputError, match=r"image: found shape \(.*\), expected \(C, X, Y, Z\)"):
        make()(meta(torch.rand(shape)))
