# SPDX-License-Identifier: Apache-2.0
"""The arguments of ``monai-iscs`` and their help."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from monai_iscs.cli import descriptions
from monai_iscs.cli.argument_types import OneOrThree, PrintVersion, bundle_folder, count, existing_path, number
from monai_iscs.cli.names import CHOICES
from monai_iscs.cli.processes import joined
from monai_iscs.cli.suites import SUITES
from monai_iscs.errors import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see: {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser; the parsed ``verb`` is called with the parsed arguments."""
    parser = _Parser(
        prog="monai-iscs", description=descriptions.DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=PrintVersion)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(verbs)
    _add_reconstruct(verbs)
    _add_benchmark(verbs)
    _add_evaluate(verbs)
    _add_train(verbs)
    _add_convert(verbs)
    return parser


def _add_verb(verbs: Any, name: str, *, summary: str, description: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  monai-iscs {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=_later(name))
    return parser


def _later(name: str) -> Callable[[argparse.Namespace], None]:
    """The verb's function, imported when it runs: PyTorch takes seconds to import, ``--help`` should not."""

    def run(arguments: argparse.Namespace) -> None:
        if sys.stderr.isatty():
            print("starting ...", end="\r", file=sys.stderr, flush=True)
        with joined(name, getattr(arguments, "device", None)):
            getattr(import_module(f"monai_iscs.cli.{name}"), name)(arguments)

    return run


def _add_demo(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "demo",
        summary="see it work on a real CT volume, in minutes",
        description=descriptions.DEMO,
        example="demo",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="folder to write (default: ./demo_output)",
    )


def _add_reconstruct(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "reconstruct",
        summary="reconstruct a volume from a simulated scan, or thin slices from thick ones",
        description=descriptions.RECONSTRUCT,
        example="reconstruct chest.nii.gz --bundle body_ct_reconstruction --views 20 --output chest_20_views",
    )
    parser.add_argument("input", type=existing_path, metavar="INPUT", help="volume file, or folder of one DICOM series")
    parser.add_argument(
        "--bundle",
        type=bundle_folder,
        required=True,
        metavar="NAME",
        help="model and settings: a bundle's name or the path of its folder",
    )
    _add_config_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--method",
        choices=[*CHOICES["sampler"], *CHOICES["baseline"]],
        default="dds",
        help="dds, ddnm, dds-tv: diffusion samplers; fdk, sirt, admm-tv (CT), cubic (MRI): classical, without a model "
        "(default: dds)",
    )
    parser.add_argument(
        "--seed", type=count(0), default=0, metavar="N", help="start of the random numbers, 0 or more (default: 0)"
    )

    _add_scan_options(parser)
    _add_speed_options(parser)
    sampler = _add_sampler_options(parser)
    sampler.add_argument(
        "--noise", choices=CHOICES["noise"], help="of neighbouring slices: slerp (ISCS), identical, or independent"
    )


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further configs of the bundle, each overriding those before it, such as limited_angle",
    )


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    scan = parser.add_argument_group("the simulated scan (defaults: the bundle's)")
    scan.add_argument("--views", type=count(1), metavar="N", help="number of X-ray views")
    scan.add_argument(
        "--arc", type=number(0, 360), metavar="DEG", help="degrees over which the views are spread, up to 360"
    )
    scan.add_argument(
        "--photons",
        type=number(0, math.inf),
        metavar="N",
        help="photons sent to each detector pixel in each view, for Poisson noise: 1e5 is a good scan, 1e4 a noisy one "
        "(default: no noise)",
    )
    scan.add_argument(
        "--noise-std",
        type=number(0, math.inf),
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
        help="resample INPUT to voxels of this size, one number or (CT) three; the result goes back to INPUT's grid",
    )
    scan.add_argument(
        "--factor",
        type=number(1, math.inf),
        metavar="N",
        help="MRI: simulate slices N times as thick from a thin scan (default: INPUT has thick slices)",
    )


def _add_speed_options(parser: argparse.ArgumentParser) -> None:
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
        help="of the products inside the model (default: bfloat16 on GPUs that have it, else float32)",
    )
    speed.add_argument(
        "--compiled",
        action="store_const",
        const=True,
        help="compile the model first: takes a minute or more, pays off in long runs on a GPU",
    )


def _add_sampler_options(parser: argparse.ArgumentParser) -> Any:
    sampler = parser.add_argument_group("the diffusion sampler, dds, ddnm and dds-tv only (defaults: the bundle's)")
    sampler.add_argument(
        "--preset",
        choices=CHOICES["preset"],
        help="default, limited-angle, super-resolution: tuned for this package; fast: as good as default on CT with "
        "half of its steps; released: the authors' code; paper: as it is described",
    )
    sampler.add_argument("--steps", type=count(1), metavar="N", help="denoising steps: more are slower and finer")
    sampler.add_argument(
        "--eta", type=number(0, 1, include_low=True), metavar="F", help="share of fresh noise in each step, 0 to 1"
    )
    sampler.add_argument(
        "--smoothing",
        type=number(0, math.inf, include_low=True),
        metavar="F",
        help="how far across slices a correction of dds or ddnm reaches at least, in samples of the scan (CT: detector "
        "rows); 0 leaves every slice free",
    )
    sampler.add_argument(
        "--noise-level",
        type=number(0, math.inf, include_low=True),
        metavar="F",
        help="noise of the measurement, which is met no closer than that; 0: exactly (default: estimated from it)",
    )
    return sampler


def _add_benchmark(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "benchmark",
        summary="compare methods on your own volumes, as the paper's tables do",
        description=descriptions.BENCHMARK,
        example="benchmark patient1.nii.gz patient2.nii.gz --bundle body_ct_reconstruction --methods fdk dds dds+slerp "
        "--output comparison",
    )
    parser.add_argument(
        "volumes", type=existing_path, nargs="+", metavar="VOLUME", help="volume files or DICOM folders"
    )
    parser.add_argument(
        "--bundle", type=bundle_folder, required=True, metavar="NAME", help="a bundle's name or the path of its folder"
    )
    _add_config_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write and to go on in")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help=f"any of {', '.join([*CHOICES['baseline'], *CHOICES['sampler']])}; a sampler takes a noise: dds+slerp is "
        "DDS with ISCS, dds alone draws independent noise; dds+tv+slerp adds total variation along the slices",
    )
    which.add_argument(
        "--suite",
        choices=SUITES,
        help="the rows and the layout of a table of the paper (default: table1)",
    )
    parser.add_argument(
        "--slices",
        type=count(1),
        metavar="N",
        help="only the N slices in the middle of each volume, to save time (default: all)",
    )
    parser.add_argument("--seeds", type=count(1), metavar="N", help="runs of each sampler (default: the suite's)")
    parser.add_argument("--seed", type=count(0), default=0, metavar="N", help="first seed, 0 or more (default: 0)")
    _add_lpips_option(parser)
    _add_scan_options(parser)
    _add_speed_options(parser)
    _add_sampler_options(parser)


def _add_lpips_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lpips",
        choices=["alex", "vgg", "none"],
        help="network of LPIPS, fetched if need be, or none to save the time (default: alex, if it is installed: "
        "pip install 'monai-iscs[lpips]')",
    )


def _add_evaluate(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "evaluate",
        summary="compare a reconstruction with its reference",
        description=descriptions.EVALUATE,
        example="evaluate result.nii.gz truth.nii.gz --bundle body_ct_reconstruction",
    )
    parser.add_argument("reconstruction", type=existing_path, metavar="RECONSTRUCTION", help="volume to judge")
    parser.add_argument("reference", type=existing_path, metavar="REFERENCE", help="volume it should have been")
    scale = parser.add_mutually_exclusive_group(required=True)
    scale.add_argument(
        "--bundle",
        type=bundle_folder,
        metavar="NAME",
        help="judge both as this bundle sees them: its value range and in-plane size",
    )
    scale.add_argument(
        "--window",
        nargs=2,
        type=number(-math.inf, math.inf),
        metavar=("LOW", "HIGH"),
        help="judge both at their own size, with values clipped to LOW..HIGH",
    )
    _add_config_option(parser)
    _add_lpips_option(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (default: print only)")


def _add_train(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "train",
        summary="train the model of a bundle on your own volumes",
        description=descriptions.TRAIN,
        example="train --bundle body_ct_reconstruction --dataset my_volumes --output my_prior",
    )
    parser.add_argument(
        "--bundle", type=bundle_folder, required=True, metavar="NAME", help="a bundle's name or the path of its folder"
    )
    _add_config_option(parser)
    parser.add_argument("--dataset", type=existing_path, required=True, metavar="DIR", help="folder with train and val")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--epochs", type=count(1), metavar="N", help="passes over the data (default: the bundle's)")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    parser.add_argument(
        "--initial-weights",
        type=existing_path,
        metavar="FILE",
        help="start from a trained model.pt, such as the one in the bundle's models folder (default: from nothing)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last complete epoch in --output")


def _add_convert(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "convert",
        summary="make a bundle of a published prior: ISCS, TPDM, DiffusionMBIR, DDS",
        description=descriptions.CONVERT,
        example="convert checkpoint.pth --bundle body_ct_reconstruction --output published_prior",
    )
    parser.add_argument(
        "checkpoint", type=existing_path, metavar="CHECKPOINT", help="the file as its authors published it"
    )
    parser.add_argument(
        "--bundle",
        type=bundle_folder,
        required=True,
        metavar="NAME",
        help="whose settings to take, all but the model: a bundle's name or the path of its folder",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the new bundle")
    parser.add_argument(
        "--size",
        type=count(1),
        metavar="N",
        help="pixels along each side of a slice, as in training (default: 256)",
    )
    parser.add_argument(
        "--orientation",
        choices=CHOICES["orientation"],
        default="display",
        help="how slices lay in the training: display, with rows to the back or down and columns to the left, as in "
        "DICOM files; array, as slices of a volume in RAS lie in memory (default: display)",
    )
    parser.add_argument("--half", action="store_true", help="weights of half precision: half the size of the file")
