# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError, OutputError
from monai_iscs.grid import Grid
from monai_iscs.operators import (
    ConeBeamGeometry,
    ConeBeamProjector,
    ForeignOperator,
    GaussianProfile,
    GaussianSmoothing,
    SliceAveraging,
)
from monai_iscs.scans import Measurement, estimate_noise_level
from monai_iscs.scans.description import describe_operator, operator_of

GRID = Grid((12, 10, 7), np.array([[0, -20.0, 0, 31.5], [20.0, 0, 0, 1 / 3], [0, 0, 20.0, 1012], [0, 0, 0, 1]]))
ODD = ConeBeamGeometry.paper(GRID, views=3)
ODD = replace(ODD, source=ODD.source + np.array([[0.1, 1 / 3, 0], [0, 0, 1e-7], [0, 0, 0]]))
OPERATORS = {
    "cone beam": ConeBeamProjector(ODD, GRID),
    "cone beam, scaled, on a named backend": -0.052 * ConeBeamProjector(ODD, GRID, backend="torch"),
    "thick slices": SliceAveraging(GRID.shape, factor=2.5),
    "thick slices with a profile, across and scaled": 3
    * SliceAveraging(GRID.shape, factor=3, axis=0, profile=GaussianProfile(0.9)),
}
each = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(operator=OPERATORS["thick slices"], **options) -> Measurement:
    return Measurement(random(2, *operator.range_shape), operator, GRID, **options)


def test_the_noise_level_is_a_number():
    assert measured(noise_level=0.25).noise_level == 0.25
    assert measured(noise_level=0).noise_level == 0.0
    unknown = measured()
    assert unknown.noise_level == estimate_noise_level(unknown.data, unknown.operator) > 0


def test_what_is_changed():
    measurement = measured(noise_level=0.25)
    assert measurement.changed(operator=2 * measurement.operator).noise_level == 0.25
    assert measurement.changed(noise_level=0.5).noise_level == 0.5
    other = measurement.changed(data=0 * measurement.data)
    assert (other.noise_level, other.grid) == (0.0, GRID)
    assert (measurement.channels, measurement.volume_shape) == (2, (2, *GRID.shape))


def test_a_grid_of_its_own():
    projector = OPERATORS["cone beam"]
    assert Measurement(random(1, *projector.range_shape), 2 * projector).grid == GRID
    thick = OPERATORS["thick slices"]
    assert Measurement(random(1, *thick.range_shape), thick).grid == Grid.centered(GRID.shape, (1, 1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": random(12, 10, 3)}, r"measurement: found shape \(12, 10, 3\), expected \(C, 12, 10, 3\)"),
        ({"data": random(1, 12, 10, 4)}, r"measurement: found shape \(1, 12, 10, 4\)"),
        ({"data": random(1, 12, 10, 3) * 1j}, "measurement: found complex128, expected a real"),
        ({"data": random(1, 12, 10, 3) / 0}, "measurement: found NaN or infinite"),
        ({"data": [1.0]}, "measurement: found list, expected a tensor"),
        ({"grid": Grid.centered((12, 10, 8), (1, 1, 1))}, r"grid: found \(12, 10, 8\) voxels"),
        ({"noise_level": -1}, "noise_level: found -1"),
        ({"noise_level": float("nan")}, "noise_level: found nan"),
    ],
)
def test_what_does_not_fit(change, message):
    given = {"data": random(1, 12, 10, 3), "operator": OPERATORS["thick slices"], "grid": GRID, **change}
    with pytest.raises(InputError, match=message):
        Measurement(**given)


@each
def test_an_operator_s_description_is_exact(operator):
    found = operator_of(json.loads(json.dumps(describe_operator(operator))), GRID)
    assert describe_operator(found) == describe_operator(operator)
    x, y = random(*operator.domain_shape), random(*operator.range_shape)
    assert torch.equal(found(x), operator(x))
    assert torch.equal(found.T(y), operator.T(y))
    assert (found.resolution, found.images) == (operator.resolution, operator.images)
    factor, inner = operator.factored()
    assert found.factored()[0] == factor
    if isinstance(inner, ConeBeamProjector):
        assert (found.factored()[1].geometry, found.factored()[1].backend) == (inner.geometry, inner.backend)
    else:
        assert torch.equal(found.factored()[1].positions, inner.positions)


def test_other_operators_have_no_description():
    foreign = ForeignOperator((lambda x: x, lambda y: y), domain_shape=(4, 3, 2), range_shape=(4, 3, 2))
    smooth = OPERATORS["cone beam"] @ GaussianSmoothing(GRID.shape, std=1, axis=2)
    for operator in (2 * foreign, smooth):
        with pytest.raises(InputError, match=f"operator: found {operator.name}, expected a ConeBeamProjector or a Sl"):
            describe_operator(operator)


@each
@pytest.mark.parametrize("noise_level", [None, 0.0, 1 / 3])
def test_one_file_keeps_everything(operator, noise_level, tmp_path):
    measurement = measured(operator, noise_level=noise_level)
    path = tmp_path / "folder" / "scan.npz"
    measurement.save(path)
    found = Measurement.load(path)
    assert torch.equal(found.data, measurement.data)
    assert found.data.dtype == measurement.data.dtype
    assert found.grid == GRID
    assert found.noise_level == measurement.noise_level
    assert found.description() == measurement.description()
    assert [file.name for file in path.parent.iterdir()] == ["scan.npz"]
    with np.load(path, allow_pickle=False) as content:
        assert set(content) == {"data", "description"}


def test_an_older_file_is_replaced_and_others_stay(tmp_path):
    (tmp_path / "other.txt").write_text("here")
    path = tmp_path / "scan.npz"
    measured().save(path)
    measured(noise_level=1.0).save(str(path))
    assert Measurement.load(str(path)).noise_level == 1.0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.txt", "scan.npz"]
    foreign = ForeignOperator((lambda x: x, lambda y: y), domain_shape=GRID.shape, range_shape=GRID.shape)
    with pytest.raises(InputError, match="operator: found ForeignOperator"):
        measured(foreign).save(path)
    assert Measurement.load(path).noise_level == 1.0


def test_a_disk_that_is_full(small_disk):
    disk = small_disk(megabytes=0.01, files=20)
    with pytest.raises(OutputError, match=f"{disk}: the disk is full"):
        measured(OPERATORS["cone beam"]).save(disk / "scan.npz")
    assert not list(disk.iterdir())


def lines(path) -> str:
    with pytest.raises(InputError) as caught:
        Measurement.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    return message


def test_what_is_no_such_file(tmp_path):
    assert "found no such file" in lines(tmp_path / "nothing.npz")
    for name, content in (("empty", b""), ("text", b"hello"), ("zip", b"PK\x03\x04 and more")):
        (tmp_path / name).write_bytes(content)
        assert ": found a damaged file or one of another kind (" in lines(tmp_path / name)
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", data=np.array([{}], dtype=object), description=np.zeros(1, np.uint8))
    np.savez(tmp_path / "texts.npz", data=np.array(["a"]), description=np.frombuffer(b"{}", np.uint8))
    for name in ("array.npy", "other.npz", "pickled.npz", "texts.npz"):
        lines(tmp_path / name)
    lines(tmp_path)


def test_damage_anywhere_is_found(tmp_path):
    path = tmp_path / "scan.npz"
    measured(OPERATORS["thick slices"]).save(path)
    whole, expected = path.read_bytes(), Measurement.load(path)
    for length in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        lines(path)
    for place in range(0, len(whole), len(whole) // 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        found = load_or_line(path)
        if found is not None:  # a byte without effect, such as in a date
            assert torch.equal(found.data, expected.data)
            assert found.description() == expected.description()


def load_or_line(path) -> Measurement | None:
    try:
        return Measurement.load(path)
    except InputError:
        lines(path)
        return None


def changed(**changes) -> str:
    return json.dumps({**json.loads(measured().description()), **changes})


OPERATOR = describe_operator(OPERATORS["thick slices"])
PROJECTOR = describe_operator(OPERATORS["cone beam"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"measurement: found '\[\]', expected its description"),
        ("{", "measurement: found"),
        ("{}", "measurement: found"),
        (changed(version=2), "measurement: found version 2 of its description, expected 1"),
        (changed(noise_level="low"), "noise_level: found 'low'"),
        (changed(noise_level=-1), "noise_level: found -1"),
        (changed(grid={"shape": [12, 10, 7]}), "grid: found"),
        (changed(grid=3), "grid: found 3"),
        (changed(grid={"shape": [12, 10, 8], "affine": GRID.affine}), "weights: found shape|grid: found"),
        (changed(operator={}), "operator: found None times None"),
        (changed(operator=OPERATOR | {"name": "Denoiser"}), "operator: found 'Denoiser' times 1.0"),
        (changed(operator=OPERATOR | {"times": "2"}), "operator: found 'SliceAveraging' times '2'"),
        (changed(operator=OPERATOR | {"axis": 3}), "operator: found a damaged description of a SliceAveraging"),
        (changed(operator=OPERATOR | {"axis": 0}), "weights: found|operator: found"),
        (changed(operator=OPERATOR | {"factor": 5}), "weights: found shape"),
        (changed(operator=OPERATOR | {"factor": 1}), "weights: found shape"),
        (
            changed(operator=OPERATOR | {"weights": [[0, 1.0], [0, 2.0], [0, 1.0]]}),
            "weights: found rows that are not shares",
        ),
        (
            changed(operator=OPERATOR | {"weights": [[-1, 1.0], [0, 1.0], [9, 1.0]]}),
            "operator: found a damaged|weights",
        ),
        (changed(operator=PROJECTOR | {"backend": "fast"}), "backend"),
        (changed(operator=PROJECTOR | {"geometry": {}}), "geometry: found"),
        (changed(operator=PROJECTOR | {"grid": {}}), "operator: found a damaged description of a ConeBeamProjector"),
    ],
)
def test_descriptions_that_are_none(text, message):
    with pytest.raises(InputError, match=message):
        Measurement.of_description(measured().data, text)


def noisy_scan(weights=None, noise_level=None):
    """A scan of a box with few photons, its noise's true variances, and its clean line integrals."""
    grid = Grid.centered((24, 24, 12), (12.0, 12.0, 12.0))
    volume = torch.zeros(1, 24, 24, 12)
    volume[:, 4:20, 8:16] = 0.02 * 0.9
    projector = ConeBeamProjector(ConeBeamGeometry.paper(grid, views=24), grid)
    clean = projector(volume)
    counts = torch.poisson(2e3 * torch.exp(-clean), generator=torch.Generator().manual_seed(0))
    data = -torch.log(counts.clamp(min=1) / 2e3)
    return Measurement(data, projector, grid, weights=weights, noise_level=noise_level), clean


def test_whitened_noise_is_alike_everywhere():
    measurement, clean = noisy_scan()
    white = measurement.whitened
    noise = (measurement.data - clean)[0]
    thick, thin = clean[0] > 2.5, clean[0] < 0.1
    assert noise[thick].std() > 3 * noise[thin].std()
    scaled = white.data[0] - white.operator.roots(white.data) * clean[0]
    # the unexplained quarter keeps thin rays from more than their part
    assert float(scaled[thick].std() / scaled[thin].std()) < 2
    assert float(scaled[thick].std()) == pytest.approx(white.deviation, rel=0.35)  # the box has edges


def test_a_level_above_the_noise_is_the_models_error():
    """It is the same everywhere: weights become more alike."""
    spread = []
    for level in (None, 0.5):
        weights = noisy_scan(noise_level=level)[0].whitened.operator.weights
        spread.append(float(weights.max() / weights.min()))
    assert spread[1] < 0.5 * spread[0]


def test_a_level_below_the_estimate_counts():
    estimated = noisy_scan()[0]
    given = noisy_scan(noise_level=0.1 * estimated.noise_level)[0]
    assert given.whitened.deviation == pytest.approx(0.1 * estimated.whitened.deviation, rel=0.05)
    torch.testing.assert_close(given.whitened.operator.weights, estimated.whitened.operator.weights)


def test_what_has_no_weight_has_none_when_whitened():
    measurement, _ = noisy_scan()
    mask = torch.ones(measurement.operator.range_shape)
    mask[:, :, :20] = 0
    white = noisy_scan(weights=mask)[0].whitened
    assert white.operator.weights[:, :, :20].abs().max() == 0
    assert white.deviation == pytest.approx(measurement.whitened.deviation, rel=0.2)  # of the values that count
    assert noisy_scan(weights=mask)[0].weighted.deviation == pytest.approx(measurement.noise_level, rel=1e-6)


def test_the_level_of_whitened_noise_is_its_root_mean_square():
    for weights in (None, torch.ones(24, 1, 1).index_fill(0, torch.arange(12), 0).expand(noisy_scan()[1].shape[1:])):
        white = noisy_scan(weights=weights)[0].whitened
        share = 1.0 if weights is None else 0.5
        assert white.noise_level == pytest.approx(white.deviation * share**0.5)
        assert white.to("cpu", torch.float64).deviation == white.deviation


def test_what_is_masked_may_be_anything():
    measurement, _ = noisy_scan()
    mask = torch.ones(measurement.operator.range_shape)
    mask[:, :, 3:9] = 0
    data = measurement.data.clone()
    data[..., 3:9] = 50 * torch.rand(data[..., 3:9].shape, generator=torch.Generator().manual_seed(1))
    white = Measurement(data, measurement.operator, measurement.grid, weights=mask, noise_level=measurement.noise_level)
    clean = Measurement(
        measurement.data, measurement.operator, measurement.grid, weights=mask, noise_level=measurement.noise_level
    )
    assert white.whitened.deviation == pytest.approx(clean.whitened.deviation, rel=0.3)


def test_channels_whose_noise_may_differ_are_weighed_alike():
    measurement, _ = noisy_scan()
    two = Measurement(measurement.data.repeat(2, 1, 1, 1), measurement.operator, measurement.grid)
    assert two.whitened is two


def test_nothing_to_whiten():
    exact = noisy_scan(noise_level=0.0)[0]
    assert exact.whitened is exact
    slices = measured(noise_level=0.1)
    assert slices.whitened is slices
