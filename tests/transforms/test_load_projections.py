# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose

from monai_iscs import LoadProjections, LoadProjectionsd, projections_of
from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans import Projections, write_projections
from monai_iscs.scans.meta import projections_to_meta_tensor


def scan(number: int) -> ConeBeamGeometry:
    return ConeBeamGeometry.circular(
        source_to_isocenter=100.0 + number,
        source_to_detector=150.0,
        detector_shape=(6, 8),
        detector_pitch=(2.0, 1.5 + number / 7),
        views=5,
    )


@pytest.fixture
def files(tmp_path):
    """Four scans, each with its own geometry, half of them under another name."""
    items = []
    for number in range(4):
        data = torch.rand(5, 6, 8, generator=torch.Generator().manual_seed(number))
        path = write_projections(Projections(data=data, geometry=scan(number)), tmp_path / f"scan{number}.mha")
        items.append({"image": str(path)})
        if number % 2:
            items[-1]["geometry"] = str(path.with_suffix(".xml").rename(tmp_path / f"elsewhere{number}.xml"))
    return items


def same(found: Projections, expected: Projections) -> bool:
    assert torch.equal(found.data, expected.data)
    assert found.geometry == expected.geometry
    assert (found.position, found.notes) == (expected.position, expected.notes)
    assert (found.weights is None) == (expected.weights is None)
    return found.weights is None or torch.equal(found.weights, expected.weights)


def test_a_file(files):
    image = LoadProjections()(files[0]["image"])
    assert isinstance(image, MetaTensor)
    assert image.shape == (1, 5, 6, 8)
    assert image.dtype == torch.float32
    assert image.meta["filename_or_obj"] == files[0]["image"]
    projections = projections_of(image)
    assert type(projections.data) is torch.Tensor
    assert projections.position == "HFS"
    np.testing.assert_allclose(projections.in_patient().geometry.source, scan(0).source, atol=1e-9)


def test_a_geometry_for_each_item_through_workers(files):
    transform = Compose([LoadProjectionsd("image", kind="line-integrals", every=2)])
    for item in files:
        item.setdefault("geometry", item["image"].replace(".mha", ".xml"))
    expected = [projections_of(transform(item)["image"]) for item in files]
    loader = DataLoader(Dataset(files, transform), batch_size=1, num_workers=2, multiprocessing_context="fork")
    for number, batch in enumerate(loader):
        assert batch["image"].shape == (1, 1, 3, 6, 8)
        np.testing.assert_allclose(expected[number].in_patient().geometry.u, scan(number).u[::2], atol=1e-9)
        assert same(projections_of(batch["image"][0]), expected[number])
        assert same(projections_of(decollate_batch(batch)[0]["image"]), expected[number])


def test_without_a_geometry_of_its_own_an_item_has_that_of_the_options_or_its_neighbour(files):
    load = LoadProjectionsd(["image", "other"], allow_missing_keys=True)
    assert projections_of(load(files[2])["image"]).geometry.views == 5
    with pytest.raises(InputError, match=r"scan1\.mha: found no geometry \(scan1\.xml\) beside it, expected one: "):
        load({"image": files[1]["image"]})
    load = LoadProjectionsd("image", geometry=files[1]["geometry"])
    assert projections_of(load({"image": files[1]["image"]})["image"]).geometry.views == 5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool])
def test_weights_survive(dtype):
    weights = (torch.rand(5, 6, 8) > 0.3).to(dtype)
    projections = Projections(
        data=torch.rand(5, 6, 8), geometry=scan(1), weights=weights, position="FFP", notes=("mended",)
    )
    image = projections_to_meta_tensor(projections, name="scan.mha")
    assert same(projections_of(image), projections)
    assert projections_of(image).weights.dtype == torch.float32
    (item,) = decollate_batch(next(iter(DataLoader([image], batch_size=1))))
    assert same(projections_of(item), projections)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.as_tensor(), "projections: found nothing with meta"),
        (lambda image: image[None], r"scan\.mha: found a tensor \(1, 1, 5, 6, 8\) with meta"),
        (lambda image: image[:, :3], r"scan\.mha: projections: found shape \(3, 6, 8\), expected the geometry's"),
        (lambda image: image * torch.nan, r"scan\.mha: projections: found NaN"),
        (lambda image: MetaTensor(image.as_tensor(), meta={"projections": "{}"}), r"found \'\{\}\', expected its text"),
    ],
)
def test_what_are_no_projections(change, message):
    projections = Projections(data=torch.rand(5, 6, 8), geometry=scan(0))
    with pytest.raises(InputError, match=message):
        projections_of(change(projections_to_meta_tensor(projections, name="scan.mha")))


def test_options_are_checked_when_the_transform_is_made():
    with pytest.raises(InputError, match="every: found 0"):
        LoadProjectionsd("image", every=0)
    with pytest.raises(TypeError, match="views"):
        LoadProjections(views=3)
