# SPDX-License-Identifier: Apache-2.0
"""The content of an installation."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "monai_iscs")
BUNDLE_FILES = (
    "LICENSE",
    "configs/inference.json",
    "configs/metadata.json",
    "configs/train.json",
    "docs/README.md",
    "models/model.pt",
    "demo/body_ct.nii.gz",
    "demo/ATTRIBUTION.md",
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Wheel and sdist of a copy of the package, with a small bundle: no build may write into the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    (source / "README.md").write_text("# monai_iscs\n")
    for name in (*BUNDLE_FILES, "runs/last.pt"):
        file = source / "bundles" / "some_bundle" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    build = "import setuptools.build_meta as m; m.build_wheel('dist'); m.build_sdist('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = (source / "dist").glob("*.whl"), (source / "dist").glob("*.tar.gz")
    return wheel, sdist


def test_wheel_carries_the_code_and_the_bundles(distributions):
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = set(wheel.namelist())
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "monai_iscs").rglob("*.py")}
    assert modules | {"monai_iscs/py.typed"} <= names
    assert {f"monai_iscs/bundles/some_bundle/{name}" for name in BUNDLE_FILES} <= names
    assert not [name for name in names if "runs/" in name or name.startswith(("tests/", "bundles/"))]


def test_source_distribution_can_build_the_wheel_again(distributions):
    with tarfile.open(distributions[1]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    assert {"setup.py", "setup.cfg", "pyproject.toml", "LICENSE"} <= names
    assert {f"bundles/some_bundle/{name}" for name in BUNDLE_FILES} <= names


def test_version_and_entry_point(distributions):
    with zipfile.ZipFile(distributions[0]) as wheel:
        info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
        metadata = wheel.read(f"{info}/METADATA").decode()
    tree = ast.parse((ROOT / "monai_iscs" / "__init__.py").read_text())
    (version,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__"
    )
    assert f"\nVersion: {version}\n" in metadata
    assert "monai-iscs = monai_iscs.cli:main" in entry_points
    assert "Requires-Python: >=3.10" in metadata


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_repairs_an_environment_without_pip(tmp_path):
    """As on Debian without python3-venv: a Python, but no pip."""
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    half, made = tmp_path / ".venv" / "bin" / "python", "printf '#!/bin/sh\\n' > .venv/bin/python"
    half.parent.mkdir(parents=True)
    half.write_text("#!/bin/sh\nexit 1\n")
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in "-m venv --clear .venv") {made};; esac\n')
    for script in (half, python):
        script.chmod(0o755)
    done = subprocess.run(
        ["make", ".venv/.runtime", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".venv" / ".runtime").exists()
    assert "some minutes" in done.stdout


def test_every_folder_of_the_package_is_a_package():
    folders = {file.parent for file in (ROOT / "monai_iscs").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []
