"""Networks: pretrained backbones with their own preprocessing inside, heads, a small CNN.

Every model takes raw RGB pixels, 0–255: rescaling is its first layer, so a saved file is
complete and nobody can forget it. Models are flat (the backbone's layers are the model's
own), every layer has a fixed name, and all random weights come from one seed.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from helpers import weights as pretrained

# EfficientNet-Lite0, Table 1 of Tan & Le 2019 (arXiv 1905.11946) without squeeze-and-
# excitation: (expansion, filters, repeats, stride, kernel) of each stage.
_LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def transfer(
    backbone: str = "efficientnet_lite0",
    *,
    classes: int = 2,
    head: str = "linear",
    image_size: int = 224,
    weights: str = "auto",
    trainable: bool = True,
    dropout: float = 0.5,
    seed: int = 0,
) -> keras.Model:
    """Return a classifier: a backbone with its preprocessing, and a new head on top.

    Args:
        backbone: a name from ``backbones()``.
        classes: number of outputs; they are probabilities that sum to 1.
        head: a name from ``HEADS``: ``"linear"`` (average pooling, dense) or the head of a
            source article, such as ``"malaria"``.
        image_size: height and width of the input in pixels.
        weights: ``"auto"`` (those that need no download where there are any, else ImageNet's),
            ``"imagenet"``, ``"none"`` (random), or the path of a weights file for the backbone.
        trainable: False freezes the backbone.
        dropout: share of the head's units that are silenced in training, where it has dropout.
        seed: random weights start here.

    Returns:
        A model from float or uint8 RGB pixels 0–255, (n, image_size, image_size, 3), to
        probabilities (n, classes). The layer ``"features"`` is the backbone's last map,
        ``"logits"`` the output before the softmax.

    Raises:
        ValueError: unknown backbone, head or weights.
        RuntimeError: weights must be downloaded and cannot be; says which file goes where.
    """
    if head not in HEADS:
        raise ValueError(_unknown("head", head, HEADS))
    inputs, features = _backbone(backbone, image_size, weights, seed)
    trunk = keras.Model(inputs, features)
    trunk.trainable = trainable
    outputs = HEADS[head](features, dropout, seed)
    return keras.Model(inputs, _probabilities(outputs, classes, seed), name=f"{backbone}_{head}")


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
    inputs, features = _backbone(backbone, image_size, weights, seed)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(features)
    model = keras.Model(inputs, pooled, name=f"{backbone}_features")
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
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
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
        keras.Model(inputs, _probabilities(x, classes, seed), name="small_cnn"), seed
    )


def mirrored(model: keras.Model) -> keras.Model:
    """Return a model that averages the answers to an image and to its three mirror images.

    Args:
        model: from RGB pixels 0–255 to probabilities.
    """
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    views = [inputs, *(keras.ops.flip(inputs, axis) for axis in (2, 1, (1, 2)))]
    mean = layers.Average(name="probabilities")([model(view) for view in views])
    return keras.Model(inputs, mean, name=f"{model.name}_mirrored")


def average(members: Iterable[keras.Model]) -> keras.Model:
    """Return one model that averages the probabilities of several.

    Args:
        members: models with the same classes and the same image size.
    """
    parts = [
        keras.Model(member.input, member.output, name=f"member{number}_{member.name}")
        for number, member in enumerate(members, start=1)
    ]
    inputs = keras.Input(parts[0].input_shape[1:], name="pixels")
    mean = layers.Average(name="probabilities")([part(inputs) for part in parts])
    return keras.Model(inputs, mean, name="average")


def reinitialise(model: keras.Model, seed: int) -> keras.Model:
    """Return the model itself, its weights drawn anew from one seed.

    Keras draws initial weights from global random state when a layer was built without a
    seed, as all layers of ``keras.applications`` are. Here each variable's own initialiser
    is run again with a seed of its own, so the same seed gives the same weights.
    """
    seeds = np.random.SeedSequence(seed)
    for layer in _all_layers(model):
        for variable in layer.weights:
            attribute = f"{variable.name}_initializer"
            if variable.name == "kernel" and hasattr(layer, "depthwise_initializer"):
                attribute = "depthwise_initializer"
            elif variable.name in ("depthwise_kernel", "pointwise_kernel"):
                attribute = variable.name.replace("kernel", "initializer")
            initialiser = getattr(layer, attribute, None)
            if initialiser is None:
                continue  # a constant of the layer, such as the mean of Normalization
            config = initialiser.get_config()
            if "seed" in config:
                config["seed"] = int(seeds.spawn(1)[0].generate_state(1)[0] >> 1)
            fresh = type(initialiser).from_config(config)
            variable.assign(fresh(variable.shape, dtype=variable.dtype))
    return model


def randomised(model: keras.Model, seed: int) -> keras.Model:
    """Return a copy of the model whose weights are random: the control for Grad-CAM."""
    return reinitialise(keras.models.clone_model(model), seed)


def backbones() -> tuple[str, ...]:
    """Return the names that ``transfer`` takes: ours, then all of ``keras.applications``."""
    return ("efficientnet_lite0", *_applications())


def layer_table(model: keras.Model) -> list[dict[str, Any]]:
    """Return one row a layer: name, type, output shape, parameters, trainable or not."""
    return [
        {
            "layer": layer.name,
            "type": type(layer).__name__,
            "output": "×".join(str(size) for size in tuple(layer.output.shape)[1:]),
            "parameters": layer.count_params(),
            "trainable": bool(layer.trainable_weights),
        }
        for layer in model.layers
    ]


def _linear_head(features: Any, dropout: float, seed: int) -> Any:
    """Average pooling and dropout: the last dense layer is all that learns."""
    pooled = layers.GlobalAveragePooling2D(name="pooled")(features)
    return layers.Dropout(dropout, seed=seed, name="dropout")(pooled)


def _malaria_head(features: Any, dropout: float, seed: int) -> Any:
    """The malaria article's head: average pooling 4×4, flatten, dense 128 ReLU, dropout."""
    height, width = features.shape[1:3]
    if min(height, width) < 4:
        raise ValueError(
            f"The head 'malaria' averages over 4×4 places, and the backbone's last maps have "
            f"{height}×{width} only. Give a larger image_size; the article's is 128."
        )
    pooled = layers.AveragePooling2D(4, name="pooled")(features)
    flat = layers.Flatten(name="flat")(pooled)
    initialiser = keras.initializers.GlorotUniform(seed=seed + 1)
    hidden = layers.Dense(128, "relu", kernel_initializer=initialiser, name="hidden")(flat)
    return layers.Dropout(dropout, seed=seed, name="dropout")(hidden)


# Heads by name; the last dense layer and the softmax follow every one of them.
HEADS: dict[str, Callable[[Any, float, int], Any]] = {
    "linear": _linear_head,
    "malaria": _malaria_head,
}


def _probabilities(x: Any, classes: int, seed: int) -> Any:
    """Return the last dense layer and the softmax, named ``logits`` and ``probabilities``."""
    initialiser = keras.initializers.GlorotUniform(seed=seed)
    logits = layers.Dense(classes, kernel_initializer=initialiser, name="logits")(x)
    # float32 whatever the precision of the rest: a softmax in 16 bits loses small scores
    return layers.Activation("softmax", dtype="float32", name="probabilities")(logits)


def _backbone(name: str, image_size: int, weights: str, seed: int) -> tuple[Any, Any]:
    """Return the input tensor and the last feature map of a backbone."""
    if name not in backbones():
        raise ValueError(_unknown("backbone", name, backbones()))
    path = _weights_file(weights)
    download = path is None and weights != "none"
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    ours = name == "efficientnet_lite0"
    trunk = _lite0(inputs) if ours else _application(name, inputs, download)
    if not download:
        reinitialise(trunk, seed)
    elif ours:
        _assign_lite0(trunk, pretrained.lite0_weights())
    if path is not None:
        _load_weights(trunk, path, name)
    return inputs, layers.Activation("linear", name="features")(trunk.output)


def _applications() -> dict[str, Callable[..., keras.Model]]:
    """Return the networks of ``keras.applications`` by name in lower case."""
    return {
        name.lower(): function
        for name, function in inspect.getmembers(keras.applications, inspect.isfunction)
    }


def _application(name: str, inputs: Any, download: bool) -> keras.Model:
    """Return a ``keras.applications`` network, without its top, on its own preprocessing."""
    build = _applications()[name]
    scaled = inspect.getmodule(build).preprocess_input(inputs)  # type: ignore[union-attr]
    try:
        return build(
            include_top=False, weights="imagenet" if download else None, input_tensor=scaled
        )
    except Exception as error:
        wanted = _failed_download(error)
        if wanted is None:
            raise
        digest = str(wanted["file_hash"] or "")
        kind = "md5" if len(digest) == 32 else "sha256"
        check = f"check that its {kind} is {digest}, " if digest else ""
        raise RuntimeError(
            f"The ImageNet weights of {name} could not be downloaded ({error}). By hand: fetch "
            f"{wanted['origin']} on a machine that can, {check}"
            f"and put it at {wanted['download_target']}. Or "
            f"choose backbone='efficientnet_lite0', which needs no download, weights='none', or "
            f"weights='<path of a file>'."
        ) from error


def _failed_download(error: BaseException) -> dict[str, Any] | None:
    """Return the variables of the ``keras.utils.get_file`` call that an error came from.

    That call alone knows the file's address, its hash and the place where it is looked for:
    Keras keeps them in the source of each network, not in a table.
    """
    traceback = error.__traceback__
    while traceback is not None:
        found = traceback.tb_frame.f_locals
        if traceback.tb_frame.f_code.co_name == "get_file" and "download_target" in found:
            return found
        traceback = traceback.tb_next
    return None


def _weights_file(weights: str) -> Path | None:
    """Return the path that ``weights`` names, or None where it is one of the three words."""
    if weights in ("auto", "imagenet", "none"):
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(
            f"weights={weights!r} is no file and none of 'auto', 'imagenet', 'none'. "
            f"Looked for {path.absolute()}."
        )
    return path


def _load_weights(trunk: keras.Model, path: Path, name: str) -> None:
    """Load a weights file into the backbone."""
    try:
        trunk.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"{path} does not hold weights of {name} without its top ({error}). Expected the "
            f"'…_notop.h5' file of keras.applications, or what save_weights() wrote for it."
        ) from error


def _lite0(inputs: Any) -> keras.Model:
    """Return EfficientNet-Lite0 up to its last 1,280 maps, weights not yet set."""
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(inputs)
    x = _normalised(layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem")(x), "stem")
    number, channels = 0, 32
    for expansion, filters, repeats, stride, kernel in _LITE0_STAGES:
        for repeat in range(repeats):
            block, shortcut = f"block{number}", x
            if expansion > 1:
                expand = layers.Conv2D(
                    channels * expansion, 1, use_bias=False, name=f"{block}_expand"
                )
                x = _normalised(expand(x), f"{block}_expand")
            depthwise = layers.DepthwiseConv2D(
                kernel,
                stride if repeat == 0 else 1,
                "same",
                use_bias=False,
                name=f"{block}_depthwise",
            )
            x = _normalised(depthwise(x), f"{block}_depthwise")
            project = layers.Conv2D(filters, 1, use_bias=False, name=f"{block}_project")
            x = _normalised(project(x), f"{block}_project", activate=False)
            if repeat > 0:
                x = layers.Add(name=f"{block}_add")([shortcut, x])
            number, channels = number + 1, filters
    x = _normalised(layers.Conv2D(1280, 1, use_bias=False, name="top")(x), "top")
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _normalised(x: Any, name: str, activate: bool = True) -> Any:
    """Return batch normalisation as EfficientNet-Lite has it, and ReLU6 after it."""
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_normalise")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activate else x


def _assign_lite0(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Put PyTorch's arrays into the Keras layers that they belong to."""
    pairs = [("stem", "_conv_stem", "_bn0"), ("top", "_conv_head", "_bn1")]
    for number in range(16):
        steps = ["expand", "depthwise", "project"] if number else ["depthwise", "project"]
        for norm, step in enumerate(steps, start=0 if number else 1):
            source = f"_blocks.{number}."
            pairs.append((f"block{number}_{step}", f"{source}_{step}_conv", f"{source}_bn{norm}"))
    for layer, convolution, normalisation in pairs:
        kernel = arrays[f"{convolution}.weight"]
        # PyTorch: (out, in, height, width); Keras: (height, width, in, out) — and for a
        # depthwise convolution (channels, 1, …) becomes (…, channels, 1)
        order = (2, 3, 0, 1) if "depthwise" in layer else (2, 3, 1, 0)
        model.get_layer(layer).set_weights([kernel.transpose(order)])
        model.get_layer(f"{layer}_normalise").set_weights(
            [
                arrays[f"{normalisation}.{name}"]
                for name in ("weight", "bias", "running_mean", "running_var")
            ]
        )


def _all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model and of the models inside it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
        else:
            yield layer


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not known, with the nearest that is."""
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}."
