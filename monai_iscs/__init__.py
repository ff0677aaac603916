# SPDX-License-Identifier: Apache-2.0
"""Consistent 3D CT and MRI reconstruction from 2D diffusion priors, for MONAI."""

__version__ = "0.1.0"
