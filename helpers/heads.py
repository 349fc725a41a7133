"""Heads: what stands between a backbone's last map and the last dense layer.

``"linear"`` is ours. The others are those of the source articles, rebuilt layer by layer:
the number of parameters of the whole model proves it, and a test compares it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from helpers.initial_weights import draw


@dataclass(frozen=True)
class Head:
    """How a head is built.

    Attributes:
        build: from the backbone's output, the share of dropout and a seed to what the last
            dense layer takes.
        dropout: share of units silenced in training where nothing else is asked for.
        keeps_dense: the head stands on the backbone's own dense layers, not on its last map.
    """

    build: Callable[[Any, float, int], Any]
    dropout: float = 0.5
    keeps_dense: bool = False


def probabilities(x: Any, classes: int, seed: int) -> Any:
    """Return the last dense layer and the softmax, named ``logits`` and ``probabilities``."""
    # float32 whatever the precision of the rest: in 16 bits small scores are lost
    logits = _dense(x, classes, None, "logits", seed, dtype="float32")
    return layers.Activation("softmax", dtype="float32", name="probabilities")(logits)


def _linear(features: Any, dropout: float, seed: int) -> Any:
    """Average pooling and dropout: the last dense layer is all that learns."""
    pooled = layers.GlobalAveragePooling2D(name="pooled")(features)
    return layers.Dropout(dropout, seed=seed, name="dropout")(pooled)


def _breast_cancer(features: Any, dropout: float, seed: int) -> Any:
    """The breast cancer article's head: average pooling, dropout, batch normalisation."""
    pooled = layers.GlobalAveragePooling2D(name="pooled")(features)
    silenced = layers.Dropout(dropout, seed=seed, name="dropout")(pooled)
    return layers.BatchNormalization(name="normalise")(silenced)


def _brain_mri(features: Any, dropout: float, seed: int) -> Any:
    """The brain article's head: average pooling 4×4, flatten, three times dense and dropout."""
    x = _pooled_four_by_four(features, "brain_mri", 256)
    for number in (1, 2, 3):
        x = _dense(x, 256, "relu", f"hidden{number}", seed + number)
        x = layers.Dropout(dropout, seed=seed + number, name=f"dropout{number}")(x)
    return x


def _malaria(features: Any, dropout: float, seed: int) -> Any:
    """The malaria article's head: average pooling 4×4, flatten, dense 128 ReLU, dropout."""
    flat = _pooled_four_by_four(features, "malaria", 128)
    hidden = _dense(flat, 128, "relu", "hidden", seed + 1)
    return layers.Dropout(dropout, seed=seed, name="dropout")(hidden)


def _oct(features: Any, dropout: float, seed: int) -> Any:
    """The OCT article's head, in the place of VGG16's last layer: dense 256 ReLU, dropout."""
    hidden = _dense(features, 256, "relu", "hidden", seed + 1)
    return layers.Dropout(dropout, seed=seed, name="dropout")(hidden)


def _pooled_four_by_four(features: Any, head: str, published: int) -> Any:
    """Return the mean over each 4×4 places of a map, as one row of numbers."""
    height, width = features.shape[1:3]
    if min(height, width) < 4:
        raise ValueError(
            f"The head {head!r} averages over 4×4 places, and the backbone's last maps have "
            f"{height}×{width} only. Give a larger image_size; the article's is {published}."
        )
    pooled = layers.AveragePooling2D(4, name="pooled")(features)
    return layers.Flatten(name="flat")(pooled)


def _dense(
    x: Any, units: int, activation: str | None, name: str, seed: int, dtype: str | None = None
) -> Any:
    """Return a dense layer, its weights drawn from a seed, the same on every backend."""
    initialiser = keras.initializers.GlorotUniform(seed=seed)
    layer = layers.Dense(units, activation, kernel_initializer=initialiser, dtype=dtype, name=name)
    outputs = layer(x)
    layer.kernel.assign(draw(initialiser, layer.kernel.shape, layer.kernel.dtype))
    return outputs


# Heads by name; the last dense layer and the softmax follow every one of them.
HEADS: dict[str, Head] = {
    "linear": Head(_linear),
    "breast_cancer": Head(_breast_cancer),
    "brain_mri": Head(_brain_mri, dropout=0.3),
    "malaria": Head(_malaria),
    "oct": Head(_oct, dropout=0.4, keeps_dense=True),
}
