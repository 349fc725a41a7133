"""Draws the pictures of README and title cells, from the synthetic samples alone.

`python -m tools.pictures` writes docs/<tutorial>.png for every tutorial (two rows or more of
its images, put into the title cell of its notebook, too) and docs/first-screen.png (README;
it needs tests/expected/malaria.json).
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from PIL import Image

from helpers import plots, registry
from helpers.index import load_index, open_pixels
from helpers.metrics import Estimate
from helpers.paths import atomic_file

CHECKOUT = Path(__file__).resolve().parent.parent
SIZE = 64  # pixels of an image


def main() -> int:
    """Write all pictures and put each tutorial's own into its title cell."""
    for name in registry.names():
        notebook = CHECKOUT / "notebooks" / f"{registry.get(name).tutorial}.ipynb"
        if notebook.is_file():
            picture = strip(name, columns=8)
            _store(picture, CHECKOUT / "docs" / f"{name}.png")
            _attach(picture, notebook, f"{name}.png")
    _store(first_screen(), CHECKOUT / "docs" / "first-screen.png")
    return 0


def strip(name: str, columns: int, seed: int = 0) -> bytes:
    """Return a PNG of synthetic images, a row for each class."""
    index = load_index(name, image_size=SIZE, seed=seed)
    pixels = open_pixels(index)
    rows = []
    for class_name in registry.get(name).classes:
        chosen = index[index["class_name"] == class_name].sample(columns, random_state=seed)
        rows.append(np.concatenate([pixels[row] for row in chosen["row"]], axis=1))
    picture = Image.fromarray(np.concatenate(rows, axis=0))
    stream = io.BytesIO()
    picture.quantize(128).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def first_screen() -> bytes:
    """Return a PNG: cells at the left, the claims of two splits at the right."""
    stored = json.loads((CHECKOUT / "tests" / "expected" / "malaria.json").read_text("utf-8"))
    names = {
        "accuracy_by_image": "split by cell (wrong)",
        "accuracy_by_patient": "split by patient",
    }
    claims = {label: _estimate(stored["figures"][name]) for name, label in names.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1, 1.1])
    left.imshow(Image.open(io.BytesIO(strip("malaria", columns=5))))
    left.set_title("Healthy above, infected below (synthetic cells)", fontsize=11)
    left.axis("off")
    for height, (label, claim) in enumerate(claims.items()):
        error = [[claim.value - claim.low], [claim.high - claim.value]]
        right.errorbar(claim.value, -height, xerr=error, fmt="os"[height], ms=9, capsize=4,
                       color=(plots.VERMILION, plots.BLUE)[height])  # fmt: skip
        right.annotate(f"{label}\n{claim}", (claim.value, -height), (0, 12),
                       textcoords="offset points", ha="center", fontsize=10)  # fmt: skip
    right.set(ylim=(-1.95, 0.8), yticks=[], xlabel="accuracy, with its 95 % interval over patients")
    gain = _estimate(stored["figures"]["gain_by_image"])
    right.text(0.02, 0.03, f"the wrong split claims {gain.value:+.3f}\n"
               f"({gain.low:+.3f} to {gain.high:+.3f}) too much", transform=right.transAxes,
               fontsize=10)  # fmt: skip
    right.set_title("Same cells, same features: only the split differs", fontsize=11)
    right.spines[["left", "top", "right"]].set_visible(False)
    figure.tight_layout()
    stream = io.BytesIO()
    figure.savefig(stream, dpi=80)
    plt.close(figure)
    return stream.getvalue()


def _estimate(figure: dict[str, float]) -> Estimate:
    return Estimate(figure["value"], figure["low"], figure["high"], int(figure["n"]))


def _store(content: bytes, path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    print(f"{path.relative_to(CHECKOUT)}: written")


def _attach(content: bytes, path: Path, name: str) -> None:
    """Put a picture into the notebook's first cell, as an attachment that travels with it."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    encoded = base64.b64encode(content).decode()
    notebook.cells[0]["attachments"] = {name: {"image/png": encoded}}
    with atomic_file(path) as temporary:
        nbformat.write(notebook, temporary)
    print(f"{path.relative_to(CHECKOUT)}: picture put into its title cell")


if __name__ == "__main__":
    raise SystemExit(main())
