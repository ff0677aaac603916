# SPDX-License-Identifier: Apache-2.0
"""Descriptions of the program and its verbs for ``--help``."""

from __future__ import annotations

DESCRIPTION = """\
Reconstructs 3D medical images from incomplete measurements. A diffusion model that has learnt what 2D slices of a body
look like fills in what was not measured; inter-slice consistent noise (ISCS) keeps the slices together.
A research tool: not for diagnosis."""

TRUST = "A bundle is code: its configs can run any program as you. Run only those that you trust."

RECONSTRUCT = """\
Reconstructs a volume from a scanner's projections (CT), or simulates a scan of a known volume (CT: few X-ray views; MRI
with --factor: thick slices) and reconstructs the volume from that scan alone. MRI without --factor: INPUT is a scan of
thick axial slices, which becomes isotropic.

What goes in:   INPUT, projections with their geometry (beside them, in them, or by --geometry); or a CT volume in
                Hounsfield units or an MR volume: NIfTI, NRRD or MHA, or a folder with the DICOM files of one series. A
                volume takes the patient's place: only its simulated measurement reaches the method, and the volume
                itself is used again only at the end, to measure the error. Several inputs, or a folder of them, have a
                folder each in the output; the same command does only what is missing.
What comes out: a folder with reconstruction.nii.gz (units and grid of INPUT; of thick slices 1 mm isotropic; of
                projections HU in the patient's frame), preview.png (three views), metrics.json (PSNR and
                SSIM of each view, slice difference; on INPUT's own grid, as evaluate gives them; not where nobody knows
                the truth), seen.nii.gz (of projections: how much of its views saw each voxel), run.json (every setting,
                versions, seconds, memory) and, with --dicom, the folder dicom."""

METHODS = """\
Methods:        SAMPLER[+tv][+NOISE], with a model, or fdk, helical-fbp, sirt, admm-tv, cubic (MRI), without one.
                SAMPLER is dds or ddnm; +tv (dds only, also written dds-tv) adds total variation along the slices.
                NOISE is iscs (or slerp: inter-slice consistent), identical or identical-steps (batch-consistent),
                kernel (similar within some mm) or noiseless (none: deterministic).
                Without NOISE every slice draws independent noise, and corrections are not smoothed across slices unless
                --smoothing is given: dds is shown as DDS, dds+iscs as DDS+ISCS."""

EVALUATE = """\
Compares a reconstruction with the volume it should have been: PSNR, SSIM and LPIPS, slice by slice, in the axial,
coronal and sagittal view, and the mean difference of neighbouring slices (above the reference's: the slices are
inconsistent; below: they are smoothed).

What goes in:   two volumes on one grid, in the same units.
What comes out: a table; with --output also metrics.json and preview.png in that folder."""

DEMO = """\
Reconstructs a real CT volume, a patient that the model never saw, from 30 X-ray views, on an ordinary computer:
the classical method (FDK), and two diffusion samplers (DDS, DDNM) without and with inter-slice consistent noise (ISCS).

What comes out: a table of the five, a figure, the DDS+ISCS reconstruction (reconstruction.nii.gz), metrics.json and
                run.json."""

BENCHMARK = """\
Reconstructs every volume with every method from the same simulated measurement and writes one table.

What goes in:   volumes (NIfTI, NRRD, MHA or DICOM, in Hounsfield units for CT).
What comes out: table.md and table.csv (PSNR, SSIM for each view, the slice gap, seconds), results.json, and for each
                volume a folder with a figure, the PSNR along z and every reconstruction.
After Ctrl-C or a crash the same command goes on where it stopped; a changed setting reruns only what it touches."""

CALIBRATE = """\
Finds the intervals of an ensemble: how much larger the errors of its mean are than the spread of its samples.

What goes in:   volumes of other patients than those to be reconstructed; scans of them are simulated.
What comes out: calibration.json, to be put into the folder configs of the bundle, whose calibrations of other tasks it
                keeps: reconstruct with the same recipe, scan and number of samples then writes interval.nii.gz.
After Ctrl-C or a crash the same command goes on where it stopped."""

PREPARE = """\
Makes a folder for train of a public data set: patients are split, never slices.

What goes in:   aapm-2016 (2016 Low Dose CT Grand Challenge, the paper's split), ldct (LDCT-and-Projection-data), ixi
                (IXI, T1), deep-lesion (DeepLesion, its own split) or abdomen-atlas (AbdomenAtlas), as downloaded.
What comes out: a folder with train and val (DeepLesion: and test), one NIfTI file for each volume in HU or the
                scanner's signal, manifest.csv, and LICENSE.txt with the licence and what to cite.
After Ctrl-C or a crash the same command goes on where it stopped."""

TRAIN = """\
Trains the diffusion model of a bundle on your own volumes.

What goes in:   a folder that holds two folders of volumes (NIfTI, NRRD, MHA or folders of one DICOM series, in
                Hounsfield units for CT): train, and val with other patients, on whom the progress is measured.
What comes out: a folder with model.pt (the bundle's models/model.pt can be replaced by it), checkpoints and TensorBoard
                curves. After Ctrl-C or a crash, the same command with --resume goes on from the last complete epoch."""

CONVERT = """\
Makes a bundle of a diffusion prior that others have published, so that reconstruct and benchmark can use it.

What goes in:   a checkpoint as its authors published it: NCSN++ (the .pth files of ISCS, TPDM and DiffusionMBIR, whose
                averaged weights are taken) or guided diffusion (DDS, DiffusionBlend). Of two files (TPDM) the second is
                for slices across. A file that lacks weights, or that could run code, is refused.
What comes out: a folder with the configs of the named bundle, changed for this prior, and models/model.pt. Give its
                path to --bundle: ./published_prior. It cannot be trained further."""

SIMULATE = """\
Scans a volume on its own grid, as reconstruct and benchmark do: a cone beam on a circle or, with --table-feed, a helix,
each detector pixel the mean intensity of 2 x 2 rays, 1e5 photons a pixel. The body goes on beyond the volume's ends as
its last slices are.

writes SCAN:  SCAN.mha, line integrals, and SCAN.xml beside it, the geometry as RTK writes it: reconstruct, RTK and
              others read both. Without a suffix a folder, DICOM-CT-PD, as raw data of clinical scanners are public."""
