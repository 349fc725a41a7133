"""Writes the pages that are generated: data/README.md, the results schema, tables of runs.

`python -m tools.docs` writes them (`make docs`); with `--check` it only says which are out
of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from helpers import registry
from helpers.fetch import in_words
from helpers.paths import atomic_file
from tools import backends, real_data

CHECKOUT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Write the pages; with `--check`, return 1 where one is out of date."""
    stale = []
    for path, text in pages().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            stale.append(path.relative_to(CHECKOUT).as_posix())
            continue
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(CHECKOUT)}: written")
    if stale:
        print(f"Out of date: {', '.join(stale)}. Call  make docs.", file=sys.stderr)
    return 1 if stale else 0


def pages() -> dict[Path, str]:
    """Return the text of each generated page, by its path."""
    schema = CHECKOUT / "helpers" / "results.schema.json"
    return {
        CHECKOUT / "data" / "README.md": data_page(),
        CHECKOUT / "docs" / "results.schema.json": schema.read_text(encoding="utf-8"),
        real_data.PAGE: real_data.page(),
        backends.PAGE: backends.page(),
    }


def data_page() -> str:
    """Return the page on the datasets: what they are, whose, and what is wrong with them."""
    parts = [
        "# The data",
        "<!-- Written by `make docs` from helpers/datasets: change it there. -->",
        "No image of a patient is part of this repository. Without a folder of your own, every "
        "notebook draws a synthetic twin of its dataset; drawings, caches and downloads go into "
        "this folder (after `pip install .` into your own cache folder; `TUTORIALS_DATA=<folder>` "
        "names another), and none of them is ever committed.",
        "`.venv/bin/python -m helpers data list` says what is here; `… data download malaria` "
        "fetches the real images, checks and unpacks them into `downloads/malaria`; after that "
        '`--data-dir malaria` (or `data_dir = "malaria"` in a notebook) means that folder. An '
        "interrupted download goes on where it stopped. What a browser has saved in "
        "`downloads/archives` under the file's name is checked and used instead.",
    ]
    for dataset in registry.in_order():
        counts = ", ".join(
            f"{number:,} {name.replace('_', ' ')}" for name, number in dataset.counts.items()
        )
        parts += [
            f"## {dataset.title} (`{dataset.name}`)",
            dataset.task,
            f"- **Size:** {counts}\n"
            f"- **Classes:** {_classes(dataset)}\n"
            f"- **Layout:** {_layout(dataset)}\n"
            f"- **Official split:** {_parts(dataset)}\n"
            f"- **A file name:** `{dataset.patient_example}`; the patient is "
            f"{dataset.patient_rule}.\n"
            f"- **Licence:** {dataset.licence}.\n"
            f"- **To cite:** {dataset.citation}.\n"
            f"- **The article that our notebook answers:** {dataset.article.strip()}",
        ]
        example = f"`… run {dataset.name} --profile best --data-dir <name>`"
        parts += [
            "Where to get it: `.venv/bin/python -m helpers data download <name>`, then "
            f"{example}, with one of these names (or the folder into which you unpack yourself):",
            "\n".join(_release(release) for release in dataset.releases),
        ]
        if dataset.defects:
            parts += ["What is wrong in the files:", "\n".join(f"- {d}" for d in dataset.defects)]
        if dataset.published:
            rows = ["| figures | protocol | by patient | source |", "|---|---|---|---|"]
            for one in dataset.published:
                figures = ", ".join(f"{name} {value:g}" for name, value in one.figures.items())
                by_patient = "yes" if one.patient_wise else "**no**"
                rows.append(f"| {figures} | {one.protocol} | {by_patient} | {one.source} |")
            parts += ["Published figures, each with the protocol it belongs to:", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _layout(dataset: registry.Dataset) -> str:
    """Return how the images lie, and which folders stand for official parts."""
    if dataset.reader == "volumes":
        return (
            f"a folder for each patient; beside each image its mask, whose name ends in "
            f"`{dataset.mask_suffix}`, and perhaps the table `{dataset.table}`"
        )
    folders = " ".join(f"`{name}/`" for name in dataset.classes)
    parts = "`train/`, `val/`, `test/`"
    if dataset.part_names != registry.PART_NAMES:
        parts = ", ".join(f"`{name}/` is {part}" for name, part in dataset.part_names.items())
    return f"a folder for each class, {folders}, alone or in folders of official parts ({parts})"


def _parts(dataset: registry.Dataset) -> str:
    """Return the sizes of the official parts, in classes where they are known."""
    if not dataset.parts:
        return "none in the archive; ours is by patient"
    return "; ".join(
        f"{part} {sum(counts.values()):,} ("
        + ", ".join(f"{number:,} {name}" for name, number in counts.items())
        + ")"
        for part, counts in dataset.parts.items()
    )


def _release(release: registry.Release) -> str:
    """Return a release with its files, a line each; what is not known is left out."""
    size = f" ({release.pixels} pixels)" if release.pixels else ""
    note = release.note if release.pixels in (None, 28) else "the same, larger"
    lines = [f"- **`{release.name}`**{size}" + (f": {note}" if note else "")]
    most = "at most" if release.pixels else "about"
    lines += [f"  - {_download(file, most)}" for file in release.files if file.addresses]
    if release.tree and release.pixels is None:
        paths = ", ".join(f"`{path}`" for path in release.tree[:3])
        lines.append(f"  - holds files such as {paths}")
    if release.parts and release.pixels in (None, 28):
        parts = ", ".join(f"{part} {number:,}" for part, number in release.parts.items())
        lines.append(f"  - official split: {parts}")
    if release.kaggle:
        page = f"https://www.kaggle.com/datasets/{release.kaggle}"
        alone = not any(file.addresses for file in release.files)
        here = ".venv/bin/python -m uv pip install kagglehub"
        first = f"first `{here}`, elsewhere `pip install kagglehub`"
        purpose = first if alone else "asked last, where installed"
        lines.append(f"  - <{page}>, by the package kagglehub ({purpose})")
    return "\n".join(lines)


def _download(file: registry.Download, roughly: str) -> str:
    """Return one line on a file to fetch."""
    size = f"{roughly} {in_words(file.expected_size)}" if file.megabytes else ""
    facts = [
        f"`{file.file_name}`",
        f"{file.size:,} bytes" if file.size else size,
        "{} `{}`".format(*file.checksum.split(":")) if file.checksum else "",
        " or ".join(f"<{address}>" for address in file.addresses),
    ]
    return ", ".join(fact for fact in facts if fact)


def _classes(dataset: registry.Dataset) -> str:
    """Return the classes, and which of them count as positive or urgent."""
    text = ", ".join(dataset.classes)
    if dataset.positive is not None:
        text += f"; positive is {dataset.positive}"
    if dataset.urgent:
        text += f"; urgent are {' and '.join(dataset.urgent)}"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
