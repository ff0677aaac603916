# SPDX-License-Identifier: Apache-2.0
"""Options of the verbs of ``monai-iscs``."""

from __future__ import annotations

import argparse
import math

from monai_iscs.cli.argument_types import (
    OneOrThree,
    Removed,
    bundle_folder,
    count,
    existing_files,
    existing_path,
    number,
    numbers,
    output_path,
    photons,
)
from monai_iscs.datasets.archives import ARCHIVES
from monai_iscs.workflows.names import MOST_SMOOTHING

KINDS = ("line-integrals", "transmission", "counts")
UNITS = ("um", "mm", "cm", "m")
POSITIONS = ("HFS", "HFP", "FFS", "FFP", "RAS")
MOST_COUNT, MOST_VALUE = 1e15, 1e30  # of photons and noise; of a voxel: above, single precision overflows
REMOVED = {
    "--noise": "the noise as a part of the method: dds+iscs is Slerp noise, dds+identical identical noise, dds alone "
    "independent noise",
    "--preset": "--recipe NAME, one of the bundle's recipes",
}


def add_bundle_option(parser: argparse.ArgumentParser, summary: str) -> None:
    """``--bundle``."""
    parser.add_argument("--bundle", type=bundle_folder, required=True, metavar="NAME", help=summary)


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """``--config``: configs over the bundle's."""
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further configs of the bundle, each overriding those before it, such as limited_angle",
    )


def add_volumes(parser: argparse.ArgumentParser) -> None:
    """What is done to several volumes, one after the other, and where."""
    summary = "volume files or DICOM folders"
    parser.add_argument("volumes", type=existing_path, nargs="+", metavar="VOLUME", help=summary)
    add_bundle_option(parser, "one of ours by its name, or the path of a folder, such as ./my_bundle")
    add_config_option(parser)
    summary = "folder to write and to go on in"
    parser.add_argument("--output", type=output_path, required=True, metavar="DIR", help=summary)
    parser.add_argument(
        "--slices",
        type=count(1),
        metavar="N",
        help="only the N slices in the middle of each volume, to save time (default: all)",
    )


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Settings of the simulated scan."""
    scan = parser.add_argument_group("the simulated scan (defaults: the bundle's)")
    scan.add_argument("--views", type=count(1), metavar="N", help="number of X-ray views; of a helix, in each turn")
    scan.add_argument(
        "--arc", type=number(0, 360), metavar="DEG", help="degrees over which the views are spread, up to 360"
    )
    scan.add_argument(
        "--table-feed",
        type=number(0, math.inf),
        metavar="MM",
        help="a helix over all of INPUT that rises so much in a turn, by its detector's height (default: a circle)",
    )
    scan.add_argument(
        "--row-spacing",
        type=number(0, math.inf),
        metavar="MM",
        help="from row to row of the detector, at the isocentre (default: as from column to column)",
    )
    scan.add_argument(
        "--photons",
        type=photons,
        metavar="N",
        help="photons sent to each detector pixel in each view, for Poisson noise: 1e5 is a good scan, 1e4 a noisy "
        "one; none: no noise (default: 1e5, none with --same-grid)",
    )
    scan.add_argument(
        "--same-grid",
        action="store_const",
        const=True,
        help="simulate on the grid of the reconstruction, by its own projector, one ray a pixel: easier than any real "
        "scan, for the laboratory (default: on INPUT's own grid, the mean intensity of 2 x 2 rays a pixel)",
    )
    scan.add_argument(
        "--noise-std",
        type=number(0, MOST_COUNT),
        metavar="F",
        help="Gaussian noise: its standard deviation in line integrals (CT; a body reaches 5 or more), or as a share "
        "of the signal (MRI with --factor; 0.02 is usual)",
    )
    scan.add_argument(
        "--spacing",
        nargs="+",
        action=OneOrThree,
        type=number(0, math.inf),
        metavar="MM",
        help="resample INPUT to voxels of this size, one number or (CT) three; the result goes back to INPUT's grid. "
        "Projections: voxels of the result (default: the usual size of the model's training)",
    )
    scan.add_argument(
        "--factor",
        type=number(1, math.inf),
        metavar="N",
        help="MRI: simulate slices N times as thick from a thin scan (default: INPUT has thick slices)",
    )
    summary = "seed of its noise; --seed is the sampler's"
    scan.add_argument("--measurement-seed", type=count(0), metavar="N", help=summary)


def add_projection_options(parser: argparse.ArgumentParser) -> None:
    """What a scanner's projections are, and where they are to be reconstructed."""
    scan = parser.add_argument_group("real projections as INPUT (docs/projections.md lists the formats)")
    summary = "geometry of the views (default: beside INPUT or in it)"
    scan.add_argument("--geometry", type=existing_path, metavar="FILE", help=summary)
    scan.add_argument("--kind", choices=KINDS, help="what the numbers are, where the format leaves it open")
    scan.add_argument("--flat", type=existing_files, metavar="FILE", help="counts without object")
    scan.add_argument("--dark", type=existing_files, metavar="FILE", help="counts without radiation")
    scan.add_argument("--air", type=number(0, MOST_COUNT), metavar="COUNTS", help="counts without object, one number")
    scan.add_argument("--unit", choices=UNITS, help="of lengths in the geometry, where the format has none")
    scan.add_argument(
        "--detector-pitch",
        nargs=2,
        type=number(0, math.inf),
        metavar=("V", "U"),
        help="mm from row to row and from column to column, where the format has none",
    )
    from_zero = number(0, math.inf, include_low=True)
    scan.add_argument("--axis-column", type=from_zero, metavar="N", help="column of the rotation axis")
    scan.add_argument("--every", type=count(1), metavar="N", help="use each N-th view (default: all)")
    for name, what in (("turns", "turns of a helix, from 0, fractional"), ("rows", "rows of the detector, from 0")):
        summary = f"of raw data (DICOM-CT-PD) use these {what}; B is the end (default: all)"
        scan.add_argument(f"--{name}", type=numbers(":", "A:B, such as 2:3"), metavar="A:B", help=summary)
    scan.add_argument(
        "--position",
        choices=POSITIONS,
        help="of the patient: head or feet first, supine or prone; RAS: the geometry's x, y, z are the patient's "
        "right, anterior, superior (default: the format's, else HFS for scanners of patients and RAS for others)",
    )
    scan.add_argument(
        "--beam-hardening",
        type=numbers(",", "C1,C2,...: numbers with commas between them, such as 1.02,0.008"),
        metavar="C1,C2,...",
        help="correct line integrals p to C1 p + C2 p^2 + ..., which is --water times the thickness of water "
        "(default: no correction; docs/projections.md says where the numbers come from)",
    )
    summary = "attenuation of 0 HU per mm (default: the format's, else 0.02)"
    scan.add_argument("--water", type=number(0, math.inf), metavar="F", help=summary)
    scan.add_argument(
        "--shape",
        nargs=3,
        type=count(1),
        metavar=("X", "Y", "Z"),
        help="voxels to reconstruct, of the size --spacing (default: all that the detector sees)",
    )
    scan.add_argument(
        "--center",
        nargs=3,
        type=number(-MOST_COUNT, MOST_COUNT, include_low=True),
        metavar=("X", "Y", "Z"),
        help="of the volume, mm right, anterior and superior of the geometry's origin, which is RTK's isocentre "
        "(default: the middle of what is seen)",
    )
    summary = "reconstruct a helix in slabs of this length (default: where it needs more than 4 GB at once)"
    scan.add_argument("--slab", type=number(0, math.inf), metavar="MM", help=summary)


def add_sampling_options(parser: argparse.ArgumentParser, *, samples: int | None = None) -> None:
    """A simulated scan, and its reconstruction; `samples` is the default of ``--samples``, None the bundle's."""
    add_scan_options(parser)
    _add_speed_options(parser)
    _add_sampler_options(parser, samples)


def _add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Where and how the network computes."""
    speed = parser.add_argument_group("speed and memory (defaults: what suits the device)")
    speed.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    speed.add_argument("--memory", type=number(0, math.inf), metavar="GB", help="most GPU memory to use (default: all)")
    speed.add_argument(
        "--slice-batch",
        type=count(1),
        metavar="N",
        help="slices that the model takes at a time (default: as many as memory holds, up to 64; 8 on a CPU)",
    )
    speed.add_argument(
        "--precision",
        choices=["float32", "tf32", "bfloat16"],
        help="of the products inside the model (default: bfloat16 on hardware that has it, else float32)",
    )
    speed.add_argument(
        "--compiled",
        action="store_const",
        const=True,
        help="compile the model first: takes a minute or more, pays off in long runs on a GPU",
    )


def _add_sampler_options(parser: argparse.ArgumentParser, samples: int | None) -> None:
    """Numbers of a diffusion sampler."""
    sampler = parser.add_argument_group("the diffusion sampler, dds and ddnm only (defaults: the bundle's)")
    sampler.add_argument(
        "--recipe",
        metavar="NAME",
        help="one of the bundle's: ours have default, which is tuned for the prior, CT also fast (half of the steps), "
        "deterministic (no noise) and limited-angle; released: the authors' code; paper: as described there",
    )
    sampler.add_argument(
        "--samples",
        type=count(1),
        default=samples,
        metavar="N",
        help="an even number of samples, in pairs of opposite noise, takes N times as long: the result is their mean "
        f"(default: {samples or 1})",
    )
    sampler.add_argument("--steps", type=count(1), metavar="N", help="denoising steps: more are slower and finer")
    sampler.add_argument(
        "--eta", type=number(0, 1, include_low=True), metavar="F", help="share of fresh noise in each step, 0 to 1"
    )
    sampler.add_argument(
        "--smoothing",
        type=number(0, MOST_SMOOTHING, include_low=True),
        metavar="F",
        help="least width across slices of a correction of a sampler, in samples of the scan (CT: detector rows); "
        "0: slices are corrected independently",
    )
    sampler.add_argument(
        "--noise-level",
        type=number(0, math.inf, include_low=True),
        metavar="F",
        help="noise level of the measurement, by which it is weighed, or no closer than which it is fitted, as the "
        "recipe says; 0: exactly (default: estimated)",
    )
    for removed, instead in REMOVED.items():
        sampler.add_argument(removed, action=Removed, instead=instead)


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """What ``prepare`` reads and writes."""
    parser.add_argument("dataset", choices=ARCHIVES, metavar="DATASET", help=", ".join(ARCHIVES))
    parser.add_argument("folder", type=existing_path, metavar="FOLDER", help="the data set as it was downloaded")
    parser.add_argument("--output", type=output_path, required=True, metavar="DIR", help="folder to write")
    text = "leave out volumes that cannot be used, each with one line that says why (default: stop at the first)"
    parser.add_argument("--skip-unusable", action="store_true", help=text)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """What `reconstruct` writes, and how processes share the volumes."""
    text = "write filled_in.nii.gz too: the share of each voxel's contrast, 0 to 1, that the measurement did not supply"
    parser.add_argument("--explain", action="store_true", help=text)
    text = "of torchrun share a volume (default: all; 1 with several inputs)"
    parser.add_argument("--processes-per-volume", type=count(1), metavar="K", help=text)
    text = "CT: write the volume as a DICOM series too, in DIR/dicom: whole HU, derived, not for diagnosis"
    parser.add_argument("--dicom", action="store_true", help=f"{text}; a DICOM INPUT gives patient and study")
    text = "with --dicom: leave out patient, study and references to INPUT (run.json still has INPUT's path)"
    parser.add_argument("--anonymous", action="store_true", help=text)


def add_lpips_option(parser: argparse.ArgumentParser) -> None:
    """``--lpips``."""
    parser.add_argument(
        "--lpips",
        choices=["alex", "vgg", "none"],
        help="network of LPIPS, downloaded if needed, or none to save time (default: alex, if it is installed: "
        "pip install 'monai-iscs[lpips]')",
    )
