# SPDX-License-Identifier: Apache-2.0
"""The rows of a benchmark's table, and suites of rows for the paper's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from monai_iscs.errors import InputError
from monai_iscs.methods import Method, parse_method

if TYPE_CHECKING:  # the command line reads the suites' names before it needs the rest
    from monai_iscs.workflows.pipeline import Pipeline

OWN = "own"  # method and noise of a row: the bundle's own


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Attributes:
        label: its name in the table.
        method: the name of a `Method`, or `OWN`.
        noise: its noise, or `OWN`; None for a baseline.
        changes: entries of the bundle's inference config that this row changes.
        thickness: slice thickness in mm to which the volume is resampled first, or None.
    """

    label: str
    method: str
    noise: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    thickness: float | None = None


@dataclass(frozen=True, kw_only=True)
class LesionPlan:
    """Spheres to insert before the measurement, see `InsertLesions`; values in HU."""

    diameters: tuple[float, ...] = (4.0, 6.0, 8.0, 12.0)
    contrasts: tuple[float, ...] = (40.0, -40.0)
    tissue: tuple[float, float] = (-50.0, 250.0)
    repeats: int = 3


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The rows and the layout of one of the paper's tables.

    Attributes:
        title: of the table.
        rows: from the names of the bundle's baselines.
        layout: "views" (the metrics of each view), "slices" (the slice difference, Table 3), "lesions" or "quality".
        legend: what the columns are.
        seeds: runs of each stochastic row, as many as in the paper if it says so.
        lesions: what to insert into each volume before it is measured, or None.
        edges: spheres of bone to insert before the lesions, for the noise power, MTF and ring correlation, or None.
        own: whether the bundle's own method is a row, too, if it is not one already.
        over: configs of the bundle that it needs.
    """

    title: str
    rows: Callable[[Sequence[str]], list[Row]]
    layout: str = "views"
    legend: str = "PSNR in dB, SSIM at most 1"
    seeds: int = 1
    lesions: LesionPlan | None = None
    edges: LesionPlan | None = None
    own: bool = False
    over: tuple[str, ...] = ()

    def rows_for(self, pipeline: Pipeline) -> list[Row]:
        """The rows for a bundle."""
        rows = self.rows(pipeline.baselines)
        if self.own:
            own = pipeline.sampler().recipe
            named = [Method(row.method, row.noise) for row in rows if row.noise is not None]
            if own.as_dict() not in [pipeline.sampler(method).recipe.as_dict() for method in named]:
                rows.append(Row(label=f"{own.label}, the bundle's", method=OWN, noise=OWN))
        return rows


def method_row(method: Method) -> Row:
    """The row of a method with the bundle's settings."""
    return Row(label=method.label, method=method.name, noise=method.noise)


def compared(methods: Sequence[Method]) -> Suite:
    """A suite of methods with the bundle's settings.

    Raises:
        InputError: a method twice.
    """
    for method in methods:
        if methods.count(method) > 1:
            raise InputError(f"--methods: found {method.label} twice, expected each method once")
    return Suite(title="Compared methods", rows=lambda _: [method_row(method) for method in methods])


def _rows(*methods: str) -> list[Row]:
    return [method_row(parse_method(method)) for method in methods]


def _varied(method: str, label: str, values: Sequence[Any], changes: Callable[[Any], dict[str, Any]]) -> list[Row]:
    (base,) = _rows(method)
    return [replace(base, label=f"{base.label}, {label.format(value)}", changes=changes(value)) for value in values]


def _compared(baselines: Sequence[str]) -> list[Row]:
    return _rows(*baselines, "ddnm", "ddnm+iscs", "dds", "dds+tv", "dds+iscs")


def _angle(degrees: float) -> dict[str, Any]:
    return {"plugs": {"noise": {"_target_": "monai_iscs.sampling.SlerpNoise", "anchor_angle": degrees}}}


def _thicknesses(_: Sequence[str]) -> list[Row]:
    return [
        replace(row, label=f"{row.label}, {mm:g} mm", thickness=mm)
        for mm in (1.0, 3.0, 5.0, 7.5)
        for row in _rows("dds", "dds+iscs")
    ]


def _three_dimensional(_: Sequence[str]) -> list[Row]:
    rows = _rows("dds", "dds+iscs", "tpdm", "tpdm+iscs", "diffusionblend", "diffusionblend+iscs")
    thick = [row for row in rows if row.method != "tpdm"]  # it needs thin slices
    return rows + [replace(row, label=f"{row.label}, 5 mm", thickness=5.0) for row in thick]


SUITES: dict[str, Suite] = {
    "table1": Suite(title="Compared methods (Table 1)", rows=_compared),
    "table2": Suite(
        title="Identical (BCS) and Slerp (ISCS) noise (Table 2)",
        rows=lambda _: _rows("dds", "dds+identical-steps", "dds+identical", "dds+iscs"),
        seeds=5,
    ),
    "table3": Suite(title="Slice-to-slice difference (Table 3)", rows=_compared, layout="slices"),
    "table4": Suite(title="Priors that know three dimensions (Table 4)", rows=_three_dimensional),
    "table5": Suite(
        title="Priors that know three dimensions, limited angle (Table 5)",
        rows=_three_dimensional,
        over=("limited_angle",),
    ),
    "table6": Suite(
        title="Deterministic sampling (Table 6)",
        rows=lambda _: [row for m in ("dds", "dds+iscs") for row in _varied(m, "eta {}", [0], lambda v: {"eta": v})],
    ),
    "table7": Suite(
        title="Stochasticity (Table 7)",
        rows=lambda _: _varied("dds+iscs", "eta {}", [n / 10 for n in range(11)], lambda value: {"eta": value}),
    ),
    "table8": Suite(
        title="Angle between the anchors (Table 8)",
        rows=lambda _: _varied("dds+iscs", "{} degrees", (30, 60, 90, 120, 150, 175), _angle),
        seeds=10,
    ),
    "table9": Suite(title="Slice thicknesses (Table 9)", rows=_thicknesses),
    "lesions": Suite(
        title="Known lesions of 4 to 12 mm and 40 HU (for Fig. 6)",
        rows=lambda baselines: _rows(*baselines, "dds", "dds+tv", "dds+iscs"),
        layout="lesions",
        lesions=LesionPlan(),
    ),
    "image-quality": Suite(
        title="Noise power, resolution, contrast of known lesions and agreement with the truth",
        rows=lambda baselines: _rows(*(name for name in baselines if name != "sirt"), "dds", "dds+iscs"),
        layout="quality",
        legend="Error in soft tissue: its standard deviation and its noise power spectrum's mean frequency. MTF 50 %: "
        "at the edges of spheres of 16 mm and 500 HU. Kept: share of the contrast of spheres of each contrast and "
        "diameter (1: all), mean of four. sFRC: share of suspect patches, which agree with the truth on structures "
        "above 4 mm only or not at all, and the median frequency up to which patches agree",
        lesions=LesionPlan(contrasts=(40.0, -40.0, 100.0, -100.0), repeats=2),
        edges=LesionPlan(diameters=(16.0,), contrasts=(500.0,), tissue=(-150.0, 250.0)),
        own=True,
    ),
}
