"""Tiny cells with masks, and a network that learns them at once."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from tiny_images import SIZE

from helpers.loading import Batches
from helpers.models import reinitialise


class MaskBatches(Batches):
    """Batches whose masks are where a cell is violet."""

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        images, _ = super().__getitem__(number)
        violet = (images[..., 2:] > 70) & (images[..., :1] < 130)
        return images, violet.astype(np.float32)


def tiny_unet(seed: int = 0) -> keras.Model:
    """Return a network that judges each pixel by its own colour."""
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    x = layers.Conv2D(8, 1, activation="relu", name="look")(x)
    x = layers.Conv2D(1, 1, activation="sigmoid", name="probabilities")(x)
    return reinitialise(keras.Model(inputs, x, name="tiny_unet"), seed)
