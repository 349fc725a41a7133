"""A pytest plugin that keeps a notebook's fresh outputs where nbval found a difference.

nbval compares and forgets. With `-p tools.keep`, each notebook with a cell that failed is
written to `artifacts/notebooks/` as it came out, to be opened beside the committed one.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell

FOLDER = Path("artifacts") / "notebooks"
_notebooks: dict[Path, NotebookNode] = {}
_failed: set[Path] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take the outputs of each notebook cell as soon as it has run."""
    report = yield
    if isinstance(item, IPyNbCell) and call.when == "call":
        path = Path(item.path)
        notebook = _notebooks.setdefault(path, _emptied(item.parent.nb))
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        cells[item.cell_num].outputs = [_output(raw) for raw in item.test_outputs or []]
        cells[item.cell_num].execution_count = item.cell_num + 1
        if report.failed:
            _failed.add(path)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the notebooks in which a cell failed."""
    folder = session.config.rootpath / FOLDER
    for path in sorted(_failed):
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(_notebooks[path], folder / path.name, version=nbformat.NO_CONVERT)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say where they are."""
    for path in sorted(_failed):
        terminalreporter.write_line(f"{path.name}: fresh outputs kept in {FOLDER}/")


def _emptied(notebook: NotebookNode) -> NotebookNode:
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _output(raw: NotebookNode) -> NotebookNode:
    """Return an output as a notebook stores it; nbval keeps an error without its kind."""
    raw = copy.deepcopy(raw)
    if raw.output_type == "execute_result":
        raw.setdefault("execution_count", None)
    return raw
