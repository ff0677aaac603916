# SPDX-License-Identifier: Apache-2.0
"""What images carry through MONAI's pipelines."""

from __future__ import annotations

import torch
from monai.data import MetaTensor


def image_name(image: torch.Tensor, default: str = "image") -> str:
    """The file that an image was read from, for messages."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    return str(meta.get("filename_or_obj", default))
def carries_scan(x): return False
def from_meta_tensor(x): raise NotImplementedError
