# SPDX-License-Identifier: Apache-2.0
"""Denoising PSNR of a bundle's prior against non-local means, whose parameters are tuned for each sigma.

    python benchmarks/denoising.py --bundle bundles/body_ct_reconstruction --dataset DATA --output FILE.md

``DATA/train`` and ``DATA/val`` hold volumes, read as in the bundle's training. Non-local means (scikit-image) gets the
true sigma; its strength ``h``, patch size and search distance are chosen on slices of ``train``. Then both methods are
measured on slices of ``val``.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections.abc import Callable
from pathlib import Path

import skimage
import torch
from monai.bundle import load as load_bundle
from skimage.restoration import denoise_nl_means
from torch import Tensor

from monai_iscs.engines import psnr_at
from monai_iscs.workflows.bundle import read_config

SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0)
STRENGTHS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7)
PATCHES = (3, 5, 7, 9, 11)
DISTANCES = (5, 9, 13)


def non_local_means(strength: float, patch: int, distance: int) -> Callable[[Tensor, float], Tensor]:
    """Non-local means as a denoiser."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        settings = {"h": strength * sigma, "sigma": sigma, "patch_size": patch, "patch_distance": distance}
        slices = [denoise_nl_means(image[0].numpy(), fast_mode=True, **settings) for image in x]
        return torch.stack([torch.from_numpy(image).float()[None] for image in slices])

    return denoise


def slices_of(bundle: Path, folder: Path, *, every: int) -> Tensor:
    """Each `every`-th slice of a folder's volumes, (S, 1, H, W), as in the validation of the bundle's training."""
    config = read_config(bundle, "train", {"val_dir": str(folder), "validate_every": every})
    return torch.stack([item["image"] for item in config.get_parsed_content("validate::dataset")])


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/body_ct_reconstruction"))
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--every", type=int, default=8, help="take each N-th slice of val")
    parser.add_argument("--tune-every", type=int, default=120, help="take each N-th slice of train")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    prior = load_bundle(arguments.bundle.name, bundle_dir=arguments.bundle.parent, workflow_type="inference").eval()
    train = slices_of(arguments.bundle, arguments.dataset / "train", every=arguments.tune_every)
    val = slices_of(arguments.bundle, arguments.dataset / "val", every=arguments.every)
    rows = []
    for sigma in SIGMAS:
        grid = list(itertools.product(STRENGTHS, PATCHES, DISTANCES))
        best = max(grid, key=lambda choice, sigma=sigma: psnr_at(non_local_means(*choice), train, sigma, seed=1))
        rows.append((sigma, psnr_at(non_local_means(*best), val, sigma), psnr_at(prior, val, sigma), best))
        print(rows[-1], flush=True)

    lines = [
        "# Denoising: the prior against tuned non-local means",
        "",
        f"`python benchmarks/denoising.py --bundle {arguments.bundle} --dataset DATA --every {arguments.every} "
        f"--tune-every {arguments.tune_every}`; {len(val)} slices of val, parameters chosen on {len(train)} of train; "
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, scikit-image {skimage.__version__}.",
        "",
        "| sigma | non-local means, dB | prior, dB | gain, dB | chosen h / sigma, patch, distance |",
        "|---|---|---|---|---|",
        *(
            f"| {s:g} | {nlm:.2f} | {ours:.2f} | {ours - nlm:+.2f} | {b[0]:g}, {b[1]}, {b[2]} |"
            for s, nlm, ours, b in rows
        ),
        "",
    ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
