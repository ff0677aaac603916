# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DiffusionModelUNet
from monai.transforms import LoadImage, SaveImage
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.inferers import Hardware, SliceDiffusionInferer
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import EDMDenoiser, PatchNetwork, SlicePrior
from monai_iscs.sampling import Geometric, IndependentNoise, Recipe, SlerpNoise, Start, Zeros
from monai_iscs.scans import Measurement

VOLUME, MEASUREMENT = (8, 12, 6), (5, 9, 4)
RECIPE = Recipe(start=Zeros(), sigmas=Geometric(3, 1.0, 0.05))


class Shrink(nn.Module):
    """The exact denoiser of pixels that are N(0.3, 0.1 squared), with a parameter that has its device."""

    def __init__(self, size_divisor=1):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.3))
        self.size_divisor = size_divisor
        self.shapes = []

    def forward(self, x, sigma):
        assert type(x) is torch.Tensor
        assert not self.training
        assert not torch.is_grad_enabled()
        self.shapes.append(tuple(x.shape))
        return self.mean + 0.01 / (0.01 + sigma**2) * (x - self.mean)


class UNetDenoiser(nn.Module):
    """A small convolutional prior: the last digits of its results depend on the number of slices."""

    size_divisor = 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(8, 8, 16),
            attention_levels=(False, False, True),
            num_res_blocks=1,
            num_head_channels=8,
            norm_num_groups=4,
        )

    def forward(self, x, sigma):
        scale = 1 / math.sqrt(1 + sigma**2)
        return scale**2 * x + 0.1 * self.network(scale * x, timesteps=torch.tensor([100 * math.log(sigma)]))


@pytest.fixture
def operator():
    matrix = torch.rand(180, 576, generator=torch.Generator().manual_seed(0)) / 40
    pair = (lambda x: (matrix @ x.flatten()).view(MEASUREMENT), lambda y: (matrix.T @ y.flatten()).view(VOLUME))
    return ForeignOperator(pair, domain_shape=VOLUME, range_shape=MEASUREMENT)


@pytest.fixture
def truth():
    return 0.3 + 0.1 * torch.randn(1, *VOLUME, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def measurement(operator, truth):
    """(B, 1, view, v, u) with the name and affine of its volume."""
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-30.0, 12.0, 400.0])
    return MetaTensor(operator(truth)[None], affine=affine, meta={"filename_or_obj": "scans/patient_7.nii.gz"})


@pytest.fixture
def make(operator):
    """``make(start=, noise=, ...)``: an inferer whose recipe has such plugs; `hardware` and so on are the inferer's."""

    def make(*, scan=operator, hardware=None, seed=0, progress=False, callback=None, **plugs):
        recipe = replace(RECIPE, **plugs)
        settings = {"hardware": hardware, "seed": seed, "progress": progress, "callback": callback}
        return SliceDiffusionInferer(recipe, scan=scan, **settings)

    return make


def test_meets_the_measurement_and_keeps_name_and_affine(make, operator, measurement, truth):
    found = make()(measurement, Shrink())
    assert isinstance(found, MetaTensor)
    assert found.shape == (1, 1, *VOLUME)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.affine, measurement.affine)
    assert found.meta["filename_or_obj"] == "scans/patient_7.nii.gz"
    residual = (operator(found.as_tensor()) - measurement.as_tensor()).norm() / measurement.norm()
    assert residual < 0.01
    assert not found.requires_grad


def test_plain_tensors_stay_plain(make, measurement):
    plain = make()(measurement.as_tensor(), Shrink())
    assert type(plain) is torch.Tensor
    assert torch.equal(plain, make()(measurement, Shrink()).as_tensor())


def test_same_inferer_same_volume_bit_for_bit(make, measurement):
    inferer, network = make(seed=5), UNetDenoiser()
    first = inferer(measurement, network)
    assert torch.equal(first, inferer(measurement, network))
    assert torch.equal(first, make(seed=5)(measurement, network))
    assert not torch.equal(first, make(seed=6)(measurement, network))


@pytest.mark.parametrize("noise", [SlerpNoise(), IndependentNoise()])
def test_slice_batch_hardly_matters(make, measurement, noise):
    volumes = [
        make(noise=noise, hardware=Hardware(slice_batch=size))(measurement, UNetDenoiser()) for size in (1, 4, 6)
    ]
    value_range = float(volumes[0].max() - volumes[0].min())
    for volume in volumes[1:]:
        assert (volume - volumes[0]).abs().max() < 1e-4 * value_range


def test_a_batch_is_its_volumes_one_by_one(make, measurement):
    batch = torch.cat([measurement.as_tensor(), 2 * measurement.as_tensor()])
    found = make()(batch, Shrink())
    for index in range(2):
        assert torch.equal(found[index], make()(batch[index : index + 1], Shrink())[0])


def test_channels_are_reconstructed_together(make, operator, truth):
    y = operator(torch.stack([truth[0], 1 - truth[0]]))[None]
    found = make()(y, Shrink())
    assert found.shape == (1, 2, *VOLUME)
    assert (operator(found) - y).norm() / y.norm() < 0.01


@pytest.mark.parametrize(("axis", "stack"), [(0, (8, 12, 6)), (1, (12, 8, 6)), (2, (6, 8, 12))])
def test_the_prior_sees_slices_of_the_chosen_axis(make, measurement, axis, stack):
    network = Shrink()
    inferer = make(prior=SlicePrior(axis), hardware=Hardware(slice_batch=100))
    assert inferer(measurement, network).shape == (1, 1, *VOLUME)
    assert set(network.shapes) == {(stack[0], 1, *stack[1:])}


def test_odd_in_plane_sizes_are_padded_for_the_network(make, measurement, operator):
    network = Shrink(size_divisor=5)
    found = make()(measurement, network)
    assert {shape[2:] for shape in network.shapes} == {(10, 15)}
    assert found.shape == (1, 1, *VOLUME)
    assert (operator(found.as_tensor()) - measurement.as_tensor()).norm() / measurement.norm() < 0.01


def test_the_network_is_put_back_in_training_mode(make, measurement):
    network = Shrink().train()
    make()(measurement, network)
    assert network.training


def test_gradients_are_as_they_were(make, measurement):
    """After a call, a step of an unfinished run, and an error."""
    network, inferer = Shrink(), make()
    inferer(measurement, network)
    assert torch.is_grad_enabled()
    run = inferer.run(Measurement(measurement[0], inferer.scan), network.eval())
    next(iter(run))
    assert torch.is_grad_enabled()
    with pytest.raises(InputError, match="measurement: found shape"):
        inferer(measurement[..., :-1], network)
    assert torch.is_grad_enabled()


def test_any_callable_is_a_prior(make, measurement):
    found = make()(measurement, lambda x, sigma: 0.3 + 0 * x)
    assert found.shape == (1, 1, *VOLUME)


def test_the_scan_of_the_call_overrides_the_constructor_s(make, operator, measurement):
    for inferer in (make(scan=None), make(scan=0.5 * operator)):
        assert torch.equal(inferer(measurement, Shrink(), operator), make()(measurement, Shrink()))
        assert torch.equal(inferer(inputs=measurement, network=Shrink(), scan=operator), make()(measurement, Shrink()))


def test_the_grid_is_the_measurement_s(make, measurement):
    """Plugs get the size of the voxels."""
    seen = []

    @dataclass(frozen=True)
    class Asking(Start):
        def volume(self, measurement):
            seen.append(measurement.grid)
            return Zeros().volume(measurement)

    make(start=Asking())(measurement, Shrink())
    make(start=Asking())(measurement.as_tensor(), Shrink())
    assert [grid.spacing for grid in seen] == [(2.0, 2.0, 5.0), (1.0, 1.0, 1.0)]
    torch.testing.assert_close(torch.tensor(seen[0].affine, dtype=torch.float64), measurement.affine)


def test_each_volume_of_a_loaded_batch_keeps_its_own_affine_and_name(make, measurement):
    def item(spacing, name):
        affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
        return {"y": MetaTensor(measurement.as_tensor()[0], affine=affine, meta={"filename_or_obj": name})}

    batch = next(iter(DataLoader(Dataset([item(1.0, "a.nii"), item(3.0, "b.nii")]), batch_size=2)))["y"]
    given = []

    @dataclass(frozen=True)
    class Asking(Start):
        def volume(self, measurement):
            given.append(measurement.grid.spacing[0])
            return Zeros().volume(measurement)

    found = decollate_batch(make(start=Asking())(batch, Shrink()))
    assert given == [float(one.affine[0, 0]) for one in found] == [1.0, 3.0]
    assert [one.meta["filename_or_obj"] for one in found] == ["a.nii", "b.nii"]


def test_a_bundle_config_can_name_a_recipe():
    parser = ConfigParser(
        {
            "recipes": "$__import__('monai_iscs').sampling.RECIPES",
            "inferer": {
                "_target_": "monai_iscs.inferers.SliceDiffusionInferer",
                "recipe": "$@recipes['paper'].changed(steps=5)",
            },
        }
    )
    inferer = parser.get_parsed_content("inferer")
    assert (type(inferer), len(inferer.recipe.sigmas.levels())) == (SliceDiffusionInferer, 5)


def test_start_gets_the_measurement(make, operator, measurement, truth):
    @dataclass(frozen=True)
    class Truth(Start):
        def volume(self, measurement):
            assert type(measurement.data) is torch.Tensor
            assert measurement.operator is operator
            torch.testing.assert_close(measurement.data, operator(truth))
            return truth

    levels = []
    inferer = make(start=Truth(), sigmas=Geometric(1, 0.001, 0.0001), callback=lambda step: levels.append(step.x0))
    inferer(measurement, lambda x, sigma: x)
    torch.testing.assert_close(levels[0], truth, atol=0.01, rtol=0)


def test_callback_and_progress_bar(make, measurement, capsys):
    steps = []
    make(progress=True, callback=lambda state: steps.append(state.index))(measurement, Shrink())
    assert steps == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "reconstruction:   0%" in shown
    assert "reconstruction: 100%" in shown
    assert "3/3" in shown
    assert "sigma 0.05" in shown
    make(progress=True)(torch.cat([measurement.as_tensor()] * 2), Shrink())
    assert "volume 2/2: 100%" in capsys.readouterr().err
    make(progress=False)(measurement, Shrink())
    assert capsys.readouterr().err == ""


def test_a_run_is_the_call_step_by_step(make, operator, measurement):
    """Code outside the loop needs no callback: iterating over the run gives every step."""
    expected = make()(measurement, UNetDenoiser())
    network = UNetDenoiser().eval()
    given = Measurement(measurement[0], operator)
    run = make(callback=lambda state: pytest.fail("the caller's own loop")).run(given, network)
    indices = [state.index for state in run]
    assert indices == list(range(len(run))) == [0, 1, 2]
    assert torch.equal(run.volume, expected.as_tensor()[0])
    half, rest = (make().run(given, network) for _ in range(2))
    next(iter(half))
    rest.load_state_dict(half.state_dict())
    assert [state.index for state in rest] == [1, 2]
    assert torch.equal(rest.volume, run.volume)


def test_several_networks_by_name(make, measurement):
    networks = {"fine": Shrink(), "other": UNetDenoiser().train()}
    found = make(prior=SlicePrior(2, "fine"))(measurement, networks)
    assert torch.equal(found, make()(measurement, Shrink()))
    assert networks["other"].training
    with pytest.raises(InputError, match="network: found fine, other, expected one named 'prior'"):
        make()(measurement, networks)


def test_double_is_computed_in_the_network_s_float32(make, measurement):
    found = make()(measurement.double(), UNetDenoiser())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, make()(measurement, UNetDenoiser()))


def test_drops_into_a_supervised_evaluator(make, measurement, tmp_path):
    data = [{"measurement": measurement[0], "image": torch.zeros(1, *VOLUME)}]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(data), batch_size=1),
        network=Shrink(),
        inferer=make(),
        prepare_batch=lambda batch, device, non_blocking, **kwargs: (batch["measurement"], batch["image"]),
    )
    evaluator.run()
    found = evaluator.state.output[0]["pred"]
    assert torch.equal(found.as_tensor(), make()(measurement, Shrink())[0].as_tensor())
    SaveImage(output_dir=tmp_path, output_postfix="recon", print_log=False)(found)
    saved = LoadImage(image_only=True)(tmp_path / "patient_7" / "patient_7_recon.nii.gz")
    assert saved.shape == VOLUME
    torch.testing.assert_close(saved.affine, measurement.affine)


def test_a_scan_is_needed(make, measurement):
    for inputs in (measurement, measurement.as_tensor()):
        with pytest.raises(InputError, match="scan: found none, expected an operator, or a measurement that carries"):
            make(scan=None)(inputs, Shrink())


def test_a_measurement_that_does_not_fit_is_refused_with_both_shapes(make, measurement):
    with pytest.raises(InputError, match=r"\(1, 5, 9, 3\), expected \(C, 5, 9, 4\).* \(8, 12, 6\)"):
        make()(measurement[..., :3], Shrink())


@pytest.mark.parametrize(
    "index", [0, (0, 0), (0, 0, 0), (None,)], ids=["no batch", "no channel", "neither", "one more"]
)
def test_a_forgotten_batch_or_channel_dimension_is_named(make, measurement, index):
    plain = measurement.as_tensor()[index]
    with pytest.raises(InputError, match=r"measurement: found shape .*, expected \(B, C, 5, 9, 4\)"):
        make()(plain, Shrink())


def test_channels_that_the_network_does_not_take_are_named(make, measurement):
    network = EDMDenoiser(PatchNetwork(UNetDenoiser().network, patch_size=1, size_divisor=4), sigma_data=0.3)
    assert network.in_channels == 1
    both = torch.cat([measurement.as_tensor()] * 2, 1)
    with pytest.raises(InputError, match="measurement: found 2 channels, expected 1, as in the prior's slices"):
        make()(both, network)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_not_finite_is_refused(make, measurement, value):
    measurement[0, 0, 2, 3, 1] = value
    with pytest.raises(InputError, match="NaN"):
        make()(measurement, Shrink())
