"""Training on several devices at once: each computes its share of every batch.

Keras calls this data parallelism. Every device holds a copy of the network; the gradients of
their shares are added up before a step, so that all copies stay alike. Only ``training.fit``
does so: features, predictions and heat maps are computed on one device.

What is the same as on one device, but for rounding: the loss, the gradient and its clipping, the
steps of every optimiser. What is not: the last batch of an epoch gives up the images that cannot
be dealt evenly, at most one fewer than there are devices. And on TensorFlow, where each device
knows its own share only: batch normalisation that is trained takes mean and variance of a share,
and each device draws the same random numbers for its share (for augmentation and dropout),
where one device would have drawn numbers for the whole batch. JAX computes both over the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from helpers import backend
from helpers.loading import Batches


@contextmanager
def spread(
    model: keras.Model, augment: keras.layers.Layer | None
) -> Iterator[tuple[keras.Model, keras.layers.Layer | None]]:
    """Yield what is to be trained in the place of a model and its augmentation.

    On one device that is the two themselves. On several it is a copy of each that lies on all
    of them; build everything else that training needs inside of the ``with``. At its end, unless
    an error led there, the weights come back into the model.

    Raises:
        RuntimeError: more devices are asked for than there are.
    """
    if len(backend.training_devices()) == 1:
        yield model, augment
        return
    with backend.data_parallel():
        copies: list[Any] = [_assigned(keras.models.clone_model(model), model)]
        if augment is not None:
            own = type(augment).from_config(augment.get_config())
            copies.append(_assigned(own, augment))
        yield copies[0], (copies[1] if augment is not None else None)
    for original, copy in zip((model, augment), copies, strict=False):
        _assigned(original, copy)


def even(batches: Batches) -> Batches | EvenBatches:
    """Return batches that can be dealt to the devices: the same ones where there is one device.

    Raises:
        ValueError: the size of a batch is no multiple of the number of devices.
        RuntimeError: more devices are asked for than there are.
    """
    devices = len(backend.training_devices())
    if devices == 1:
        return batches
    if batches.batch_size % devices:
        near = devices * max(1, round(batches.batch_size / devices))
        raise ValueError(
            f"batch_size={batches.batch_size} cannot be dealt evenly to {devices} devices: give a "
            f"multiple of {devices}, such as {near}."
        )
    return EvenBatches(batches, devices)


class EvenBatches(keras.utils.PyDataset):
    """Batches whose last one is cut to a multiple of the number of devices.

    An empty share has no mean: its loss would be no number. Shuffled, other images are left out
    in each epoch.

    Args:
        batches: all but the last can be dealt evenly.
        devices: how many.

    Raises:
        ValueError: there are fewer images than devices.
    """

    def __init__(self, batches: Batches, devices: int) -> None:
        """Look at the last batch; its size is the same in every epoch."""
        super().__init__(
            workers=batches.workers, use_multiprocessing=False,
            max_queue_size=batches.max_queue_size,
        )  # fmt: skip
        self.batches, self.devices = batches, devices
        last = len(batches[batches.num_batches - 1][0])
        self.count = batches.num_batches - (last < devices)
        if self.count < 1:
            raise ValueError(f"{last} images cannot be dealt to {devices} devices.")

    @property
    def num_batches(self) -> int:
        """The number of batches an epoch."""
        return self.count

    def __getitem__(self, number: int) -> Any:
        """Return batch ``number``: its arrays, each cut to a multiple of the devices."""
        arrays = self.batches[number]
        kept = len(arrays[0]) // self.devices * self.devices
        return tuple(array[:kept] for array in arrays)

    def on_epoch_begin(self) -> None:
        """Pass the word on."""
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch, where asked for."""
        self.batches.on_epoch_end()


def _assigned(target: Any, source: Any) -> Any:
    """Return a model or layer with all numbers of another: weights, and where its chance stands."""
    for mine, theirs in zip(target.variables, source.variables, strict=True):
        mine.assign(keras.ops.convert_to_numpy(theirs))
    return target
