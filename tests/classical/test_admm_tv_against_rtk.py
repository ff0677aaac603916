# SPDX-License-Identifier: Apache-2.0
"""ITK-RTK's ADMM-TV minimises the same function, with Joseph's projector on the same grid. itk-rtk is optional."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_iscs.classical import ADMMTV
from monai_iscs.grid import Grid
from monai_iscs.operators import ConeBeamGeometry, ConeBeamProjector
from monai_iscs.solvers import SIRT, voxel_weight

VOXEL = 12.0  # mm, in all directions
LAM, RHO = 0.003, 0.3
VIEWS = 12
SCANNER = {
    "source_to_isocenter": 700.0,
    "source_to_detector": 1200.0,
    "detector_shape": (8, 32),
    "detector_pitch": (16.0, 14.0),
}


@pytest.fixture(scope="module")
def rtk():
    itk = pytest.importorskip("itk")
    try:
        from itk import RTK
    except ImportError:
        pytest.skip("itk-rtk is not installed")
    return itk, RTK


def image(itk, array, spacing):
    """An image around the isocentre, a view of the array."""
    made = itk.image_view_from_array(array)
    made.SetSpacing(spacing)
    origin = [-(n - 1) / 2 * step for n, step in zip(array.shape[::-1], spacing, strict=True)]
    made.SetOrigin(origin if len(set(spacing)) == 1 else [*origin[:2], 0.0])  # views are counted from 0
    return made


def rtk_admm_tv(rtk, y, A, weight):
    itk, RTK = rtk
    orbit = RTK.ThreeDCircularProjectionGeometry.New()
    for view in range(VIEWS):
        orbit.AddProjection(SCANNER["source_to_isocenter"], SCANNER["source_to_detector"], 360 / VIEWS * view)
    X, Y, Z = A.domain_shape
    start, views = np.zeros((X, Z, Y), np.float32), y.numpy()  # RTK turns about its y
    rows, columns = SCANNER["detector_pitch"]
    images = [image(itk, start, (VOXEL,) * 3), image(itk, views, (columns, rows, 1.0))]
    method = RTK.ADMMTotalVariationConeBeamReconstructionFilter[itk.Image[itk.F, 3]].New()
    for index, given in enumerate(images):
        method.SetInput(index, given)
    method.SetGeometry(orbit)
    method.SetForwardProjectionFilter(method.ForwardProjectionType_FP_JOSEPH)
    method.SetBackProjectionFilter(method.BackProjectionType_BP_JOSEPH)
    method.SetAlpha(LAM * weight * VOXEL)  # its differences are per mm
    method.SetBeta(RHO * weight * VOXEL**2)
    method.SetAL_iterations(40)
    method.SetCG_iterations(5)
    method.Update()
    return torch.from_numpy(itk.array_from_image(method.GetOutput()).transpose(0, 2, 1).copy())


def test_both_find_the_same_volume(rtk):
    geometry = ConeBeamGeometry.circular(views=VIEWS, **SCANNER)
    A = ConeBeamProjector(geometry, Grid.centered((16, 16, 4), (VOXEL,) * 3))
    truth = torch.zeros(A.domain_shape)
    truth[3:13, 2:14, 1:4] = 0.4
    truth[5:8, 5:10, 2:3] = 0.0
    truth[9:12, 6:9, 1:4] = 0.9
    y = A(truth)
    ours = ADMMTV(A, lam=LAM, iterations=60, rtol=1e-3, rho=RHO)(y)
    theirs = rtk_admm_tv(rtk, y, A, voxel_weight(A, y))
    sirt = SIRT(A, rtol=0)(y)
    assert (ours - theirs).norm() < 0.02 * theirs.norm()
    assert max((ours - truth).norm(), (theirs - truth).norm()) < 0.2 * (sirt - truth).norm()
