"""Where a network looks: Grad-CAM, and the control that says whether to believe it.

A heat map convinces too easily. Adebayo 2018 (arXiv 1810.03292) showed maps that hardly
change when the weights are random: so each map here is shown beside that of an untrained
copy. Where both look alike, the map says something about the picture, nothing about
what was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from helpers import backend


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    label: int | str | Sequence[int] | np.ndarray,
    layer: str | None = None,
    classes: Sequence[str] | None = None,
) -> np.ndarray:
    """Return a heat map an image: how much each region speaks for a class.

    Selvaraju 2017 (arXiv 1610.02391), equations 1 and 2: the channels of a layer, weighted
    by the mean gradient of the class's output before the softmax, summed, negative values
    cut off. Each map is divided by its own maximum.

    Args:
        model: one of ``helpers.models``, with a layer ``logits``.
        images: (n, height, width, 3), 0–255.
        label: the class that the maps are about: its number, its name, or one number for
            each image (such as what the model calls it).
        layer: the name of a layer with maps (None: the last one before the pooling).
        classes: the class names in label order; needed where ``label`` is a name.

    Returns:
        float32 (n, height, width), 0–1, resized smoothly to the images' size.

    Raises:
        ValueError: the model has no such layer or no such class.
    """
    watched = model.get_layer(layer or _last_map(model))
    below = keras.Model(model.input, watched.output)
    above = _above(model, watched)
    chosen = _one_hot(label, len(images), int(above.output.shape[-1]), classes)
    maps = np.asarray(below.predict_on_batch(np.asarray(images, np.float32)))
    _, slopes = backend.gradient(
        lambda tensor: keras.ops.sum(above(tensor, training=False) * chosen, axis=1), maps
    )
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((weights * maps).sum(axis=-1, keepdims=True), 0.0)
    size = tuple(images.shape[1:3])
    heat = np.asarray(keras.ops.image.resize(heat, size, interpolation="bicubic"))[..., 0]
    heat = np.maximum(heat, 0.0)
    top = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, top, out=np.zeros_like(heat), where=top > 0).astype(np.float32)


def most_confident_errors(
    truth: np.ndarray, scores: np.ndarray, most: int, threshold: float = 0.5
) -> np.ndarray:
    """Return positions of wrong decisions, the most confident first.

    Confidence is the probability that was given to the class called, which is wrong; of two
    classes, how far the score lies from the threshold.

    Args:
        truth: (n,) 0 or 1; class numbers where scores are (n, k).
        scores: (n,) probability of the positive class, or (n, k) probabilities, of which the
            highest is called.
        most: how many at most.
        threshold: the positive class is called from this score on; not used with (n, k).
    """
    truths, values = np.asarray(truth), np.asarray(scores)
    if values.ndim == 1:
        called, confidence = (values >= threshold).astype(int), np.abs(values - threshold)
    else:
        called, confidence = values.argmax(axis=1), values.max(axis=1)
    wrong = np.flatnonzero(called != truths)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


def _one_hot(
    label: int | str | Sequence[int] | np.ndarray,
    images: int,
    outputs: int,
    classes: Sequence[str] | None,
) -> np.ndarray:
    """Return float32 (images, outputs): 1 at the class that each image's map is about."""
    if isinstance(label, str):
        if classes is None or label not in classes:
            told = "classes is missing" if classes is None else f"there are {', '.join(classes)}"
            raise ValueError(f"There is no class {label!r} here: {told}.")
        label = list(classes).index(label)
    numbers = np.broadcast_to(np.asarray(label), (images,)) if np.ndim(label) == 0 else label
    numbers = np.asarray(numbers)
    if numbers.shape != (images,) or numbers.min() < 0 or numbers.max() >= outputs:
        raise ValueError(
            f"label={np.asarray(label).tolist()}: give one class number, 0 to {outputs - 1}, or "
            f"one for each of the {images} images."
        )
    return np.eye(outputs, dtype=np.float32)[numbers]


def _last_map(model: keras.Model) -> str:
    """Return the name of the last layer whose output is a map."""
    for layer in reversed(model.layers):
        if len(layer.output.shape) == 4 and min(layer.output.shape[1:3]) > 1:
            return str(layer.name)
    raise ValueError(f"{model.name} has no layer whose output is a map, so no Grad-CAM.")


def _above(model: keras.Model, watched: keras.layers.Layer) -> Any:
    """Return the part of the model from a layer's output to the logits."""
    if "logits" not in [layer.name for layer in model.layers]:
        raise ValueError(f"{model.name} has no layer 'logits'; build it with helpers.models.")
    return keras.Model(watched.output, model.get_layer("logits").output)
