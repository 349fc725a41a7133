"""Getting a dataset by hand, where no program may fetch it: what to save, where, and what then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.registry import Download, Release


def recipe(release: Release, place: Path, command: str) -> str:
    """Return numbered steps, and how the folder must look.

    Args:
        release: what is wanted.
        place: the folder into which the files are to be saved.
        command: what unpacks them, to be typed in a shell.
    """
    steps = [
        f"Open  {_page(release, file)}  in a browser and save the file as\n"
        f"{place / file.file_name}" + _facts(file)
        for file in release.files
    ]
    steps.append(f"Call  {command}  again: it checks and unpacks what lies there.")
    lines = ["By hand:"]
    for number, step in enumerate(steps, 1):
        lines += [f"  {number}. " + step.replace("\n", "\n     ")]
    lines.append("Or unpack it where you like and give that folder as data_dir. So it looks:")
    lines += ["    " + line for line in _as_tree(release.tree)]
    if release.kaggle and release.files[0].addresses:
        lines.append(f"The same images: https://www.kaggle.com/datasets/{release.kaggle}")
    return "\n".join(lines)


def _page(release: Release, file: Download) -> str:
    """Return where a person finds a file."""
    if file.addresses:
        return "  or  ".join(file.addresses)
    return f"https://www.kaggle.com/datasets/{release.kaggle}"


def _facts(file: Download) -> str:
    """Return how to tell the right file, in parentheses; nothing where nothing is known."""
    facts = [f"{file.size:,} bytes" if file.size else ""]
    if not file.size and file.megabytes:
        facts = [f"about {file.megabytes:,} MB"]
    facts.append((file.checksum or "").replace(":", " "))
    known = ", ".join(fact for fact in facts if fact)
    return f"\n({known})" if known else ""


def _as_tree(paths: Sequence[str]) -> list[str]:
    """Return files as an indented tree, folders once."""
    lines: list[str] = []
    above: tuple[str, ...] = ()
    for path in paths:
        *folders, name = path.split("/")
        for depth, folder in enumerate(folders):
            if above[: depth + 1] != tuple(folders[: depth + 1]):
                lines.append("  " * depth + f"{folder}/")
        lines.append("  " * len(folders) + name + (", …" if folders else ""))
        above = tuple(folders)
    return lines
