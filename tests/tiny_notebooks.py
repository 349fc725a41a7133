"""Hand-made notebooks and results of a few lines, for tests of runner, report and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

PARAMETERS = """\
profile: str = "sample"  # size of the run
data_dir: str | None = None  # real data
output_dir: str | None = None  # where results go
seed: int = 0
fold: int | str | None = None
epochs: int | None = None
rate: float = 0.1
loud: bool = False
weights: str = "auto"
"""

SAVE = """\
import json, pathlib
record = {
    "schema": 1, "tutorial": "good", "title": "A good one", "profile": profile,
    "backend": None, "device": None, "seed": seed, "fold": fold,
    "parameters": {"epochs": epochs, "rate": rate, "loud": loud},
    "data": {"name": "good", "synthetic": True, "images": 8, "patients": 4, "left_out": 1,
             "split_hash": "0123456789abcdef"},
    "figures": {"auc": {"value": 0.9, "low": 0.8, "high": 1.0, "n": 4, "unit": "patients"}},
    "main": ["auc"], "seconds": 0.5, "peak_memory_mb": 80.0, "versions": {"python": "3.11"},
}
_ = pathlib.Path(output_dir, "results.json").write_text(json.dumps(record))
"""


def write_notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """Return the path of a notebook with a parameters cell and the given code cells."""
    title = nbformat.v4.new_markdown_cell("# A tiny notebook")
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    others = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=[title, first, *others])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "language": "python",
        "display_name": "Python 3",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def record(**changes: Any) -> dict[str, Any]:
    """Return the contents of a valid ``results.json``, with some entries changed."""
    figure = {"value": 0.912, "low": 0.871, "high": 0.943, "n": 30, "unit": "patients"}
    return {
        "schema": 1,
        "tutorial": "malaria",
        "title": "Malaria parasites in red blood cells",
        "profile": "sample",
        "backend": "tensorflow",
        "device": "CPU",
        "seed": 0,
        "fold": None,
        "parameters": {"profile": "sample", "epochs": None, "loud": True, "rate": 0.1},
        "data": {
            "name": "malaria",
            "synthetic": True,
            "images": 1200,
            "patients": 36,
            "left_out": 4,
            "split_hash": "0123456789abcdef",
            "parts": {"train": {"images": 700, "patients": 22}},
        },
        "figures": {
            "auc": figure,
            "sensitivity": figure | {"value": 0.9},
            "wrong_split_difference": figure | {"value": 0.02, "low": -0.01, "high": 0.05},
        },
        "main": ["auc", "sensitivity"],
        "seconds": 41.3,
        "peak_memory_mb": 1300.5,
        "versions": {"python": "3.11.9", "keras": "3.15.1"},
    } | changes
