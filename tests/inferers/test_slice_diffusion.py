# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DiffusionModelUNet
from monai.transforms import LoadImage, SaveImage
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.inferers import SliceDiffusionInferer
from monai_iscs.operators import ForeignOperator
from monai_iscs.priors import EDMDenoiser, PatchNetwork
from monai_iscs.sampling import IndependentNoise, SlerpNoise, geometric_sigmas

VOLUME, MEASUREMENT = (8, 12, 6), (5, 9, 4)
SIGMAS = geometric_sigmas(3, sigma_max=1, sigma_min=0.05)


class Shrink(nn.Module):
    """The exact denoiser of pixels that are N(0.3, 0.1 squared), with a parameter that says its device."""

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
    """A small convolutional prior: its results depend in the last digits on how many slices it takes."""

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
    def make(**settings):
        return SliceDiffusionInferer(**{"sigmas": SIGMAS, "operator": operator, "progress": False} | settings)

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
    inferer, network = make(noise=SlerpNoise(seed=5)), UNetDenoiser()
    first = inferer(measurement, network)
    assert torch.equal(first, inferer(measurement, network))
    assert torch.equal(first, make(noise=SlerpNoise(seed=5))(measurement, network))
    assert not torch.equal(first, make(noise=SlerpNoise(seed=6))(measurement, network))


@pytest.mark.parametrize("noise", [SlerpNoise, IndependentNoise])
def test_slice_batch_hardly_matters(make, measurement, noise):
    volumes = [make(noise=noise(), slice_batch=size)(measurement, UNetDenoiser()) for size in (1, 4, 6)]
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
    assert make(slice_axis=axis, slice_batch=100)(measurement, network).shape == (1, 1, *VOLUME)
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


def test_any_callable_is_a_prior(make, measurement):
    found = make()(measurement, lambda x, sigma: 0.3 + 0 * x)
    assert found.shape == (1, 1, *VOLUME)


def test_operator_factories_get_one_measurement_with_its_affine(make, operator, measurement):
    given = []

    def factory(one):
        given.append(one)
        return operator

    found = make(operator=None)(measurement, Shrink(), operator=factory)
    assert torch.equal(found, make()(measurement, Shrink()))
    assert given[0].shape == (1, *MEASUREMENT)
    torch.testing.assert_close(given[0].affine, measurement.affine)


def test_a_scan_says_where_its_volume_lies(make, operator, measurement):
    """Alone and in a loaded batch: the result's affine is the scan's, not the measurement's."""

    class Scan:
        def __call__(self, one):
            return operator

        def volume_affine(self, one):
            return 2 * one.affine

    found = make(operator=Scan())(measurement, Shrink())
    torch.testing.assert_close(found.affine, 2 * measurement.affine)
    one = MetaTensor(measurement.as_tensor()[0], affine=measurement.affine)
    batch = next(iter(DataLoader(Dataset([{"y": one}, {"y": one.clone()}]), batch_size=2)))["y"]
    found = decollate_batch(make(operator=Scan())(batch, Shrink()))
    assert [torch.equal(item.affine, 2 * measurement.affine) for item in found] == [True, True]


def test_each_volume_of_a_loaded_batch_keeps_its_own_affine_and_name(make, operator, measurement):
    def item(spacing, name):
        affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
        return {"y": MetaTensor(measurement.as_tensor()[0], affine=affine, meta={"filename_or_obj": name})}

    batch = next(iter(DataLoader(Dataset([item(1.0, "a.nii"), item(3.0, "b.nii")]), batch_size=2)))["y"]
    given = []

    def factory(one):
        given.append(one)
        return operator

    found = decollate_batch(make(operator=factory)(batch, Shrink()))
    for volumes in (given, found):
        assert [float(one.affine[0, 0]) for one in volumes] == [1.0, 3.0]
        assert [one.meta["filename_or_obj"] for one in volumes] == ["a.nii", "b.nii"]


def test_a_bundle_config_can_name_a_preset():
    parser = ConfigParser(
        {"inferer": {"_target_": "monai_iscs.inferers.SliceDiffusionInferer.from_preset", "name": "paper", "steps": 5}}
    )
    inferer = parser.get_parsed_content("inferer")
    assert (type(inferer), len(inferer.sigmas)) == (SliceDiffusionInferer, 5)


def test_start_gets_measurement_and_operator(make, operator, measurement, truth):
    def start(y, scanner):
        assert type(y) is torch.Tensor
        assert scanner is operator
        torch.testing.assert_close(y, operator(truth))
        return truth

    levels = []
    make(start=start, sigmas=[0.001], callback=lambda step: levels.append(step.x0))(measurement, lambda x, sigma: x)
    torch.testing.assert_close(levels[0].movedim(0, -1), truth, atol=0.01, rtol=0)


def test_callback_and_progress_bar(make, measurement, capsys):
    steps = []
    make(progress=True, callback=steps.append)(measurement, Shrink())
    assert [step.index for step in steps] == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "reconstruction: starting image" in shown
    assert "reconstruction: sampling: 100%" in shown
    assert "3/3" in shown
    make(progress=False)(measurement, Shrink())
    assert capsys.readouterr().err == ""


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


def test_operator_is_needed(make, measurement):
    with pytest.raises(InputError, match="operator is missing"):
        make(operator=None)(measurement, Shrink())


def test_a_measurement_that_does_not_fit_is_refused_with_both_shapes(make, measurement):
    with pytest.raises(InputError, match=r"\(5, 9, 3\), expected \(5, 9, 4\).* \(8, 12, 6\)"):
        make()(measurement[..., :3], Shrink())


@pytest.mark.parametrize(
    "index", [0, (0, 0), (0, 0, 0), (None,)], ids=["no batch", "no channel", "neither", "one more"]
)
def test_a_forgotten_batch_or_channel_dimension_is_named(make, measurement, operator, index):
    plain = measurement.as_tensor()[index]
    for scanner in (operator, lambda one: operator):
        with pytest.raises(InputError, match=r"the measurement has shape .*, expected \(B, C, "):
            make(operator=scanner)(plain, Shrink())


def test_channels_that_the_network_does_not_take_are_named(make, measurement):
    network = EDMDenoiser(PatchNetwork(UNetDenoiser().network, patch_size=1, size_divisor=4), sigma_data=0.3)
    assert network.in_channels == 1
    both = torch.cat([measurement.as_tensor()] * 2, 1)
    with pytest.raises(InputError, match="the measurement has 2 channels, expected 1, as the prior's slices"):
        make()(both, network)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_not_finite_is_refused(make, measurement, value):
    measurement[0, 0, 2, 3, 1] = value
    with pytest.raises(InputError, match="NaN"):
        make()(measurement, Shrink())


@pytest.mark.parametrize("slice_batch", [0, -1, 2.5])
def test_slice_batch_must_be_positive(make, slice_batch):
    with pytest.raises(InputError, match="slice_batch"):
        make(slice_batch=slice_batch)


def test_a_wrong_slice_axis_is_refused(make, measurement):
    with pytest.raises(InputError, match="slice_axis is 3"):
        make(slice_axis=3)(measurement, Shrink())
