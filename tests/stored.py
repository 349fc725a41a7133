"""Reads the committed notebooks: their cells, and what these printed when they were stored."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import nbformat
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@functools.cache
def notebook(tutorial: str) -> NotebookNode:
    """Return the notebook of a tutorial, for instance of ``"oct"``."""
    (path,) = NOTEBOOKS.glob(f"[0-9][0-9]_{tutorial}.ipynb")
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def cell(tutorial: str, name: str) -> NotebookNode:
    """Return the cell with this id."""
    return next(cell for cell in notebook(tutorial).cells if cell.id == name)


def printed(tutorial: str, name: str) -> str:
    """Return what a cell printed."""
    outputs = cell(tutorial, name).outputs
    return "".join(output.text for output in outputs if output.output_type == "stream")


def shown(tutorial: str, name: str) -> str:
    """Return the text of the tables that a cell showed."""
    outputs = cell(tutorial, name).outputs
    return "".join(output.data.get("text/plain", "") for output in outputs if "data" in output)


def order(tutorial: str) -> list[str]:
    """Return the ids of all cells, from first to last."""
    return [cell.id for cell in notebook(tutorial).cells]


def early_readers(tutorial: str, names: set[str], counting: set[str]) -> list[str]:
    """Return the code cells before "Evaluate" that read one of these names.

    Args:
        tutorial: such as ``"oct"``.
        names: what the test part is called.
        counting: ids of cells that may, because they count patients and look at no pixel.
    """
    before = notebook(tutorial).cells[: order(tutorial).index("evaluate")]
    return [
        cell.id
        for cell in before
        if cell.cell_type == "code" and cell.id not in counting and _read(cell.source) & names
    ]


def _read(source: str) -> set[str]:
    """Return the names that a cell's code reads."""
    return {
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
