# SPDX-License-Identifier: Apache-2.0
"""Whether the package runs with the oldest versions that setup.cfg allows.

    python3.10 benchmarks/lower_bounds.py FOLDER [--numpy VERSION]

makes an environment in FOLDER with exactly those versions (some gigabytes, most of them PyTorch's) and runs the package
in it: every module is imported, a NIfTI and an NRRD volume are reconstructed by a diffusion sampler and evaluated.
``--numpy 2.0.2`` tries the oldest versions of the other packages with NumPy 2. The exit status is 0 if nothing failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def oldest() -> dict[str, str]:
    """The lower bound of each requirement in setup.cfg, by name."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    return dict(map(str.strip, line.split(">=")) for line in lines if line.strip())


def main() -> None:
    """Makes the environment if it does not exist, and runs `smoke` in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the environment, new or from an earlier run")
    parser.add_argument("--numpy", help="another version of NumPy than the oldest")
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.smoke:
        smoke(arguments.folder)
        return
    python = arguments.folder / "bin" / "python"
    if not python.exists():
        venv.create(arguments.folder, with_pip=True)
    versions = oldest() | ({"numpy": arguments.numpy} if arguments.numpy else {})
    pins = [f"{name}=={version}" for name, version in versions.items()]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    scratch = arguments.folder / "smoke"
    done = subprocess.run([python, __file__, str(scratch), "--smoke"], env=environment, check=False)
    print(f"Python {sys.version.split()[0]}, {', '.join(pins)}: {'failed' if done.returncode else 'fine'}")
    sys.exit(done.returncode)


def smoke(scratch: Path) -> None:
    """What an installation must be able to do; raises if it cannot."""
    import shutil

    from damaged_bundles import make_bundle, make_volume, without_figures
    from monai.transforms import LoadImage, SaveImage

    from monai_iscs.cli import main as monai_iscs

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for file in sorted((ROOT / "monai_iscs").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith("__main__"):
            try:
                import_module(name)
            except ImportError:
                if ".backends." not in name:  # those need extra packages, or a GPU
                    raise
    bundle = make_bundle(scratch / "bundle")
    nifti = make_volume(scratch / "body.nii.gz")
    save = SaveImage(
        output_dir=scratch, output_ext=".nrrd", output_postfix="", separate_folder=False, writer="ITKWriter"
    )
    save(LoadImage(image_only=True, ensure_channel_first=True)(nifti))
    for volume in (nifti, scratch / "body.nrrd"):
        out = scratch / volume.name.replace(".", "_")
        given = ["reconstruct", volume, "--bundle", bundle, "--device", "cpu", "--output", out]
        judged = ["evaluate", out / "reconstruction.nii.gz", volume, "--bundle", bundle, "--lpips", "none"]
        with without_figures() if volume == nifti else open(os.devnull):  # the second draws its figure
            for command in (given, judged):
                if monai_iscs([str(part) for part in command]) != 0:
                    sys.exit(1)


if __name__ == "__main__":
    main()
