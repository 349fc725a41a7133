"""Batches for training and prediction, read from the cache as they are needed.

Only the batches in flight are in memory: the cache is mapped, not loaded, so a laptop
trains on a set that is larger than its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers.index import open_masks, open_pixels


class Batches(keras.utils.PyDataset):
    """Batches of images and one-hot labels of an index (or of a part of one).

    Args:
        index: from ``load_index(…, image_size=…)``; any subset of its rows will do.
        batch_size: images a batch; the last batch holds what is left, so none is dropped.
        shuffle: a new order each epoch. Needed in training: sorted by class or patient,
            a batch would show one kind only and pull the weights its way.
        seed: of the order.
        workers: threads that prepare batches ahead of need, where Keras does so itself
            (``training.fit`` has a way of its own: ``backend.prefetched``).
        masks: give each image's mask in the place of its label.
        balance: show every class equally often, the images of a rare one several times.
        per_epoch: how many images an epoch shows; None: as many as there are. A mapping
            from label to number asks for so many of a class and for all of those it does
            not name: ``{0: 1_000}``. What one epoch leaves out comes in the next: no image
            is shown again before all of its kind were.

    Raises:
        ValueError: the index is empty or holds no pixels (or no masks, where they are asked
            for), a number is below 1, or a choice of images is asked for without shuffling.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 2,
        *,
        masks: bool = False,
        balance: bool = False,
        per_epoch: int | Mapping[int, int] | None = None,
    ) -> None:
        """Open the cache; nothing is read yet."""
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=4)
        if len(index) == 0:
            raise ValueError("There are no images in this part of the index.")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give 1 or more.")
        if (balance or per_epoch is not None) and not shuffle:
            raise ValueError(
                "balance and per_epoch choose images at random: they are for training, with "
                "shuffle=True. Predictions need every image once, in order."
            )
        self.pixels = open_pixels(index)
        self.masks = open_masks(index) if masks else None
        self.rows = index["row"].to_numpy()
        self.labels = index["label"].to_numpy()
        self.classes = len(index.attrs["classes"])
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = np.random.default_rng(seed)
        self.decks = _decks(self.labels, balance, per_epoch)
        self.order = np.arange(len(index))
        self.on_epoch_end()

    @property
    def num_batches(self) -> int:
        """The number of batches an epoch."""
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch ``number``.

        Returns:
            Images uint8 (n, size, size, 3), and labels float32 (n, k), one-hot; or, with
            ``masks``, masks float32 (n, size, size, 1), 0 or 1.
        """
        members = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        images = self.pixels[self.rows[members]]
        if self.masks is not None:
            return images, self.masks[self.rows[members]].astype(np.float32)
        return images, np.eye(self.classes, dtype=np.float32)[self.labels[members]]

    def on_epoch_end(self) -> None:
        """Choose and shuffle the images of the next epoch, where asked for."""
        if not self.shuffle:
            return
        dealt = [deck.deal(self.generator) for deck in self.decks]
        # one deck is in random order already; several lie one after the other
        self.order = dealt[0] if len(dealt) == 1 else self.generator.permutation(
            np.concatenate(dealt))  # fmt: skip


class _Deck:
    """Images that are dealt like cards: all of them once before any comes again."""

    def __init__(self, members: np.ndarray, each: int) -> None:
        self.members = members
        self.each = each
        self.rest = members[:0]

    def deal(self, generator: np.random.Generator) -> np.ndarray:
        """Return the positions of the next ``each`` images, shuffling anew when none is left."""
        while len(self.rest) < self.each:
            self.rest = np.concatenate([self.rest, generator.permutation(self.members)])
        dealt, self.rest = self.rest[: self.each], self.rest[self.each :]
        return dealt


def _decks(
    labels: np.ndarray, balance: bool, per_epoch: int | Mapping[int, int] | None
) -> list[_Deck]:
    """Return one deck of all images, or one a class where classes are drawn by number."""
    everything = np.arange(len(labels))
    if isinstance(per_epoch, Mapping):
        if balance:
            raise ValueError("Give numbers of each class in per_epoch, or balance; not both.")
        return _decks_by_class(labels, per_epoch)
    total = len(labels) if per_epoch is None else per_epoch
    if total < 1:
        raise ValueError(f"per_epoch={per_epoch}: give 1 or more.")
    if not balance:
        return [_Deck(everything, total)]
    present = np.unique(labels)
    if total < len(present):
        raise ValueError(f"per_epoch={per_epoch} is less than one image of each class.")
    # the remainder of the division goes to the first classes
    each = {int(label): total // len(present) for label in present}
    for label in present[: total % len(present)]:
        each[int(label)] += 1
    return _decks_by_class(labels, each)


def _decks_by_class(labels: np.ndarray, each: Mapping[int, int]) -> list[_Deck]:
    """Return one deck a class, for so many images an epoch, or all where none is said."""
    present = [int(label) for label in np.unique(labels)]
    for label, number in each.items():
        if label not in present:
            raise ValueError(
                f"per_epoch asks for the label {label}, of which there is no image here; there "
                f"are {', '.join(map(str, present))}."
            )
        if number < 0:
            raise ValueError(f"per_epoch={{{label}: {number}}}: give 0 or more.")
    decks = []
    for label in present:
        members = np.flatnonzero(labels == label)
        number = each.get(label, len(members))
        if number:
            decks.append(_Deck(members, number))
    if not decks:
        raise ValueError("per_epoch asks for no image at all.")
    return decks


def ahead(batches: keras.utils.PyDataset) -> Iterator[Any]:
    """Yield each batch of an epoch in order, read while the one before it is being used.

    It is for loops of our own; in training, Keras (or ``backend.prefetched``) does the same.
    A single thread reads, one batch after the other: what a plain loop would read, no more.

    Args:
        batches: at least one, and their number known.
    """
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(batches.__getitem__, 0)
        for number in range(1, batches.num_batches):
            batch = coming.result()
            coming = reader.submit(batches.__getitem__, number)
            yield batch
        yield coming.result()


def all_pixels(index: pd.DataFrame) -> Any:
    """Return the images of a few rows at once, uint8 (n, size, size, 3)."""
    return open_pixels(index)[index["row"].to_numpy()]


def all_masks(index: pd.DataFrame) -> Any:
    """Return the masks of a few rows at once, uint8 (n, size, size, 1), 0 or 1."""
    return open_masks(index)[index["row"].to_numpy()]
