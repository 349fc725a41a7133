"""Networks: a backbone with a head, small networks from scratch, U-Nets, averages of models.

Every model takes raw RGB pixels, 0–255: rescaling is its first layer, so a saved file is
complete and nobody can forget it. Models are flat (the backbone's layers are the model's
own), every layer has a fixed name, and all random weights come from one seed. Where Keras
computes in 16 bits (``backend.use_precision``), the first layer and what comes out stay float32.

Backbones stand in ``helpers.backbones``, heads in ``helpers.heads``, the networks that draw
an outline in ``helpers.unet``; a notebook reaches all of them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
from keras import layers

from helpers.backbones import backbones, build, reinitialise, unknown
from helpers.heads import HEADS, probabilities
from helpers.unet import res_unet, unet

__all__ = [
    "HEADS",
    "article_cnn",
    "average",
    "backbones",
    "feature_extractor",
    "layer_table",
    "mirrored",
    "picked",
    "randomised",
    "reinitialise",
    "res_unet",
    "small_cnn",
    "transfer",
    "turned",
    "unet",
]


def transfer(
    backbone: str = "efficientnet_lite0",
    *,
    classes: int = 2,
    head: str = "linear",
    image_size: int = 224,
    weights: str = "auto",
    trainable: bool = True,
    dropout: float | None = None,
    seed: int = 0,
) -> keras.Model:
    """Return a classifier: a backbone with its preprocessing, and a new head on top.

    Args:
        backbone: a name from ``backbones()``.
        classes: number of outputs; they are probabilities that sum to 1.
        head: a name from ``HEADS``: ``"linear"`` (average pooling, dense) or the head of a
            source article, such as ``"malaria"``. ``"oct"`` stands on VGG16's own two dense
            layers, and so needs the weights file that includes them.
        image_size: height and width of the input in pixels.
        weights: ``"auto"`` (those that need no download where there are any, else ImageNet's),
            ``"imagenet"``, ``"none"`` (random), or the path of a weights file for the backbone.
        trainable: False freezes the backbone.
        dropout: share of the head's units that are silenced in training, where it has dropout
            (None: what the head's article has; 0.5 where it has none).
        seed: random weights start here.

    Returns:
        A model from float or uint8 RGB pixels 0–255, (n, image_size, image_size, 3), to
        probabilities (n, classes). The layer ``"features"`` is the backbone's last map (with
        the head ``"oct"`` its last dense layer), ``"logits"`` the output before the softmax.

    Raises:
        ValueError: unknown backbone, head or weights, or a head that does not fit.
        RuntimeError: weights must be downloaded and cannot be; says which file goes where.
    """
    if head not in HEADS:
        raise ValueError(unknown("head", head, HEADS))
    chosen = HEADS[head]
    trunk = build(backbone, image_size, weights, seed, chosen.keeps_dense)
    trunk.trainable = trainable
    features = layers.Activation("linear", name="features")(trunk.output)
    outputs = chosen.build(features, chosen.dropout if dropout is None else dropout, seed)
    return keras.Model(
        trunk.input, probabilities(outputs, classes, seed), name=f"{backbone}_{head}"
    )


def feature_extractor(
    backbone: str = "efficientnet_lite0",
    *,
    image_size: int = 224,
    weights: str = "auto",
    seed: int = 0,
) -> keras.Model:
    """Return a backbone from pixels to its averaged features, (n, channels), frozen.

    Arguments and errors as in ``transfer``.
    """
    trunk = build(backbone, image_size, weights, seed)
    features = layers.Activation("linear", name="features")(trunk.output)
    # a mean of 16 bits would be rounded to 16 bits, and a regression is fitted to it
    pooled = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(features)
    model = keras.Model(trunk.input, pooled, name=f"{backbone}_features")
    model.trainable = False
    return model


def small_cnn(
    *,
    classes: int = 2,
    image_size: int = 64,
    filters: tuple[int, ...] = (16, 32, 64),
    dropout: float = 0.3,
    seed: int = 0,
) -> keras.Model:
    """Return a network of two 3×3 convolutions a stage, to be trained from scratch.

    Each convolution is followed by batch normalisation and ReLU. The first of each stage
    takes every second position only (a stride of 2), which halves height and width as
    pooling would. The last map is averaged, so the number of weights does not depend on
    the image size.

    Args:
        classes: number of outputs.
        image_size: height and width of the input in pixels.
        filters: channels of each stage; its length is the number of stages.
        dropout: before the last layer.
        seed: random weights start here.

    Returns:
        A model from RGB pixels 0–255 to probabilities, as ``transfer`` returns one.
    """
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(inputs)
    for stage, channels in enumerate(filters, start=1):
        for stride in (2, 1):
            name = f"stage{stage}_{'halve' if stride == 2 else 'look'}"
            x = layers.Conv2D(channels, 3, stride, "same", use_bias=False, name=name)(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_normalise")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.Activation("linear", name="features")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    return reinitialise(
        keras.Model(inputs, probabilities(x, classes, seed), name="small_cnn"), seed
    )


def article_cnn(
    *,
    classes: int = 2,
    image_size: int = 150,
    regularised: bool = False,
    dropout: float = 0.5,
    seed: int = 0,
) -> keras.Model:
    """Return the small network of the pneumonia article, or its regularised twin.

    The article's: three 3×3 convolutions of 32, 64 and 64 channels with ReLU, a 2×2 maximum
    after each; flattened, dense 128 with a sigmoid, dropout, dense. At 150 pixels it has
    2,424,194 parameters, of which 2,367,616 (98 %) sit in that one dense layer: a weight for
    every place of every map, which learns where a thing lay rather than what it was.

    The twin has the same three convolutions and three changes, each against one weakness:
    the maps are averaged over all places instead of flattened (64 numbers a picture rather
    than 18,496, so nothing can be learnt by place); batch normalisation after each
    convolution (training no longer hangs on the scale of the first weights); and ReLU in the
    hidden layer (a sigmoid's slope is at most a quarter and vanishes at both ends, so little
    of the error reaches the convolutions). The dropout stays.

    Args:
        classes: number of outputs.
        image_size: height and width of the input in pixels, at least 22.
        regularised: the twin instead of the article's own.
        dropout: before the last layer.
        seed: random weights start here.

    Returns:
        A model from RGB pixels 0–255 to probabilities, as ``transfer`` returns one.

    Raises:
        ValueError: the images are too small for three convolutions without a border.
    """
    if image_size < 22:
        raise ValueError(
            f"image_size={image_size}: three convolutions and poolings leave nothing of a "
            f"picture below 22 pixels; the article's has 150."
        )
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 255, dtype="float32", name="rescale")(inputs)
    for stage, channels in enumerate((32, 64, 64), start=1):
        x = layers.Conv2D(channels, 3, use_bias=not regularised, name=f"stage{stage}_look")(x)
        if regularised:
            x = layers.BatchNormalization(momentum=0.9, name=f"stage{stage}_normalise")(x)
        x = layers.ReLU(name=f"stage{stage}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"stage{stage}_halve")(x)
    x = layers.Activation("linear", name="features")(x)
    if regularised:
        x = layers.GlobalAveragePooling2D(name="pooled")(x)
    else:
        x = layers.Flatten(name="flat")(x)
    x = layers.Dense(128, "relu" if regularised else "sigmoid", name="hidden")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    name = "article_cnn_regularised" if regularised else "article_cnn"
    return reinitialise(keras.Model(inputs, probabilities(x, classes, seed), name=name), seed)


def mirrored(model: keras.Model, *, up_down: bool = True) -> keras.Model:
    """Return a model that averages the answers to an image and to its mirror images.

    An answer that is a map (of a U-Net) is mirrored back before it is averaged.

    Args:
        model: from RGB pixels 0–255 to probabilities, (n, classes) or (n, height, width, 1).
        up_down: False mirrors left and right only (two views instead of four): for pictures
            that have an up and a down, which no training image showed upside down.
    """
    return _averaged_over(model, _MIRRORS if up_down else _MIRRORS[:2], "mirrored")


def turned(model: keras.Model) -> keras.Model:
    """Return a model that averages the answers to an image turned and mirrored in all 8 ways.

    Four quarter turns, each with and without its mirror image: what a picture without an up
    and a down (a biopsy, a cell) may look like just as well. It takes eight times as long.
    An answer that is a map (of a U-Net) is turned back before it is averaged.

    Args:
        model: from RGB pixels 0–255 to probabilities, (n, classes) or (n, height, width, 1).

    Raises:
        ValueError: the images are not square, so that a quarter turn does not fit.
    """
    height, width = model.input_shape[1:3]
    if height != width:
        raise ValueError(
            f"turned() needs a model of square images; {model.name} takes {width}×{height} "
            f"pixels. Use mirrored()."
        )
    return _averaged_over(model, [*_MIRRORS, *_TURNS], "turned")


def average(members: Iterable[keras.Model]) -> keras.Model:
    """Return one model that averages the probabilities of several.

    Args:
        members: models with the same classes and the same image size. Two that share layers
            (two heads on one frozen backbone) get layers of their own: Keras saves shared
            ones once, and reloads the second model without them.
    """
    parts: list[keras.Model] = []
    used: set[int] = set()
    for number, member in enumerate(members, start=1):
        own = member
        if used & {id(layer) for layer in member.layers}:
            own = keras.models.clone_model(member)
            own.set_weights(member.get_weights())
        used |= {id(layer) for layer in own.layers}
        parts.append(keras.Model(own.input, own.output, name=f"member{number}_{member.name}"))
    inputs = keras.Input(parts[0].input_shape[1:], name="pixels")
    mean = layers.Average(dtype="float32", name="probabilities")([part(inputs) for part in parts])
    return keras.Model(inputs, mean, name="average")


def picked(candidates: Mapping[str, keras.Model], name: str) -> keras.Model:
    """Return the candidate of that name; any other name means the mean of them all."""
    return candidates[name] if name in candidates else average(list(candidates.values()))


def randomised(model: keras.Model, seed: int) -> keras.Model:
    """Return a copy of the model whose weights are random: the control for Grad-CAM."""
    return reinitialise(keras.models.clone_model(model), seed)


def layer_table(model: keras.Model) -> list[dict[str, Any]]:
    """Return one row a layer: name, type, output shape, parameters, trainable or not.

    Trainable is ``"yes"`` or ``"no"``, and empty where a layer has no parameters.
    """
    return [
        {
            "layer": layer.name,
            "type": type(layer).__name__,
            "output": "×".join(str(size) for size in tuple(layer.output.shape)[1:]),
            "parameters": layer.count_params(),
            "trainable": ("yes" if layer.trainable_weights else "no") if layer.weights else "",
        }
        for layer in model.layers
    ]


def _flip(axes: int | tuple[int, int]) -> Callable[[Any], Any]:
    """Return the function that mirrors images; it is its own inverse."""
    return lambda images: keras.ops.flip(images, axes)


def _swap(images: Any) -> Any:
    """Return the images mirrored at their main diagonal: rows become columns."""
    return keras.ops.transpose(images, (0, 2, 1, 3))


# Ways to look at an image: how to get there, and how to bring a map back.
_View = tuple[Callable[[Any], Any], Callable[[Any], Any]]
_FLIPS = [_flip(2), _flip(1), _flip((1, 2))]
_MIRRORS: list[_View] = [
    (lambda images: images, lambda maps: maps),
    *zip(_FLIPS, _FLIPS, strict=True),
]
# swapped and then flipped: the turns by 90° and 270°, and the mirror images at both diagonals
_TURNS: list[_View] = [
    (
        lambda images, there=there: there(_swap(images)),  # type: ignore[misc]
        lambda maps, back=back: _swap(back(maps)),  # type: ignore[misc]
    )
    for there, back in _MIRRORS
]


def _averaged_over(model: keras.Model, views: list[_View], name: str) -> keras.Model:
    """Return a model that averages the answers to several views of an image.

    All views go through the network as one batch: called once for each view, DenseNet201 would
    be traced eight times, which takes half a minute.
    """
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    seen = keras.ops.concatenate([there(inputs) for there, _ in views], axis=0)
    answers = keras.ops.reshape(model(seen), (len(views), -1, *model.output_shape[1:]))
    if len(model.output_shape) == 4:
        maps = [back(answers[number]) for number, (_, back) in enumerate(views)]
        answers = keras.ops.stack(maps, axis=0)
    return keras.Model(inputs, keras.ops.mean(answers, axis=0), name=f"{model.name}_{name}")
