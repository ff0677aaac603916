# SPDX-License-Identifier: Apache-2.0
"""Scans by XCIST (gecatsim), polychromatic and noisy, reconstructed by the command: HU, and what beam hardening leaves.

    pip install gecatsim  # benchmarks/results/xcist.md says what to do where that fails
    python benchmarks/xcist.py VOLUME --output FOLDER [--slices 24] [--views 60] [--methods fdk dds+iscs]

The scanner: flat detector of 20 x 280 pixels of 2 mm, source to isocentre 1,000 mm, source to detector 1,500 mm, a full
circle; tungsten tube at 120 kVp behind 3 mm of aluminium, 50 mAs over all views; 0.6 mm of CsI that integrates energy;
quantum and electronic noise, no scatter. Two phantoms: a cylinder of water (30 cm) with rods of fat, muscle and bone,
which XCIST projects analytically; and the middle slices of VOLUME (CT in HU) as mixtures of fat, muscle and cortical
bone, on the file's grid.

Each is scanned with one energy, the effective one of the spectrum (the control: whatever differs from the truth is the
reconstruction's), and with the spectrum. The latter is reconstructed as it is, with `--water` from a slab of 200 mm,
and with `--beam-hardening`, fitted to slabs of water that XCIST measures. The truth is the HU of thin pieces of each
material in the spectrum as it arrives behind 250 mm of water. Means are over regions away from borders. Cupping: the
error of water or muscle deep in the body, minus that near its surface.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import gecatsim
import numpy as np
import torch
from gecatsim.pyfiles.C_set_random_seed import C_set_random_seed
from gecatsim.pyfiles.GetMu import GetMu
from scipy import ndimage

from monai_iscs import (
    ConeBeamGeometry,
    correct_beam_hardening,
    fit_water_correction,
    read_projections,
    write_projections,
)
from monai_iscs.cli import main as command
from monai_iscs.grid import Grid
from monai_iscs.reports import markdown_table
from monai_iscs.scans.meta import grid_of
from monai_iscs.transforms import LoadVolume, regrid

NEAR, FAR = 1000.0, 1500.0  # mm, source to isocentre and to detector
ROWS, COLUMNS, PITCH = 20, 280, 2.0  # of the detector; mm
MAS = 50.0  # of the whole scan
SLABS = (20.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 400.0)  # mm of water
ONE_SLAB, BEHIND = 200.0, 250.0  # mm of water: for `--water` without a correction; before the truth
WATER = 0.02  # per mm, of corrected line integrals
FAT, MUSCLE, BONE = "ICRU_adipose_adult2", "ICRU_muscle_adult", "ICRU_skeleton_cortical_bone_adult"
MATERIALS = ("water", FAT, MUSCLE, BONE)
RADIUS, LENGTH = 150.0, 200.0  # of the cylinder, mm
RODS = {  # x, y, radius in mm; share of the density
    FAT: (-80.0, 0.0, 25.0, 1.0),
    MUSCLE: (0.0, -80.0, 25.0, 1.0),
    BONE: (80.0, 0.0, 20.0, 0.7),
}
PIXEL, SIDE, THICKNESS = 2.5, 140, 2.5  # mm; of the reconstructed slices
SHOWN = 20.0  # mm along z that all views see


@dataclass(frozen=True)
class Phantom:
    """What is scanned.

    Attributes:
        grid: of the truth.
        shares: of the density of each of `MATERIALS`, (material, X, Y, Z).
        settings: XCIST's names of its phantom's settings, and their values.
    """

    grid: Grid
    shares: np.ndarray
    settings: dict[str, object]

    def truth(self, attenuation: np.ndarray) -> np.ndarray:
        """HU of each voxel, by the attenuation of the materials."""
        return 1000 * (np.einsum("m,mxyz->xyz", attenuation / attenuation[0], self.shares) - 1)


class Spectrum:
    """What XCIST's detector sees: energies in keV, their shares of the signal in air, attenuations per mm."""

    def __init__(self, folder: Path) -> None:
        cfg = scanner(folder / "air", views=1).air_scan()
        middle = len(cfg.detFlux) // 2
        response = np.broadcast_to(cfg.sim.Wvec, cfg.detFlux.shape)[middle]
        signal = (cfg.detFlux[middle] * response * cfg.sim.Evec).astype(np.float64)
        self.energies, self.signal = np.asarray(cfg.sim.Evec, np.float64), signal / signal.sum()
        hardened = self.signal * np.exp(-BEHIND * attenuations(self.energies)[0])
        self.behind_water = attenuations(self.energies) @ hardened / hardened.sum()
        energies = np.linspace(40, 110, 1401)
        falling = attenuations(energies)[0]
        self.effective = float(np.interp(-self.behind_water[0], -falling, energies))

    def rod(self, coefficients: tuple[float, ...]) -> float:
        """HU that a corrected ray through the diameter of the rod of bone and the cylinder gives to the rod."""
        _, _, radius, density = RODS[BONE]
        water, bone = attenuations(self.energies)[[0, 3]]
        paths = [2 * (RADIUS - radius) * water + share * 2 * radius * density * bone for share in (0, 1)]
        rays = torch.tensor([-np.log(self.signal @ np.exp(-path)) for path in paths])[None]
        without, with_bone = correct_beam_hardening(rays, coefficients)[0].tolist()
        return 1000 * ((with_bone - without) / (WATER * 2 * radius) - 1)


def attenuations(energies: np.ndarray) -> np.ndarray:
    """Of each of `MATERIALS` per mm, (material, energy)."""
    return np.stack([np.asarray(GetMu(name, energies), np.float64) / 10 for name in MATERIALS])


def scanner(name: Path, *, views: int, energy: float | None = None, slab: float = 0.0) -> gecatsim.CatSim:
    """XCIST's settings; `slab` is mm of water before the detector."""
    ct = gecatsim.CatSim()
    ct.resultsName = str(name)
    scan, physics, protocol = ct.scanner, ct.physics, ct.protocol
    scan.detectorCallback, physics.FlatPanel_OSfactor = "Detector_FlatPanel", 1
    scan.sid, scan.sdd, scan.detectorColSize, scan.detectorRowSize = NEAR, FAR, PITCH, PITCH
    scan.detectorColCount = scan.detectorColsPerMod = COLUMNS
    scan.detectorRowCount = scan.detectorRowsPerMod = ROWS
    scan.detectorColOffset = scan.detectorRowOffset = 0.0
    scan.detectorMaterial, scan.detectorDepth = "CsI", 0.6
    scan.detectorPrefilter = ["Al", 1.0, *(["water", slab] if slab else [])]
    scan.focalspotShape, scan.focalspotWidth, scan.focalspotLength = "Uniform", 0.6, 0.6
    physics.viewSampleCount = 1
    physics.energyCount, physics.monochromatic = 50, energy or -1
    protocol.spectrumFilename, protocol.bowtie, protocol.flatFilter = "tungsten_tar7.0_120_filt.dat", [], ["Al", 3.0]
    protocol.viewsPerRotation = protocol.viewCount = views
    protocol.stopViewId, protocol.mA, protocol.rotationTime = views - 1, MAS, 1.0
    ct.phantom.projectorNumThreads = 2
    return ct


def views_of(ct: gecatsim.CatSim) -> ConeBeamGeometry:
    """XCIST's circle in its own frame: the source starts at +y and goes towards -x; z is the axis."""
    angle = 2 * np.pi * np.arange(ct.protocol.viewCount) / ct.protocol.viewsPerRotation
    zero = np.zeros_like(angle)
    out = np.stack([-np.sin(angle), np.cos(angle), zero], 1)
    along = np.stack([np.cos(angle), np.sin(angle), zero], 1)
    up = np.tile([0.0, 0.0, PITCH], (len(angle), 1))
    return ConeBeamGeometry(
        source=NEAR * out, detector=(NEAR - FAR) * out, u=PITCH * along, v=up, detector_shape=(ROWS, COLUMNS)
    )


def raw(ct: gecatsim.CatSim, kind: str) -> np.ndarray:
    """XCIST's electrons, (view, v, u)."""
    return np.fromfile(f"{ct.resultsName}.{kind}", np.float32).reshape(-1, ROWS, COLUMNS)


def slab_line_integrals(folder: Path) -> list[float]:
    """Of the central ray through each of `SLABS`."""
    signals = []
    for slab in (0.0, *SLABS):
        ct = scanner(folder / "slab", views=1, slab=slab)
        ct.air_scan(doPrint=False)
        signals.append(float(raw(ct, "air")[0, ROWS // 2, COLUMNS // 2]))
    return list(-np.log(np.array(signals[1:]) / signals[0]))


def scan(phantom: Phantom, target: Path, views: int, energy: float | None) -> None:
    """Writes line integrals and RTK's geometry, which the command reads."""
    ct = scanner(target.with_suffix(""), views=views, energy=energy)
    for name, value in phantom.settings.items():
        setattr(ct.phantom, name, value)
    np.random.seed(0)  # of XCIST's electronic noise
    C_set_random_seed(ct.cfg, 1, 2)
    ct.protocol.scanTypes = [1, 1, 1, 0]
    ct.run_all()
    counts = target.with_suffix(".npy")
    np.save(counts, raw(ct, "scan"))
    flat, dark = raw(ct, "air"), raw(ct, "offset")
    projections = read_projections(counts, geometry=views_of(ct), kind="counts", flat=flat, dark=dark)
    print(f"{target.name}: line integrals up to {projections.data.max():.2f}", *projections.notes, flush=True)
    write_projections(projections, target)


def cylinder(folder: Path) -> Phantom:
    """Water with rods, analytically; the truth on voxels of 1 mm."""
    parts = [("water", (0.0, 0.0, RADIUS, 1.0)), *RODS.items()]
    lines = [f"materialList = {{{' '.join(repr(name) for name in MATERIALS)}}};", ""]
    grid = Grid.centered((310, 310, int(SHOWN)), (1.0, 1.0, 1.0))
    x, y = np.meshgrid(*[np.arange(310) - 154.5] * 2, indexing="ij")
    shares = np.zeros((len(MATERIALS), 310, 310))
    for index, (material, (at_x, at_y, radius, density)) in enumerate(parts, 1):
        number = MATERIALS.index(material)
        inside = (x - at_x) ** 2 + (y - at_y) ** 2 <= radius**2
        shares[:, inside] = 0  # later parts replace earlier ones, in XCIST too
        shares[number, inside] = density
        values = {
            "center": f"[{at_x} {at_y} 0.0]",
            "half_axes": f"[{radius} {radius} {LENGTH / 2}]",
            "euler_angs": "[0.0 0.0 0.0]",
            "density": density,
            "type": 2,
            "material": number + 1,
            "axial_lims": "[0 0]",
            "shape": 0,
        }
        lines += [f"object.{name}({index}{',:' * ('[' in str(value))}) = {value};" for name, value in values.items()]
        lines += [f"object.clip{{{index}}} = [];", ""]
    file = folder / "cylinder.ppm"
    file.write_text("\n".join(lines))
    names = {"callback": "Phantom_Analytic", "projectorCallback": "C_Projector_Analytic", "filename": str(file)}
    return Phantom(grid, np.repeat(shares[..., None], int(SHOWN), 3), names)


def anatomy(volume: Path, slices: int, attenuation: np.ndarray, folder: Path) -> Phantom:
    """The middle slices of a CT: each voxel a mixture of two neighbours of air, fat, muscle, bone with the file's HU.

    Args:
        volume: CT in HU.
        slices: how many.
        attenuation: of `MATERIALS`, at the energy at which the mixture has the file's HU.
        folder: to write XCIST's files to.
    """
    image = LoadVolume()(volume)
    first = (image.shape[3] - slices) // 2
    relative = np.clip(image.as_tensor()[0, ..., first : first + slices].double().numpy() / 1000 + 1, 0, None)
    relative[relative < 0.05] = 0
    fat, muscle, bone = attenuation[1:] / attenuation[0]
    of_muscle = np.clip((relative - fat) / (muscle - fat), 0, 1)
    of_bone = np.clip((relative - muscle) / (bone - muscle), 0, None)
    of_fat = np.minimum(relative / fat, 1) * (1 - of_muscle)
    lung = relative < 0.8  # thin muscle, as lung is
    of_muscle = np.where(lung, relative / muscle, of_muscle * (1 - of_bone))
    shares = np.stack([np.zeros_like(relative), of_fat * ~lung, of_muscle, of_bone])
    spacing = np.abs(np.diagonal(np.asarray(image.affine))[:3])
    described = {"n_materials": 3, "mat_name": MATERIALS[1:], "volumefractionmap_datatype": ["float"] * 3}
    described["volumefractionmap_filename"] = [f"share_{number}.raw" for number in range(3)]
    names = (("cols", "x"), ("rows", "y"), ("slices", "z"))
    for (count, axis), n, step in zip(names, relative.shape, spacing.tolist(), strict=True):
        described |= {count: [n] * 3, f"{axis}_size": [step] * 3, f"{axis}_offset": [(n + 1) / 2] * 3}
    for name, share in zip(described["volumefractionmap_filename"], shares[1:], strict=True):
        share[:, ::-1].astype(np.float32).transpose(2, 1, 0).tofile(folder / name)  # XCIST's rows run towards -y
    file = folder / "anatomy.json"
    file.write_text(json.dumps(described))
    names = {"callback": "Phantom_Voxelized", "projectorCallback": "C_Projector_Voxelized", "filename": str(file)}
    return Phantom(Grid.centered(relative.shape, tuple(spacing.tolist())), shares, names)


def regions(phantom: Phantom) -> dict[str, np.ndarray]:
    """Where means are taken: 4 mm away in the slice from other materials, and where all views see."""
    middle = np.abs(np.arange(phantom.grid.shape[2]) - (phantom.grid.shape[2] - 1) / 2) * phantom.grid.spacing[2]
    chosen, pixel = middle < SHOWN / 2 - 3, phantom.grid.spacing[:2]
    found = {}
    for name, share in zip(("water", "fat", "muscle", "bone"), phantom.shares, strict=True):
        mostly = share > (0.15 if name == "bone" else 0.6)
        deep = [ndimage.distance_transform_edt(part, sampling=pixel) > 4 for part in np.moveaxis(mostly, 2, 0)]
        inside = np.stack(deep, 2) & chosen
        if inside.sum() > 100:
            found[name] = inside
    return found


def depth(phantom: Phantom) -> np.ndarray:
    """Mm from the surface of the body, in the slice."""
    body = np.moveaxis(phantom.shares.sum(0) > 0.6, 2, 0)
    filled = [ndimage.binary_fill_holes(part) for part in body]
    padded = [np.pad(part, 1) for part in filled]
    away = [ndimage.distance_transform_edt(part, sampling=phantom.grid.spacing[:2])[1:-1, 1:-1] for part in padded]
    return np.stack(away, 2)


def measured(phantom: Phantom, truth: np.ndarray, result: np.ndarray) -> dict[str, str]:
    """Mean HU in each region and its error, and the cupping."""
    where, error, row = regions(phantom), result - truth, {}
    for name, inside in where.items():
        row[name] = f"{result[inside].mean():.0f} ({error[inside].mean():+.0f})"
    tissue, far = where["water" if "water" in where else "muscle"], depth(phantom)
    inner, outer = (error[tissue & part].mean() for part in (far > 80, far < 35))
    return {**row, "cupping": f"{inner - outer:+.0f}"}


def main() -> None:
    """Scans, reconstructs, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path, help="CT in HU")
    parser.add_argument("--output", type=Path, required=True, help="folder for scans, results and the table")
    parser.add_argument("--slices", type=int, default=24, help="from the middle of the volume")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--methods", nargs="+", default=["fdk", "dds+iscs"])
    parser.add_argument("--phantoms", nargs="+", default=["cylinder", "anatomy"], choices=["cylinder", "anatomy"])
    given = parser.parse_args()
    folder = given.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    spectrum = Spectrum(folder)
    slabs = slab_line_integrals(folder)
    corrected = fit_water_correction(SLABS, slabs, water=WATER)
    at_effective = attenuations(np.array([spectrum.effective]))[:, 0]
    of_slab = float(np.interp(ONE_SLAB, SLABS, slabs)) / ONE_SLAB
    print(f"effective energy behind {BEHIND:.0f} mm of water: {spectrum.effective:.1f} keV")
    print(f"water there: {at_effective[0]:.5f} /mm; in a slab of {ONE_SLAB:.0f} mm: {of_slab:.5f} /mm")
    print("in slabs:", ", ".join(f"{p / mm:.5f} ({mm:.0f} mm)" for p, mm in zip(slabs, SLABS, strict=True)))
    print("--beam-hardening", ",".join(f"{value:.6g}" for value in corrected))
    print(f"the rod of bone, by the spectrum and the correction alone: {spectrum.rod(corrected):.0f} HU")
    correction = ["--beam-hardening", ",".join(map(repr, corrected))]
    cases = {
        f"{spectrum.effective:.0f} keV": ("one", at_effective, ["--water", repr(float(at_effective[0]))]),
        "120 kVp": ("many", spectrum.behind_water, ["--water", repr(of_slab)]),
        "120 kVp, corrected": ("many", spectrum.behind_water, ["--water", repr(WATER), *correction]),
    }
    rows = []
    for name in given.phantoms:
        phantom = cylinder(folder) if name == "cylinder" else anatomy(given.volume, given.slices, at_effective, folder)
        for energies in ("one", "many"):
            start = time.perf_counter()
            energy = spectrum.effective if energies == "one" else None
            scan(phantom, folder / f"{name}_{energies}.mha", given.views, energy)
            print(f"{name}, {energies}: {time.perf_counter() - start:.0f} s in XCIST", flush=True)
        for title, (energies, attenuation, options) in cases.items():
            truth = phantom.truth(attenuation)
            if title != "120 kVp, corrected":
                means = {part: f"{truth[inside].mean():.0f}" for part, inside in regions(phantom).items()}
                rows.append({"phantom": name, "beam": title, "method": "truth", **means})
            for method in given.methods:
                target = folder / f"{name}_{title.replace(' ', '_').replace(',', '')}_{method}"
                shape = [SIDE, SIDE, round(SHOWN / THICKNESS)]
                arguments = ["reconstruct", folder / f"{name}_{energies}.mha", "--bundle", "body_ct_reconstruction"]
                arguments += ["--method", method, "--output", target, *options, "--center", 0, 0, 0]
                arguments += ["--spacing", PIXEL, PIXEL, THICKNESS, "--shape", *shape]
                start = time.perf_counter()
                if command([*map(str, arguments)]):
                    raise SystemExit(f"{target}: the command failed")
                seconds = time.perf_counter() - start
                image = LoadVolume()(target / "reconstruction.nii.gz")
                result = regrid(image.as_tensor().to(torch.float64), grid_of(image), phantom.grid)[0].numpy()
                row = measured(phantom, truth, result)
                rows.append({"phantom": name, "beam": title, "method": method, **row, "seconds": f"{seconds:.0f}"})
                print(rows[-1], flush=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = markdown_table([{column: row.get(column, "") for column in columns} for row in rows])
    (folder / "table.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
