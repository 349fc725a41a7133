"""Runs the notebooks again in place and stores their outputs in one settled form.

    python -m tools.notebooks [FILE…]            run and store (`make notebooks`)
    python -m tools.notebooks --no-run [FILE…]   only bring into the settled form
    python -m tools.notebooks --check [FILE…]    only say which are not in it

The settled form holds nothing that changes from run to run or machine to machine, so
that a difference between two versions of a notebook is one that somebody made.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.paths import atomic_file
from tools import notebook_rules as rules

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "notebooks"
CELL_SECONDS = 600
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What a cell may say of itself: its tags, and whether its source is folded.
CELL_METADATA = ("tags", "jupyter")
# tqdm and Keras draw their bars with these.
_BAR = re.compile(r"\r|\d+%\||\bit/s\b|\bs/it\b|[━█▏▎▍▌▋▊▉]")


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when every notebook is as it should be, 1 otherwise, with the reasons printed."""
    options = _options(arguments)
    paths = options.files or sorted(FOLDER.glob("*.ipynb"))
    failed = 0
    for path in paths:
        try:
            if options.check:
                check(path)
            else:
                refresh(path, run=not options.no_run)
                print(f"{path.name}: stored", flush=True)
        except NotebookError as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr)
    return 1 if failed else 0


class NotebookError(Exception):
    """Why a notebook cannot be stored: what is wrong, where, and what to do."""


def refresh(path: Path, *, run: bool = True) -> None:
    """Write a notebook back in the settled form, after a fresh run if asked for.

    Args:
        path: the notebook; it stays as it was where anything is wrong.
        run: whether to execute it first, from its own folder, in a kernel of its own.

    Raises:
        NotebookError: a cell fails, or the result may not be stored.
    """
    notebook = _read(path)
    _refuse(rules.ids_are_readable(notebook))  # before a long run, not after
    if run:
        execute(notebook, path.parent)
    settled = normalise(notebook)
    _refuse(storable(settled))
    with atomic_file(path) as temporary:
        temporary.write_text(text_of(settled), encoding="utf-8")


def check(path: Path) -> None:
    """Return nothing where a notebook is in the settled form already.

    Raises:
        NotebookError: it is not, and what to do.
    """
    notebook = _read(path)
    settled = normalise(notebook)
    _refuse(storable(settled))
    if text_of(settled) != path.read_text(encoding="utf-8"):
        raise NotebookError(f"not in the settled form: python -m tools.notebooks --no-run {path}")


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Fill a notebook's outputs from a run under the conditions that nbval has later.

    Args:
        notebook: changed in place.
        folder: the kernel's current folder.

    Raises:
        NotebookError: a cell failed, took too long, or the kernel died.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    with tempfile.TemporaryDirectory() as runs:
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        )
        try:
            client.execute(env={**os.environ, **_environment(runs)})
        except CellControlSignal as error:  # a cell failed, or took longer than it may
            raise NotebookError(f"a cell failed; nothing is stored.\n{error}") from error
        except DeadKernelError as error:
            raise NotebookError("the kernel died, probably out of memory.") from error


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook in the settled form; what it must not hold is left to see."""
    settled = copy.deepcopy(notebook)
    settled.nbformat, settled.nbformat_minor = 4, 5
    settled.metadata = nbformat.from_dict(METADATA)
    for cell in settled.cells:
        kept = {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = _settled_outputs(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    return settled


def storable(notebook: NotebookNode) -> list[str]:
    """Return what speaks against committing a notebook, whatever its text."""
    return [
        complaint
        for rule in (
            rules.format_is_current,
            rules.ids_are_readable,
            rules.is_executed,
            rules.outputs_are_clean,
            rules.paths_are_relative,
            rules.file_is_small,
        )
        for complaint in rule(notebook)
    ]


def text_of(notebook: NotebookNode) -> str:
    """Return the file's text: the same for the same notebook, one line end at its end."""
    text: str = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    return text.rstrip("\n") + "\n"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("files", nargs="*", type=Path, help="default: all in notebooks/")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="change nothing")
    how.add_argument("--no-run", action="store_true", help="keep the outputs that are there")
    return parser.parse_args(arguments)


def _environment(runs: str) -> dict[str, str]:
    """Return the variables that make a run comparable with that of nbval."""
    return {
        "TUTORIALS_UNATTENDED": "1",
        "TUTORIALS_RUNS": runs,
        # Where this is set, as it is under pytest, ipykernel does not catch what C code
        # prints: without it the stored outputs would hold lines that nbval never sees.
        "PYTEST_CURRENT_TEST": "ref",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=nbformat.NO_CONVERT)
    except (OSError, ValueError) as error:
        raise NotebookError(f"cannot be read: {error}") from error


def _refuse(complaints: list[str]) -> None:
    if complaints:
        raise NotebookError("\n  ".join(["may not be stored:", *complaints]))


def _settled_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs without progress bars and random names, neighbouring streams as one."""
    settled: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr" and _BAR.search(output.text):
                continue
            if settled and settled[-1].get("name") == output.name:
                settled[-1].text += output.text
                continue
        elif output.output_type in ("display_data", "execute_result"):
            # A live widget needs its kernel, and its number is drawn by chance: its text stays.
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
            output.metadata = nbformat.from_dict(
                {
                    kind: {"alt": values["alt"]}
                    for kind, values in output.metadata.items()
                    if isinstance(values, dict) and "alt" in values
                }
            )
        settled.append(output)
    return settled


if __name__ == "__main__":
    sys.exit(main())
