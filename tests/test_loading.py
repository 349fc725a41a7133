"""Batches: every image once an epoch, in the order that was asked for, from a memory map."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recorder import Recorder
from tiny_images import SIZE, STAND_INS, draw_file, draw_volumes, small_index

from helpers import backend, registry
from helpers.index import load_index, open_masks, open_pixels
from helpers.loading import Batches, ahead, all_masks, all_pixels

Index = pd.DataFrame


@pytest.fixture(scope="module")
def tiny_index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Return the index of 36 cells of six patients; the cache is made once a module."""
    return small_index(tmp_path_factory.mktemp("tiny"))


def images_of(batches: Batches) -> np.ndarray:
    """Return all images of an epoch in the order in which they come."""
    return np.concatenate([batches[number][0] for number in range(batches.num_batches)])


def rows_of(batches: Batches, index: Index) -> list[int]:
    """Return the rows of the index whose images an epoch shows, in that order."""
    pixels = open_pixels(index)
    place = {pixels[row].tobytes(): n for n, row in enumerate(index["row"])}
    assert len(place) == len(index)  # all pictures differ
    return [place[image.tobytes()] for image in images_of(batches)]


def test_images_and_labels_belong_together(tiny_index: Index) -> None:
    batches = Batches(tiny_index, batch_size=8)
    images, labels = batches[0]
    assert images.dtype == np.uint8
    assert images.shape == (8, SIZE, SIZE, 3)
    assert labels.dtype == np.float32
    assert labels.shape == (8, 2)
    everything = np.concatenate([batches[number][1] for number in range(batches.num_batches)])
    np.testing.assert_array_equal(everything.argmax(axis=1), tiny_index["label"])
    np.testing.assert_array_equal(everything.sum(axis=1), 1)
    assert rows_of(batches, tiny_index) == list(range(36))


def test_the_last_batch_holds_what_is_left(tiny_index: Index) -> None:
    batches = Batches(tiny_index, batch_size=10)
    assert batches.num_batches == 4
    assert [len(batches[number][0]) for number in range(4)] == [10, 10, 10, 6]
    assert Batches(tiny_index, batch_size=36).num_batches == 1
    assert len(Batches(tiny_index, batch_size=100)[0][0]) == 36


def test_a_part_of_an_index_in_any_order(tiny_index: Index) -> None:
    part = tiny_index.iloc[[30, 2, 17, 5]]
    batches = Batches(part, batch_size=3)
    assert rows_of(batches, tiny_index) == [30, 2, 17, 5]
    np.testing.assert_array_equal(batches[1][1].argmax(axis=1), [part["label"].iloc[3]])


def test_shuffled_every_image_comes_once_an_epoch_in_another_order(tiny_index: Index) -> None:
    batches = Batches(tiny_index, batch_size=10, shuffle=True, seed=1)
    epochs = []
    for _ in range(4):
        epochs.append(rows_of(batches, tiny_index))
        assert sorted(epochs[-1]) == list(range(36))
        batches.on_epoch_end()
    assert len({tuple(order) for order in [*epochs, range(36)]}) == 5


def test_a_seed_fixes_the_order_of_all_epochs(tiny_index: Index) -> None:
    def orders(seed: int) -> list[list[int]]:
        batches = Batches(tiny_index, shuffle=True, seed=seed)
        found = []
        for _ in range(3):
            found.append(batches.order.tolist())
            batches.on_epoch_end()
        return found

    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    assert orders(5) == orders(5)
    assert orders(5) != orders(6)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_keras_shows_every_image_once_an_epoch_and_shuffles_between(tiny_index: Index) -> None:
    """Through ``fit`` itself, and what `training.fit` gives it to read."""
    recorder = Recorder()
    recorder.compile(run_eagerly=True)
    batches = Batches(tiny_index, batch_size=10, shuffle=True, seed=1)
    data, callbacks = backend.prefetched(batches)
    # Keras would shuffle the order of batches on top, from Python's global random state
    recorder.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    assert [len(batch) for batch in recorder.seen] == [10, 10, 10, 6] * 3
    pixels = open_pixels(tiny_index)
    place = {pixels[row].astype(float).tobytes(): row for row in tiny_index["row"]}
    orders = [
        [
            place[image.astype(float).tobytes()]
            for batch in recorder.seen[start : start + 4]
            for image in batch
        ]
        for start in (0, 4, 8)
    ]
    assert all(sorted(order) == list(range(36)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("batch_size", [7, 36, 50])
def test_batches_read_ahead_are_the_same(tiny_index: Index, batch_size: int) -> None:
    plain, read = (Batches(tiny_index, batch_size, shuffle=True, seed=1) for _ in range(2))
    for _ in range(2):
        expected = [plain[number] for number in range(plain.num_batches)]
        found = list(ahead(read))
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])
        plain.on_epoch_end()
        read.on_epoch_end()


def test_one_batch_is_read_while_another_is_used(tiny_index: Index) -> None:
    asked: list[int] = []
    read = threading.Event()

    class Noting(Batches):
        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            asked.append(number)
            if number == 1:
                read.set()
            return super().__getitem__(number)

    coming = ahead(Noting(tiny_index, 6))
    next(coming)
    assert read.wait(10)  # the second was asked for by nobody but the reader
    assert asked == [0, 1]  # and no more than that
    coming.close()


def test_a_failure_while_reading_ahead_is_told(tiny_index: Index) -> None:
    class Broken(Batches):
        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            if number == 2:
                raise OSError("the disk is gone")
            return super().__getitem__(number)

    coming = ahead(Broken(tiny_index, 6))
    assert len([next(coming), next(coming)]) == 2
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)


def test_the_cache_is_mapped_not_loaded(tiny_index: Index) -> None:
    batches = Batches(tiny_index)
    assert isinstance(batches.pixels, np.memmap)
    assert not batches.pixels.flags.writeable
    images, _ = batches[0]
    assert not isinstance(images, np.memmap)
    assert not np.shares_memory(images, batches.pixels)  # a batch may be changed


def test_a_few_images_at_once(tiny_index: Index) -> None:
    part = tiny_index.iloc[[7, 3]]
    np.testing.assert_array_equal(all_pixels(part), images_of(Batches(part)))


def test_nothing_to_show_is_refused(tiny_index: Index) -> None:
    with pytest.raises(ValueError, match="no images in this part"):
        Batches(tiny_index.iloc[:0])
    with pytest.raises(ValueError, match="batch_size=0: give 1 or more"):
        Batches(tiny_index, batch_size=0)
    bare = tiny_index.drop(columns="row")
    bare.attrs = {}
    with pytest.raises(ValueError, match="image_size"):
        Batches(bare)


# -- images of one's own -------------------------------------------------------------------


def test_a_csv_file_of_three_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    lines = ["path,label"]
    for number in range(9):
        draw_file(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{'abc'[number % 3]}")
    (tmp_path / "my.csv").write_text("\n".join(lines), encoding="utf-8")
    index = load_index("oct", tmp_path / "my.csv", image_size=SIZE)
    images, labels = Batches(index, 9)[0]
    np.testing.assert_array_equal(images, all_pixels(index))
    np.testing.assert_array_equal(labels.argmax(axis=1), [0, 1, 2] * 3)


def test_images_of_a_medmnist_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    grey = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    arrays = {
        f"{part}_images": grey + number for number, part in enumerate(("train", "val", "test"))
    }
    labels = {f"{part}_labels": np.array([[0], [1], [0], [1]]) for part in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays, **labels)  # type: ignore[arg-type]
    index = load_index("pneumonia", tmp_path / "pneumoniamnist.npz", image_size=SIZE)
    tested = index[index["part"] == "test"]
    images, one_hot = Batches(tested, 4)[0]
    np.testing.assert_array_equal(images[..., 0], arrays["test_images"])
    np.testing.assert_array_equal(one_hot.argmax(axis=1), [0, 1, 0, 1])


# -- masks, and how often a class is shown -------------------------------------------------


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Return the index of 24 slices of six volumes, half of them with tumour."""
    root = tmp_path_factory.mktemp("brains")
    draw_volumes(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTORIALS_DATA", str(root / "home"))
        patch.setattr(registry, "get", STAND_INS.__getitem__)
        return load_index("brain_mri", root / "data", image_size=SIZE)


def test_masks_belong_to_their_images(brains: Index) -> None:
    part = brains.iloc[[20, 3, 5, 11]]
    batches = Batches(part, batch_size=3, masks=True)
    images, masks = batches[0]
    assert images.shape == (3, SIZE, SIZE, 3)
    assert masks.shape == (3, SIZE, SIZE, 1)
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) == {0.0, 1.0}
    np.testing.assert_array_equal(images, all_pixels(part.iloc[:3]))
    np.testing.assert_array_equal(masks, all_masks(part.iloc[:3]))
    np.testing.assert_array_equal(masks.any(axis=(1, 2, 3)), part["label"].iloc[:3] == 1)
    assert isinstance(batches.masks, np.memmap)
    np.testing.assert_array_equal(all_masks(part), open_masks(brains)[part["row"]])


def test_masks_where_there_are_none(tiny_index: Index) -> None:
    with pytest.raises(ValueError, match="This index has no masks"):
        Batches(tiny_index, masks=True)


def epochs_of(batches: Batches, number: int) -> list[list[int]]:
    """Return the positions that each of so many epochs shows."""
    found = []
    for _ in range(number):
        found.append(batches.order.tolist())
        batches.on_epoch_end()
    return found


def test_balanced_classes_come_equally_often(tiny_index: Index) -> None:
    ill, well = (tiny_index[tiny_index["label"] == label] for label in (1, 0))
    part = pd.concat([well, ill.iloc[:3]])
    part.attrs = tiny_index.attrs
    batches = Batches(part, batch_size=8, shuffle=True, seed=2, balance=True)
    labels = np.concatenate([batches[n][1].argmax(axis=1) for n in range(batches.num_batches)])
    assert np.bincount(labels).tolist() == [11, 10]  # 21 images an epoch, as there are
    times = np.zeros(21, int)
    for order in epochs_of(batches, 18):
        assert len(order) == 21
        np.add.at(times, order, 1)
    # in 18 epochs 198 showings of 18 healthy cells and 180 of 3 infected ones
    assert times[:18].tolist() == [11] * 18
    assert times[18:].tolist() == [60] * 3


def test_so_many_images_an_epoch_and_all_of_them_in_time(tiny_index: Index) -> None:
    batches = Batches(tiny_index, batch_size=5, shuffle=True, seed=1, per_epoch=12)
    assert batches.num_batches == 3
    first = epochs_of(batches, 3)
    assert sorted(np.concatenate(first)) == list(range(36))  # three epochs of 12 show all 36 once
    many = Batches(tiny_index, shuffle=True, seed=1, per_epoch=50)
    assert np.bincount(epochs_of(many, 1)[0]).max() == 2


def test_all_of_one_class_and_some_of_the_other(brains: Index) -> None:
    """All slices with tumour and half of the others: how a segmentation is trained."""
    batches = Batches(brains, shuffle=True, masks=True, seed=0, per_epoch={0: 6})
    label = brains["label"].to_numpy()
    first, second = epochs_of(batches, 2)
    for order in (first, second):
        assert len(order) == 18
        assert sorted(n for n in order if label[n] == 1) == np.flatnonzero(label == 1).tolist()
    others = [n for order in (first, second) for n in order if label[n] == 0]
    assert sorted(others) == np.flatnonzero(label == 0).tolist()
    assert label[first].tolist() != sorted(label[first])  # mixed, not one class after the other
    none = Batches(brains, shuffle=True, per_epoch={0: 0})
    assert set(label[none.order]) == {1}


def test_balanced_and_fewer_are_a_matter_of_the_seed(tiny_index: Index) -> None:
    def orders(seed: int) -> list[list[int]]:
        batches = Batches(tiny_index, shuffle=True, seed=seed, balance=True, per_epoch=10)
        return epochs_of(batches, 4)

    assert orders(3) == orders(3)
    assert orders(3) != orders(4)
    assert all(len(order) == 10 for order in orders(3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": True}, "shuffle=True"),
        ({"per_epoch": 5}, "shuffle=True"),
        ({"per_epoch": 0, "shuffle": True}, "per_epoch=0: give 1 or more"),
        ({"per_epoch": 1, "shuffle": True, "balance": True}, "less than one image of each class"),
        ({"per_epoch": {7: 1}, "shuffle": True}, "the label 7, of which there is no image here"),
        ({"per_epoch": {0: -1}, "shuffle": True}, "give 0 or more"),
        ({"per_epoch": {0: 0, 1: 0}, "shuffle": True}, "no image at all"),
        ({"per_epoch": {0: 1}, "shuffle": True, "balance": True}, "or balance; not both"),
    ],
)
def test_choices_that_make_no_sense(tiny_index: Index, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Batches(tiny_index, **options)
