"""Batches for training and prediction, read from the cache as they are needed.

Only the batches in flight are in memory: the cache is mapped, not loaded, so a laptop
trains on a set that is larger than its memory.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers.index import open_pixels


class Batches(keras.utils.PyDataset):
    """Batches of images and one-hot labels of an index (or of a part of one).

    Args:
        index: from ``load_index(…, image_size=…)``; any subset of its rows will do.
        batch_size: images a batch; the last batch holds what is left, so none is dropped.
        shuffle: a new order each epoch. Needed in training: sorted by class or patient,
            a batch would show one kind only and pull the weights its way.
        seed: of the order.
        workers: threads that prepare batches ahead of need.

    Raises:
        ValueError: the index is empty or holds no pixels, or batch_size is below 1.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        """Open the cache; nothing is read yet."""
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=4)
        if len(index) == 0:
            raise ValueError("There are no images in this part of the index.")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give 1 or more.")
        self.pixels = open_pixels(index)
        self.rows = index["row"].to_numpy()
        self.labels = index["label"].to_numpy()
        self.classes = len(index.attrs["classes"])
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = np.random.default_rng(seed)
        self.order = np.arange(len(index))
        self.on_epoch_end()

    @property
    def num_batches(self) -> int:
        """The number of batches an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch ``number``: images uint8 (n, size, size, 3), labels float32 (n, k)."""
        members = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        images = self.pixels[self.rows[members]]
        return images, np.eye(self.classes, dtype=np.float32)[self.labels[members]]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch, where asked for."""
        if self.shuffle:
            self.order = self.generator.permutation(len(self.rows))


def all_pixels(index: pd.DataFrame) -> Any:
    """Return the images of a few rows at once, uint8 (n, size, size, 3)."""
    return open_pixels(index)[index["row"].to_numpy()]
