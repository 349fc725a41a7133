"""Arrays larger than the memory: rows in blocks, files without a name, memory that stays."""

from __future__ import annotations

import gc
import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers import mapped, metrics, training


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ([True, False, False, True], [0, 3]),
        (pd.Series([False, True, True, False], index=[9, 8, 7, 6]), [1, 2]),
        (pd.Index([3, 0]), [3, 0]),
        (pd.Series([True, False, True, False], dtype=object), [0, 2]),
        ([], []),
    ],
)
def test_rows_are_named_by_truths_or_places(rows: Any, expected: list[int]) -> None:
    found = mapped.numbers(rows, 4)
    assert found.tolist() == expected
    array = np.arange(8).reshape(4, 2)
    got = [row for block in mapped.blocks(array, found) for row in block.tolist()]
    assert got == array[expected].tolist()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([True, False], "2 truths cannot choose from 4 rows"),
        ([0, 4], "no row 4: there are 4, counted from 0"),
        ([-1], "no row -1"),
        ([0.5], "whole numbers, not by float64"),
        (["a"], "whole numbers, not by"),
        (2, r"of shape \(\)"),
        ([[0], [1]], r"of shape \(2, 1\)"),
    ],
)
def test_rows_that_are_not_there_are_named(rows: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        mapped.numbers(rows, 4)


def test_blocks_hold_every_row_once() -> None:
    array = np.arange(2 * mapped.BLOCK + 5)
    sizes = [len(block) for block in mapped.blocks(array, np.arange(len(array)))]
    assert sizes == [mapped.BLOCK, mapped.BLOCK, 5]


def test_what_is_on_disk_is_mapped_and_leaves_no_file(home: Path) -> None:
    parts = [np.full((2, 3), number) for number in range(4)]
    found = mapped.on_disk(iter(parts), (8, 3), np.float32)
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.repeat(np.arange(4), 2)[:, None] * np.ones(3))
    found[0] = 7  # a student may: only this copy changes
    assert found[0, 0] == 7
    named = [path for path in home.rglob("*") if path.is_file()]
    if os.name == "posix":
        assert named == []
    assert mapped.on_disk([], (0, 3), np.float16).shape == (0, 3)


def test_a_full_disk_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(home.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_999_999))
    computed = []

    def parts() -> Iterator[np.ndarray]:
        computed.append(1)
        yield np.zeros((1, 250_000), np.float32)

    with pytest.raises(OSError, match=r"needs 2 MB, and the disk is full. Make room, or set the"):
        mapped.on_disk(parts(), (2, 250_000), np.float32)
    assert not computed  # hours of prediction, perhaps
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_what_goes_wrong_in_the_parts_is_no_error_of_the_disk() -> None:
    def parts() -> Iterator[np.ndarray]:
        raise OSError("image file is truncated")
        yield

    with pytest.raises(OSError, match=r"^image file is truncated$"):
        mapped.on_disk(parts(), (2, 3), np.float32)


@pytest.mark.parametrize("rows", [1, 3])
def test_parts_that_do_not_fill_the_array_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"{rows * 12} bytes, and \(2, 3\) takes 24"):
        mapped.on_disk([np.zeros((rows, 3))], (2, 3), np.float32)


def peak(work: Any) -> int:
    """Return the bytes that some work had allocated at most; mapped pages are not counted."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_head_of_many_images_takes_the_memory_of_a_block(tmp_path: Path) -> None:
    """Eight times the images may take their labels and answers more, not their features."""
    channels, rng, needed = 400, np.random.default_rng(0), {}
    for blocks in (2, 16):
        count = blocks * mapped.BLOCK
        labels = rng.integers(0, 2, count)
        features = rng.normal(size=(count, channels)).astype(np.float32) + labels[:, None] / 20
        np.save(tmp_path / "features.npy", features)
        del features
        features = np.load(tmp_path / "features.npy", mmap_mode="r")
        part = np.where(np.arange(count) % 4 == 0, "valid", "train")
        split = pd.DataFrame({"row": np.arange(count), "label": labels, "split": part})

        def fit(features: np.ndarray = features, split: pd.DataFrame = split) -> None:
            head = training.fit_frozen(features, split, strengths=(0.001,))
            assert head.predict(features).shape == (len(split), 2)

        needed[count] = peak(fit)
    (few, least), (many, most) = sorted(needed.items())
    each = (most - least) / (many - few)
    assert each < 400  # bytes: labels, places, answers. Features alone are 1,600, a copy as much


def frozen(count: int = 300) -> tuple[np.ndarray, pd.DataFrame]:
    """Return features that tell three classes apart, and the index they were computed from."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, count)
    features = (rng.normal(size=(count, 6)) + labels[:, None]).astype(np.float32)
    part = rng.choice(["train", "valid", "test"], count)
    rows = rng.permutation(2 * count)[:count]  # an index lacks some rows of the image cache
    return features, pd.DataFrame({"row": rows, "label": labels, "split": part})


def test_a_head_finds_the_features_of_a_split_in_any_order() -> None:
    """Shuffled, in part, renumbered as `drop_shared` does: an image is known by its row."""
    features, index = frozen()
    split = index.sample(frac=1, random_state=0).iloc[20:]
    found = training.fit_frozen(features, index, split.reset_index(drop=True))
    learn, choose, ask = (split[split["split"] == name] for name in ("train", "valid", "test"))
    expected = training.fit_head(
        features[learn.index], learn["label"], features[choose.index], choose["label"]
    )
    assert found.losses == expected.losses
    assert found.losses[found.strength] < 1.0  # and not those of other images: log(3) is 1.1
    np.testing.assert_array_equal(
        found.predict(features, ask.index), expected.predict(features[ask.index])
    )
    tested = (index["split"] == "test").to_numpy()
    np.testing.assert_array_equal(
        found.predict(features, tested), expected.predict(features[tested])
    )


def test_features_of_other_images_are_refused() -> None:
    features, index = frozen()
    with pytest.raises(ValueError, match="100 rows of features cannot be those of 300 images"):
        training.fit_frozen(features[:100], index)
    with pytest.raises(ValueError, match="200 images of the split are not in the index"):
        training.fit_frozen(features[:100], index[:100], index)
    with pytest.raises(ValueError, match="no column 'split': split the index first"):
        training.fit_frozen(features, index.drop(columns="split"))
    with pytest.raises(ValueError, match="no image in the part 'valid'"):
        training.fit_frozen(features, index.replace({"split": {"valid": "test"}}))


@pytest.mark.slow
def test_intervals_take_little_more_than_a_byte_a_patient_and_resample() -> None:
    rng, needed = np.random.default_rng(0), {}
    for count in (10_000, 30_000):
        owners = (np.arange(count) // 5).astype(str)
        truth = rng.integers(0, 2, count)
        scores = np.clip(truth * 0.2 + rng.uniform(size=count) * 0.8, 0, 1)

        def evaluate(truth: Any = truth, scores: Any = scores, owners: Any = owners) -> None:
            metrics.evaluate(truth, scores, owners, figures=["auc", "accuracy"])

        needed[count] = peak(evaluate)
    each = (needed[30_000] - needed[10_000]) / 20_000
    # a byte for each resample, and a hundred resamples at a time as floats
    assert each < (metrics.RESAMPLES + 1_600) / 5 + 300
