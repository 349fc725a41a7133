"""Networks that draw an outline: U-Nets from an image to the probability of each pixel.

A U-Net (Ronneberger 2015, arXiv 1505.04597) halves a picture step by step until it knows
*what* is there, doubles it again, and takes over from each step on the way down *where* it
was. ``unet`` does so on a pretrained backbone, ``res_unet`` from scratch with shortcuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from helpers.backbones import build, draw_anew, reinitialise

_MOMENTUM = 0.9  # of batch normalisation: how much of the stored means survives a step
_STRIDES = (2, 4, 8, 16)  # of the maps that are carried over to the decoder
# EfficientNet-Lite0's last stages (320 and 1,280 channels, a third of its weights) prepare
# the choice among 1,000 classes; an outline needs the 192 channels before them.
_BOTTLENECKS = {"efficientnet_lite0": "block14_add"}


def unet(
    encoder: str = "efficientnet_lite0",
    *,
    image_size: int = 128,
    weights: str = "auto",
    trainable: bool = True,
    filters: Sequence[int] = (128, 64, 48, 32, 16),
    seed: int = 0,
) -> keras.Model:
    """Return a U-Net on a pretrained encoder.

    The encoder's preprocessing is inside. Its last map at 1/2, 1/4, 1/8 and 1/16 of the
    image's size is carried over. Each step of the decoder doubles height and width, joins
    what was carried over, and looks twice with separable 3×3 convolutions (a 3×3 for each
    channel alone, then a 1×1 across channels: an eighth of the weights), each followed by
    batch normalisation and ReLU.

    Args:
        encoder: a name from ``helpers.models.backbones()`` whose maps are halved five times.
        image_size: height and width of the input in pixels, a multiple of 32.
        weights: of the encoder, as in ``helpers.models.transfer``.
        trainable: False freezes the encoder.
        filters: channels of the decoder's five steps, the deepest first.
        seed: random weights start here.

    Returns:
        A model from RGB pixels 0–255, (n, image_size, image_size, 3), to the probability
        that a pixel belongs to the lesion, float32 (n, image_size, image_size, 1).

    Raises:
        ValueError: a size that cannot be halved five times, a number of filters other than
            five, or an encoder without a map of each size.
        RuntimeError: weights must be downloaded and cannot be; says which file goes where.
    """
    _require_halves(image_size, 5)
    if len(filters) != len(_STRIDES) + 1:
        raise ValueError(f"filters={tuple(filters)}: give {len(_STRIDES) + 1} numbers of channels.")
    trunk = build(encoder, image_size, weights, seed)
    trunk.trainable = trainable
    for layer in trunk.layers:
        if isinstance(layer, layers.BatchNormalization):
            # 0.99, as published, would still hold half of ImageNet's means after 60 steps,
            # and validation would judge a network that nobody trained
            layer.momentum = _MOMENTUM
    skips = [_last_map(trunk, image_size // stride, encoder) for stride in _STRIDES]
    bottleneck = _BOTTLENECKS.get(encoder)
    x = trunk.get_layer(bottleneck).output if bottleneck else trunk.output
    if x.shape[1] != image_size // 32:
        raise ValueError(_unsuited(encoder, image_size // 32))
    for step, channels in enumerate(filters, start=1):
        name = f"up{step}"
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_double")(x)
        if skips:
            x = layers.Concatenate(name=f"{name}_join")([x, skips.pop()])
        for look in ("look", "look_again"):
            x = _separable(x, channels, f"{name}_{look}")
    model = keras.Model(trunk.input, _pixel_probabilities(x), name=f"unet_{encoder}")
    known = {id(layer) for layer in trunk.layers}
    draw_anew((layer for layer in model.layers if id(layer) not in known), seed + 1)
    return model


def res_unet(
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    *,
    image_size: int = 128,
    seed: int = 0,
) -> keras.Model:
    """Return a residual U-Net, to be trained from scratch.

    Each block is two 3×3 convolutions with batch normalisation, to which the block's own
    input is added through a 1×1 convolution (Zhang 2018, arXiv 1711.10684): the error finds
    a short way back, so a deep network still learns. Blocks on the way down are followed by
    a 2×2 maximum; on the way up, the map is doubled and joined with that of the same size.
    Zhang normalises before each convolution and halves by a stride of 2; this is the form
    that sequels to the brain article have.

    Args:
        filters: channels of each level, the finest first; the last is the bottleneck's.
        image_size: height and width in pixels; it must be halved ``len(filters) − 1`` times.
        seed: random weights start here.

    Returns:
        A model from RGB pixels 0–255 to probabilities, as ``unet`` returns one.

    Raises:
        ValueError: fewer than two levels, or a size that cannot be halved often enough.
    """
    if len(filters) < 2:
        raise ValueError(f"filters={tuple(filters)}: give at least two levels.")
    _require_halves(image_size, len(filters) - 1)
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(inputs)
    skips = []
    for level, channels in enumerate(filters[:-1], start=1):
        skips.append(_residual(x, channels, f"down{level}"))
        x = layers.MaxPooling2D(2, name=f"down{level}_halve")(skips[-1])
    x = _residual(x, filters[-1], "bottom")
    for level in range(len(filters) - 1, 0, -1):
        x = layers.UpSampling2D(2, name=f"up{level}_double")(x)
        x = layers.Concatenate(name=f"up{level}_join")([x, skips[level - 1]])
        x = _residual(x, filters[level - 1], f"up{level}")
    return reinitialise(keras.Model(inputs, _pixel_probabilities(x), name="res_unet"), seed)


def _separable(x: Any, channels: int, name: str) -> Any:
    """Return a separable 3×3 convolution with batch normalisation and ReLU."""
    x = layers.SeparableConv2D(channels, 3, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_normalise")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _residual(x: Any, channels: int, name: str) -> Any:
    """Return two 3×3 convolutions and a 1×1 shortcut around them, added."""
    shortcut = _convolution(x, channels, 1, f"{name}_shortcut")
    x = layers.ReLU(name=f"{name}_look_relu")(_convolution(x, channels, 3, f"{name}_look"))
    x = _convolution(x, channels, 3, f"{name}_look_again")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x: Any, channels: int, width: int, name: str) -> Any:
    """Return a convolution with batch normalisation."""
    x = layers.Conv2D(channels, width, padding="same", use_bias=False,
                      kernel_initializer="he_normal", name=name)(x)  # fmt: skip
    return layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_normalise")(x)


def _pixel_probabilities(x: Any) -> Any:
    """Return the 1×1 convolution and the sigmoid, named ``logits`` and ``probabilities``."""
    # float32 whatever the precision of the rest: in 16 bits small scores are lost
    logits = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return layers.Activation("sigmoid", dtype="float32", name="probabilities")(logits)


def _last_map(trunk: keras.Model, size: int, encoder: str) -> Any:
    """Return the encoder's last map of a size: it has seen most before the next halving."""
    for layer in reversed(trunk.layers):
        shape = layer.output.shape
        if len(shape) == 4 and tuple(shape[1:3]) == (size, size):
            return layer.output
    raise ValueError(_unsuited(encoder, size))


def _unsuited(encoder: str, size: int) -> str:
    """Return the message for an encoder that does not halve its maps as a U-Net needs it."""
    return (
        f"{encoder} has no map of {size}×{size} pixels where a U-Net needs one. Choose an encoder "
        f"that halves its maps five times, such as efficientnet_lite0, resnet50 or densenet121."
    )


def _require_halves(image_size: int, times: int) -> None:
    """Refuse a size that does not come back whole after so many halvings."""
    factor = 2**times
    if image_size < factor or image_size % factor:
        raise ValueError(
            f"image_size={image_size} cannot be halved {times} times: give a multiple of {factor}."
        )
