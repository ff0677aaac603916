# SPDX-License-Identifier: Apache-2.0
"""The three-view figure of a reconstruction and the curve of its error along the slice axis."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from monai_iscs.errors import InputError
from monai_iscs.metrics import VIEWS, psnr_per_slice

PANEL = 3.2  # inches: width of a panel
YELLOW = "#ffd75f"
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}  # axes of a RAS volume across and up a panel
EDGES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "H", "F"), "sagittal": ("A", "P", "H", "F")}


class ColouredMap(NamedTuple):
    """A map to draw in colours beside the volumes.

    Attributes:
        volume: (X, Y, Z), on the grid of the volumes, at least 0.
        label: of its colour bar.
        top: value of the last colour; None: what 1 % of the voxels exceed.
    """

    volume: torch.Tensor
    label: str
    top: float | None = None


def _plain(volume: torch.Tensor) -> np.ndarray:
    """(X, Y, Z) array of a volume with or without leading axes of length one."""
    array = np.asarray(volume.detach().cpu(), dtype=np.float32)
    if array.ndim < 3 or array.size != np.prod(array.shape[-3:]):
        raise InputError(f"volumes: found shape {array.shape}, expected one volume (X, Y, Z)")
    return array.reshape(array.shape[-3:])


def _slice(volume: np.ndarray, view: str, index: int) -> np.ndarray:
    """One slice of a RAS volume as rows from the top and columns from the left, in radiological orientation.

    Axial and coronal: the patient's right on the left. Axial: anterior on top. Coronal, sagittal: head on top.
    Sagittal: anterior on the left. In a RAS volume the indices grow to the right, anterior and head: both axes of a
    panel are drawn reversed.
    """
    plane = volume.take(index, axis=VIEWS[view])
    return plane.T[::-1, ::-1]


def three_view_figure(
    volumes: Mapping[str, torch.Tensor],
    reference: torch.Tensor | None,
    spacing: Sequence[float],
    path: str | os.PathLike[str],
    *,
    window: tuple[float, float] = (-160.0, 240.0),
    error_window: float = 100.0,
    unit: str = "HU",
    tissue: float = -300.0,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    maps: Mapping[str, ColouredMap] | None = None,
    title: str | None = None,
) -> None:
    """Draw axial, coronal and sagittal slices of the reference, the volumes, the last volume's error, and maps.

    The slices go through the centre of the patient's tissue, in radiological orientation, in true proportions.

    Args:
        volumes: name -> (X, Y, Z) volume in `unit`, RAS, in the order of the columns: the start first, the result last.
        reference: the truth on the same grid, or None: then neither its column nor the error's is drawn.
        spacing: voxel size along x, y, z in mm.
        path: file to write; its ending selects the format.
        window: values shown as black and white.
        error_window: error at the ends of the error's colour bar.
        unit: of the volumes, for the colour bars.
        tissue: voxels above this decide which slices are shown.
        metrics: name -> result of `monai_iscs.metrics.summarise`; its PSNR is written into the panels.
        maps: name -> map, one column each, after the others.
        title: line above the figure.

    Raises:
        InputError: if the shapes differ or there is nothing to draw.
    """
    columns = {name: _plain(volume) for name, volume in volumes.items()}
    if not columns:
        raise InputError("volumes: found none, expected at least one to draw")
    truth = None if reference is None else _plain(reference)
    *_, result = columns
    if truth is not None:
        columns = {"reference": truth, **columns}
    coloured = {name: _plain(entry.volume) for name, entry in (maps or {}).items()}
    shapes = {volume.shape for volume in [*columns.values(), *coloured.values()]}
    if len(shapes) != 1:
        raise InputError(f"volumes: found shapes {sorted(shapes)}, expected one grid")
    (shape,) = shapes
    centre = _centre(columns[result] if truth is None else truth, tissue)
    sizes = {view: [shape[axis] * spacing[axis] for axis in axes] for view, axes in PLANES.items()}  # mm
    heights = [max(0.25, high / max(wide for wide, _ in sizes.values())) for _, high in sizes.values()]

    first_map = len(columns) + (truth is not None)
    count = first_map + len(coloured)
    figure = Figure((PANEL * count + 0.3, PANEL * sum(heights) + 1.2), facecolor="black", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, count, squeeze=False, gridspec_kw={"height_ratios": heights})
    grey = errors = None
    drawn_maps: dict[str, Any] = {}
    for row, (view, (wide, high)) in enumerate(PLANES.items()):
        drawn = {"aspect": spacing[high] / spacing[wide], "interpolation": "bilinear"}
        for column, (name, volume) in enumerate(columns.items()):
            axis = axes[row, column]
            plane = _slice(volume, view, centre[VIEWS[view]])
            grey = axis.imshow(plane, cmap="gray", vmin=window[0], vmax=window[1], **drawn)
            if row == 0:
                axis.set_title(name, color="white", fontsize=11)
            if metrics and name in metrics and metrics[name][view]["psnr"] is not None:
                label = f"{metrics[name][view]['psnr']:.1f} dB"
                _annotate(axis, label, (1, 0), (-4, 5), color="white", fontsize=10, ha="right")
        if truth is not None:
            plane = _slice(columns[result] - truth, view, centre[VIEWS[view]])
            axis = axes[row, len(columns)]
            errors = axis.imshow(plane, cmap="RdBu_r", vmin=-error_window, vmax=error_window, **drawn)
            if row == 0:
                axis.set_title(f"{result} \N{MINUS SIGN} reference", color="white", fontsize=11)
        for column, (name, volume) in enumerate(coloured.items(), start=first_map):
            top = maps[name].top or float(np.quantile(volume, 0.99)) or 1.0  # a map of zeros has a scale, too
            plane, axis = _slice(volume, view, centre[VIEWS[view]]), axes[row, column]
            drawn_maps[name] = axis.imshow(plane, cmap="inferno", vmin=0, vmax=top, **drawn)
            if row == 0:
                axis.set_title(name, color="white", fontsize=11)
        axes[row, 0].set_ylabel(view, color="white", fontsize=11)
        _mark_edges(axes[row, 0], view)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor("black")
        for spine in axis.spines.values():
            spine.set_visible(False)
    _colour_bar(figure, grey, axes[:, : len(columns)], f"{unit}, window {window[0]:g} to {window[1]:g}")
    if errors is not None:
        _colour_bar(figure, errors, axes[:, len(columns) : first_map], f"error, {unit}")
    for column, (name, image) in enumerate(drawn_maps.items(), start=first_map):
        _colour_bar(figure, image, axes[:, column : column + 1], maps[name].label)
    if title:
        figure.suptitle(title, color="white", fontsize=12)
    figure.savefig(path, dpi=120, facecolor="black", bbox_inches="tight")


def _centre(volume: np.ndarray, tissue: float) -> list[int]:
    """Index of the centre of the voxels above `tissue`, or of the grid if there are none."""
    body = np.argwhere(volume > tissue)
    return [n // 2 for n in volume.shape] if len(body) == 0 else [round(c) for c in body.mean(0).tolist()]


def _mark_edges(axis: Any, view: str) -> None:
    """Letters for the sides of the patient at the edges of a panel."""
    left, right, top, bottom = EDGES[view]
    for letter, x, y in ((left, 0, 0.5), (right, 1, 0.5), (top, 0.5, 1), (bottom, 0.5, 0)):
        _annotate(axis, letter, (x, y), (9 * (1 - 2 * x), 9 * (1 - 2 * y)), color=YELLOW, ha="center", va="center")


def _annotate(axis: Any, text: str, corner: tuple[float, float], points: tuple[float, float], **style: Any) -> None:
    """Text at an offset in points from a place in the panel, readable on black and on white."""
    outline = [withStroke(linewidth=2, foreground="black")]
    axis.annotate(text, corner, points, "axes fraction", "offset points", path_effects=outline, **style)


def _colour_bar(figure: Figure, image: Any, axes: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", location="bottom", shrink=0.8, aspect=40, pad=0.01)
    bar.set_label(label, color="white", fontsize=9)
    bar.ax.tick_params(colors="white", labelsize=8)


def psnr_curve(
    volumes: Mapping[str, torch.Tensor],
    reference: torch.Tensor,
    spacing: Sequence[float],
    path: str | os.PathLike[str],
    *,
    axis: int = 2,
) -> None:
    """Draw the PSNR of every slice against its distance from the middle of the volume (for the cone beam: |z|).

    Args:
        volumes: name -> (X, Y, Z) volume, in the units of the reference.
        reference: the truth on the same grid.
        spacing: voxel size along x, y, z in mm.
        path: file to write.
        axis: axis that the slices stack along.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    truth = torch.from_numpy(_plain(reference))
    position = (np.arange(truth.shape[axis]) - (truth.shape[axis] - 1) / 2) * spacing[axis]
    for name, volume in volumes.items():
        values = psnr_per_slice(torch.from_numpy(_plain(volume)), truth, axis).numpy()
        axes.plot(position, values, marker=".", label=name)
    axes.set_xlabel(f"{'xyz'[axis]} from the middle of the volume, mm")
    axes.set_ylabel("PSNR of the slice, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
