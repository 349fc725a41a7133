"""Builds a notebook's networks as they are before training, and writes some of their weights.

    python -m tools.networks malaria weights.npz

Every statement of the notebook is carried out that needs neither data nor results: it may name
the notebook's parameters, `registry`, `models`, `pixels_of`, and what such statements have made.
So a new notebook, or a new network in one, needs no change here. KERAS_BACKEND says on which
backend.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from helpers import models, registry, runner
from helpers.index import pixels_of
from helpers.paths import atomic_file

MOST = 65_536  # numbers of one array that are written; VGG16 has an array of a hundred million


def main(arguments: list[str]) -> int:
    """Write the weights of one tutorial's networks."""
    tutorial, target = arguments
    built = networks(runner.find_notebooks([tutorial])[tutorial])
    with atomic_file(Path(target)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{  # type: ignore[arg-type, unused-ignore]
            f"{name}/{weight.path}": _some(weight)
            for name, model in built.items() for weight in model.weights
        })  # fmt: skip
    return 0


def networks(notebook: Path) -> dict[str, keras.Model]:
    """Return the networks of a notebook by the names that they have there.

    Raises:
        ValueError: there is none, so that a comparison would compare nothing.
    """
    known: dict[str, Any] = {"registry": registry, "models": models, "pixels_of": pixels_of}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        for statement in ast.parse("".join(cell["source"])).body:
            makes = isinstance(statement, ast.Assign | ast.AnnAssign | ast.FunctionDef)
            if makes and _names(statement) <= {*known, *dir(builtins)}:
                exec(compile(ast.Module([statement], []), notebook.name, "exec"), known)
    found = {}
    for name, value in known.items():
        members = value if isinstance(value, dict) else {"": value}
        for key, model in members.items():
            if isinstance(model, keras.Model):
                found[f"{name} {key}".strip()] = model
    if not found:
        raise ValueError(f"{notebook.name} builds no network without data.")
    return found


def _names(statement: ast.stmt) -> set[str]:
    """Return the names that a statement takes from outside of itself.

    What it assigns is no name of its own: ``chosen = chosen[0]`` needs what was there before.
    """
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", statement)]
    assigned = {id(node) for target in targets for node in ast.walk(target)}
    if isinstance(statement, ast.FunctionDef):
        assigned = set()
    nodes = list(ast.walk(statement))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store) and id(node) not in assigned}  # fmt: skip
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return {node.id for node in nodes if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)} - own  # fmt: skip


def _some(weight: Any) -> np.ndarray:
    """Return all numbers of an array, or so many at even distances."""
    flat = np.ravel(keras.ops.convert_to_numpy(weight))
    return np.asarray(flat[:: max(1, len(flat) // MOST)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
