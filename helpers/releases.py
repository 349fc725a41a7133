"""Which release a folder is, and what the registry knows of it: the numbers to compare with."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from helpers import medmnist, own_images, registry

OFFICIAL_TEST = "official test"


def release_of(index: pd.DataFrame) -> str:
    """Return the name of the release that these images are, or are most like.

    Args:
        index: from ``load_index``, of all images that were found.

    Returns:
        Such as ``"oct_v3"`` or ``"octmnist"``; empty for images of one's own.
    """
    name = index.attrs["dataset"]
    if name == own_images.NAME or index.attrs["source"] in own_images.SOURCES:
        return ""
    if index.attrs["source"] == "medmnist":
        return medmnist.name_of(index)
    tell = registry.get(name).release_of
    return name if tell is None else tell(index)


def counts_of(release: str) -> Mapping[str, int]:
    """Return how many there are of each thing in a release: as far as the registry knows.

    Returns:
        ``images``, ``patients``, ``slides``, one number a class, and ``OFFICIAL_TEST`` where
        it has such a part; nothing for ``""``.
    """
    if not release:
        return {}
    dataset = registry.releases()[release]
    known = registry.release(release)
    counts = dict(known.counts or dataset.counts)
    tested = known.parts.get("test") or sum(dataset.parts.get("test", {}).values())
    return counts | ({OFFICIAL_TEST: tested} if tested else {})
