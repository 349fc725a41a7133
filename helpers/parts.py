"""Which official part of an archive a folder belongs to, and which folders make one set.

An archive may say ``train/NORMAL``, and whoever unpacked it ``train/train/NORMAL``,
``chest_xray_train/NORMAL`` or ``train/images/NORMAL``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

Parts = dict[Path, str]
"""Folders that hold class folders, and the official part of each; ``""`` where there is none."""


@dataclass(frozen=True)
class _Named:
    """Where a folder's part is told.

    Attributes:
        part: ``""`` where no name tells one.
        base: the folder in which the parts of this set lie; the folder itself without a part.
        certain: the folder's own name is that of a part, and nothing else.
    """

    part: str
    base: Path
    certain: bool = False


def sets_of(folders: Iterable[Path], root: Path, part_names: Mapping[str, str]) -> list[Parts]:
    """Return the folders of each set together: first the one with most parts, then the shallowest.

    A folder whose own name is that of a part is taken for it. A name that only contains one
    (``chest_xray_train``), or that of a folder above, counts where another part lies beside it.
    Of a part that is there again inside of itself, the outer one is taken.

    Args:
        folders: that hold class folders, shallow ones first.
        root: absolute; its own name, and those above, say nothing.
        part_names: which name (lower case) stands for ``"train"``, ``"valid"`` or ``"test"``.
    """
    named = {folder: _named(folder, root, part_names) for folder in folders}
    beside: dict[Path, set[str]] = {}
    for one in named.values():
        beside.setdefault(one.base, set()).add(one.part)
    sets: dict[Path, Parts] = {}
    for folder, one in named.items():
        if one.part and (one.certain or len(beside[one.base]) > 1):
            parts = sets.setdefault(one.base / "*", {})
            if not any(part == one.part and outer in folder.parents
                       for outer, part in parts.items()):  # fmt: skip
                parts[folder] = one.part
        else:
            sets[folder] = {folder: ""}
    # sorted keeps the order of sets that have as many parts: shallow ones first
    return sorted(sets.values(), key=lambda parts: -len(set(parts.values())))


def plain(folder: Path) -> str:
    """Return a folder's name as classes and parts are compared."""
    return folder.name.strip().lower()


def _named(folder: Path, root: Path, part_names: Mapping[str, str]) -> _Named:
    """Return what a folder's name, and those of the folders above it, say of its part."""
    places = [] if folder == root else [folder, *folder.parents]
    places = places[: places.index(root)] if places else []
    tells = [(place, _part(place, part_names)) for place in places]
    while tells and not tells[0][1]:
        tells.pop(0)
    if not tells:
        return _Named("", folder)
    nearest, part = tells[0]
    top = nearest
    for place, other in tells[1:]:  # train/train
        if other != part:
            break
        top = place
    certain = nearest == folder and plain(folder) in part_names
    return _Named(part, top.parent, certain)


def _part(folder: Path, part_names: Mapping[str, str]) -> str:
    """Return the part that a name tells, as a whole or by one of its words."""
    name = plain(folder)
    if name in part_names:
        return part_names[name]
    told = {part_names[word] for word in re.split(r"[^a-z]+", name) if word in part_names}
    return told.pop() if len(told) == 1 else ""
