# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from the first cell to the last, in a short mode: with other parameters."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SHORT = {
    "01_drop_into_a_monai_pipeline": "slices, size, steps = 12, 32, 2",
    "02_train_a_prior_on_your_data": "size, crop, epochs, channels, steps = 32, 16, 1, [8, 8, 8], 2",
    "03_your_own_projections": "slices, views, steps, spacing = 4, 12, 2, 12.0",
}


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_tested():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = read(name)
    (parameters,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(parameters + 1, nbformat.v4.new_code_cell(SHORT[name]))
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert " dB" in printed
    assert list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("name", SHORT)
def test_is_committed_with_its_outputs(name):
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
