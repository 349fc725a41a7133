"""The numbers that a folder is compared with are those of the release that it is."""

from __future__ import annotations

import pandas as pd
import pytest

from helpers import registry, releases


@pytest.mark.parametrize(
    ("release", "counts"),
    [
        ("oct", {"images": 84_484, "NORMAL": 26_565, "official test": 968}),
        ("oct_v3", {"images": 109_309, "official test": 1_000}),
        ("octmnist_64", {"images": 109_309, "official test": 1_000}),
        ("pneumoniamnist", {"images": 5_856, "official test": 624}),
        ("malaria", {"images": 27_558, "patients": 200}),
        ("", {}),
    ],
)
def test_the_counts_are_those_of_the_release(release: str, counts: dict[str, int]) -> None:
    found = releases.counts_of(release)
    assert counts.items() <= found.items()
    if release in ("oct_v3", "octmnist_64"):
        assert "NORMAL" not in found  # the dataset's own number is release v2's


@pytest.mark.parametrize("release", registry.releases())
def test_every_release_has_images_to_count(release: str) -> None:
    assert releases.counts_of(release)["images"] > 0


@pytest.mark.parametrize(
    ("dataset", "source", "path", "release"),
    [
        ("oct", "medmnist", "/data/octmnist_128.npz#train/0", "octmnist_128"),
        ("oct", "archive", "/data/CNV-1-1.jpeg", "oct"),
        ("malaria", "archive", "/data/a.png", "malaria"),
        ("malaria", "csv", "/data/a.png", ""),
        ("folder", "folder", "/data/a.png", ""),
        ("folder", "medmnist", "/data/octmnist.npz#train/0", ""),
    ],
)
def test_what_was_read_tells_the_release(
    dataset: str, source: str, path: str, release: str
) -> None:
    index = pd.DataFrame({"path": [path], "patient": ["1"], "part": [""]})
    index.attrs |= {"dataset": dataset, "source": source}
    assert releases.release_of(index) == release
