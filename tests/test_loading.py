"""Batches: every image once an epoch, in the order that was asked for, from a memory map."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from tiny_images import SIZE, small_index

from helpers.index import open_pixels
from helpers.loading import Batches, all_pixels

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


class Recorder(keras.Model):
    """A model that learns nothing and notes the images it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

    def train_step(self, data: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        self.seen.append(np.asarray(data[0]))
        return {"loss": 0.0}


def test_keras_shows_every_image_once_an_epoch_and_shuffles_between(tiny_index: Index) -> None:
    """Through ``fit`` itself, which reads batches ahead in threads of its own."""
    recorder = Recorder()
    recorder.compile(run_eagerly=True)
    batches = Batches(tiny_index, batch_size=10, shuffle=True, seed=1)
    # Keras would shuffle the order of batches on top, from Python's global random state
    recorder.fit(batches, epochs=3, shuffle=False, verbose=0)
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
