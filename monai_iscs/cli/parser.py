# SPDX-License-Identifier: Apache-2.0
"""The arguments of ``monai-iscs`` and their help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from monai_iscs.cli import descriptions
from monai_iscs.cli.argument_types import (
    PrintVersion,
    bundle_folder,
    count,
    existing_files,
    existing_path,
    method,
    number,
    output_path,
)
from monai_iscs.cli.options import (
    MOST_VALUE,
    add_bundle_option,
    add_config_option,
    add_dataset_options,
    add_lpips_option,
    add_output_options,
    add_projection_options,
    add_sampling_options,
    add_scan_options,
    add_volumes,
)
from monai_iscs.errors import InputError
from monai_iscs.studies.suites import SUITES
from monai_iscs.workflows.device import check_alone

ORIENTATIONS = ("display", "array")  # of `priors.published`, whose import takes long


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
    _add_calibrate(verbs)
    _add_simulate(verbs)
    _add_prepare(verbs)
    _add_train(verbs)
    _add_convert(verbs)
    return parser


def _add_verb(verbs: Any, name: str, *, summary: str, description: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  monai-iscs {example}"
        + (f"\n\n{descriptions.TRUST}" if name not in ("demo", "prepare") else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(verb=_later(name))
    return parser


def _later(name: str) -> Callable[[argparse.Namespace], None]:
    """The verb's function, imported when it runs: PyTorch takes seconds to import, ``--help`` should not."""

    def run(arguments: argparse.Namespace) -> None:
        if sys.stderr.isatty():
            print("starting ...", end="\r", file=sys.stderr, flush=True)
        check_alone(name)
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
        type=output_path,
        default=Path("demo_output"),
        metavar="DIR",
        help="folder to write (default: ./demo_output)",
    )


def _add_reconstruct(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "reconstruct",
        summary="reconstruct a volume from a simulated scan, or thin slices from thick ones",
        description=f"{descriptions.RECONSTRUCT}\n{descriptions.METHODS}",
        example="reconstruct chest.nii.gz --bundle body_ct_reconstruction --views 20 --output chest_20_views",
    )
    parser.add_argument(
        "inputs",
        type=existing_files,
        nargs="+",
        metavar="INPUT",
        help="projections of a scanner (a file, a folder or a pattern like 's_*.tif'), or a volume to simulate a scan "
        "of: a file, or folder of one DICOM series; or several of them, or a folder of them",
    )
    add_bundle_option(parser, "model and settings: one of ours by name, or the path of a folder, such as ./my_bundle")
    add_config_option(parser)
    parser.add_argument("--output", type=output_path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--method",
        type=method,
        metavar="METHOD",
        help="SAMPLER[+tv][+NOISE], such as dds+iscs, or fdk, helical-fbp, sirt, admm-tv (CT), cubic (MRI): without "
        "a model; see above (default: what the bundle says, DDS+ISCS in ours)",
    )
    parser.add_argument(
        "--seed", type=count(0), default=0, metavar="N", help="seed of the sampler's noise, 0 or more (default: 0)"
    )
    add_output_options(parser)
    add_projection_options(parser)
    add_sampling_options(parser)


def _add_benchmark(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "benchmark",
        summary="compare methods on your own volumes, as the paper's tables do",
        description=f"{descriptions.BENCHMARK}\n{descriptions.METHODS}",
        example="benchmark patient1.nii.gz patient2.nii.gz --bundle body_ct_reconstruction --methods fdk dds dds+iscs "
        "--output comparison",
    )
    add_volumes(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--methods",
        type=method,
        nargs="+",
        metavar="METHOD",
        help="each as --method of reconstruct takes it, see above: fdk dds dds+iscs",
    )
    which.add_argument(
        "--suite",
        choices=SUITES,
        help="the rows and the layout of a table of the paper, lesions or image-quality (default: table1)",
    )
    parser.add_argument("--seeds", type=count(1), metavar="N", help="runs of each sampler (default: the suite's)")
    parser.add_argument("--seed", type=count(0), default=0, metavar="N", help="first seed, 0 or more (default: 0)")
    add_lpips_option(parser)
    add_sampling_options(parser)


def _add_calibrate(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "calibrate",
        summary="find how wide the intervals of reconstruct --samples have to be",
        description=descriptions.CALIBRATE,
        example="calibrate patient1.nii.gz patient2.nii.gz --bundle body_ct_reconstruction --recipe fast "
        "--output calibration",
    )
    add_volumes(parser)
    parser.add_argument("--method", type=method, metavar="METHOD", help="a sampler, as reconstruct takes it")
    parser.add_argument("--seed", type=count(0), default=0, metavar="N", help="seed of the samples (default: 0)")
    add_sampling_options(parser, samples=4)


def _add_simulate(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "simulate",
        summary="write a scan of a volume as files that reconstruct reads",
        description=descriptions.SIMULATE,
        example="simulate chest.nii.gz --views 60 --output scan.mha",
    )
    parser.add_argument("input", type=existing_path, metavar="VOLUME", help="volume file or DICOM folder")
    parser.add_argument(
        "--bundle",
        type=bundle_folder,
        default="body_ct_reconstruction",
        metavar="NAME",
        help="whose range of HU and scanner to use (default: body_ct_reconstruction)",
    )
    parser.add_argument(
        "--output", type=output_path, required=True, metavar="SCAN", help="to write: scan.mha, or scan for a folder"
    )
    add_scan_options(parser)


def _add_evaluate(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "evaluate",
        summary="compare a reconstruction with its reference",
        description=descriptions.EVALUATE,
        example="evaluate result.nii.gz truth.nii.gz --bundle body_ct_reconstruction",
    )
    parser.add_argument("reconstruction", type=existing_path, metavar="RECONSTRUCTION", help="volume to evaluate")
    parser.add_argument("reference", type=existing_path, metavar="REFERENCE", help="volume it should have been")
    scale = parser.add_mutually_exclusive_group(required=True)
    scale.add_argument(
        "--bundle",
        type=bundle_folder,
        metavar="NAME",
        help="compare both in this bundle's units (its value range, or the robust maximum), on their own grid",
    )
    scale.add_argument(
        "--window",
        nargs=2,
        type=number(-MOST_VALUE, MOST_VALUE, include_low=True),
        metavar=("LOW", "HIGH"),
        help="compare both on their own grid, with values clipped to LOW..HIGH",
    )
    add_config_option(parser)
    add_lpips_option(parser)
    parser.add_argument("--output", type=output_path, metavar="DIR", help="folder to write (default: print only)")


def _add_prepare(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "prepare",
        summary="make a folder for train of a public data set as it is downloaded",
        description=descriptions.PREPARE,
        example="prepare ixi IXI-T1.tar --output ixi_volumes",
    )
    add_dataset_options(parser)


def _add_train(verbs: Any) -> None:
    parser = _add_verb(
        verbs,
        "train",
        summary="train the model of a bundle on your own volumes",
        description=descriptions.TRAIN,
        example="train --bundle body_ct_reconstruction --dataset my_volumes --output my_prior",
    )
    add_bundle_option(parser, "one of ours by its name, or the path of a folder, such as ./my_bundle")
    add_config_option(parser)
    parser.add_argument("--dataset", type=existing_path, required=True, metavar="DIR", help="folder with train and val")
    parser.add_argument("--output", type=output_path, required=True, metavar="DIR", help="folder to write")
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
        summary="make a bundle of a published prior: ISCS, TPDM, DiffusionMBIR, DDS, DiffusionBlend",
        description=descriptions.CONVERT,
        example="convert checkpoint.pth --bundle body_ct_reconstruction --output published_prior",
    )
    parser.add_argument(
        "checkpoints", type=existing_path, nargs="+", metavar="CHECKPOINT", help="as published; TPDM has two files"
    )
    add_bundle_option(parser, "take all settings but the model from it: one of ours by name, or the path of a folder")
    parser.add_argument("--output", type=output_path, required=True, metavar="DIR", help="folder of the new bundle")
    parser.add_argument(
        "--size",
        type=count(1),
        metavar="N",
        help="pixels along each side of a slice, as in training (default: 256)",
    )
    parser.add_argument(
        "--orientation",
        choices=ORIENTATIONS,
        default="display",
        help="of slices in the training: display, with rows to the back or down and columns to the left, as in DICOM "
        "files; array, as slices of a RAS volume in memory (default: display)",
    )
    parser.add_argument("--half", action="store_true", help="weights of half precision: half the size of the file")
