# SPDX-License-Identifier: Apache-2.0
"""A benchmark whose rows differ in any entry of the bundle's config: how recipes are tuned, and ablations.

    python benchmarks/sweep.py VOLUME... --row METHOD [ENTRY=VALUE ...] [--row ...] [OPTIONS of monai-iscs benchmark]

Each row is a method of `monai-iscs benchmark` with changed entries of ``inference.json``; a value is JSON, or text:

    python benchmarks/sweep.py VOLUME --bundle body_ct_reconstruction --slices 24 --output DIR \\
        --row dds+iscs --row dds+iscs steps=30 --row dds+iscs recipes::default::rule::momentum=0.7

`rule.`, `solver.` and the other short names below stand for the chosen recipe's parts, such as `rule.momentum=0.7`.
`--like lesions` and `--like image-quality` insert those suites' spheres and measure what they measure.
A killed sweep goes on where it stopped, and further rows are added to the finished ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from monai_iscs.cli.entry import main as monai_iscs
from monai_iscs.methods import PRIORS, parse_method
from monai_iscs.studies.suites import SUITES, Row, method_row

PRIOR = "prior::prior::prior"  # inside NonNegative and Mirrored
SHORT = {
    "sigmas.": "sigmas::",
    "rule.": "rule::",
    "overstated.": f"{PRIOR}::",
    "consistency.": "consistency::",
    "solver.": "consistency::solver::",
    "tv.": "samplers::dds+tv::",
    "ddnm.": "samplers::ddnm::",
}


def row(words: list[str], recipe: str) -> Row:
    """A row from `METHOD ENTRY=VALUE ...`; its label has all of them."""
    method, *entries = words
    return Row(
        label=" ".join(words),
        method=parse_method(method).name,
        noise=method_row(parse_method(method)).noise,
        changes=dict(_change(entry, recipe, parse_method(method).name) for entry in entries),
    )


def _change(text: str, recipe: str, method: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name.startswith("overstated.") and method in PRIORS:
        if method != "diffusionblend":
            raise SystemExit(f"--row {method} {text}: found a short name of two priors, expected their whole paths")
        name = name.replace("overstated.", f"recipes::{recipe}::priors::{method}::prior::prior::")
    for short, path in SHORT.items():
        if name.startswith(short):
            name = f"recipes::{recipe}::{path}{name.removeprefix(short)}"
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", nargs="+", required=True, metavar="METHOD ENTRY=VALUE")
    parser.add_argument("--recipe", default="default", help="the recipe that short names stand for")
    parser.add_argument(
        "--like", default="table1", choices=sorted(SUITES), help="suite: its columns, and what it inserts"
    )
    arguments, others = parser.parse_known_args()
    rows = [row(words, arguments.recipe) for words in arguments.row]
    SUITES["sweep"] = replace(SUITES[arguments.like], title="Sweep", rows=lambda _: rows, seeds=1, own=False)
    return monai_iscs(["benchmark", *others, "--recipe", arguments.recipe, "--suite", "sweep"])


if __name__ == "__main__":
    sys.exit(main())
