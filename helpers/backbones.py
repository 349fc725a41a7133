"""Backbones: pretrained networks with their own preprocessing inside, ready for a head.

EfficientNet-Lite0 is built here, because its weights come with a package; all others are
those of ``keras.applications``. Every backbone takes raw RGB pixels, 0–255.
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
from helpers.initial_weights import draw

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

# Backbones whose published weights have dense layers worth keeping, and the size in pixels
# that those layers were trained for.
_DENSE_BACKBONES = {"vgg16": 224, "vgg19": 224}


def build(
    name: str, image_size: int, weights: str, seed: int, keep_dense: bool = False
) -> keras.Model:
    """Return a backbone from raw pixels to its last map, (n, height, width, channels).

    Args:
        name: from ``backbones()``.
        image_size: height and width of the input in pixels.
        weights: ``"auto"``, ``"imagenet"``, ``"none"`` or the path of a weights file.
        seed: random weights start here.
        keep_dense: keep the network's own dense layers but for the last one, that of
            ImageNet's 1,000 classes (VGG only); the output is (n, channels) then.

    Raises:
        ValueError: unknown backbone or weights, or dense layers that cannot be kept.
        RuntimeError: weights must be downloaded and cannot be; says which file goes where.
    """
    if name not in backbones():
        raise ValueError(unknown("backbone", name, backbones()))
    path = _weights_file(weights)
    download = path is None and weights != "none"
    if keep_dense:
        _require_dense(name, image_size, random=weights == "none")
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    ours = name == "efficientnet_lite0"
    trunk = _lite0(inputs) if ours else _application(name, inputs, download, keep_dense)
    if not download:
        reinitialise(trunk, seed)
    elif ours:
        _assign_lite0(trunk, pretrained.lite0_weights())
    if path is not None:
        _load_weights(trunk, path, name, keep_dense)
    # a file with dense layers has that of ImageNet's classes too; what is kept ends before it
    output = trunk.layers[-2].output if keep_dense else trunk.output
    # anew on our own input: keras.applications makes a list of one input, which is another kind
    return keras.Model(inputs, output, name=name)


def backbones() -> tuple[str, ...]:
    """Return the names that ``build`` takes: ours, then all of ``keras.applications``."""
    return ("efficientnet_lite0", *_applications())


def reinitialise(model: keras.Model, seed: int) -> keras.Model:
    """Return the model itself, its weights drawn anew from one seed.

    Keras draws initial weights from global random state when a layer was built without a
    seed, as all layers of ``keras.applications`` are. Here each variable's own initialiser
    is run again with a seed of its own, so the same seed gives the same weights.
    """
    draw_anew(_all_layers(model), seed)
    return model


def draw_anew(members: Iterable[keras.layers.Layer], seed: int) -> None:
    """Draw the weights of some layers anew from one seed, as ``reinitialise`` does."""
    seeds = np.random.SeedSequence(seed)
    for layer in members:
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
            variable.assign(draw(fresh, variable.shape, variable.dtype))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not known, with the nearest that is."""
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}.{hint} Known: {', '.join(sorted(known))}."


def _applications() -> dict[str, Callable[..., keras.Model]]:
    """Return the networks of ``keras.applications`` by name in lower case."""
    return {
        name.lower(): function
        for name, function in inspect.getmembers(keras.applications, inspect.isfunction)
    }


def _application(name: str, inputs: Any, download: bool, keep_dense: bool) -> keras.Model:
    """Return a ``keras.applications`` network on its own preprocessing."""
    network = _applications()[name]
    scaled = inspect.getmodule(network).preprocess_input(inputs)  # type: ignore[union-attr]
    try:
        return network(
            include_top=keep_dense,
            weights="imagenet" if download else None,
            input_tensor=scaled,
        )
    except Exception as error:
        wanted = _failed_download(error)
        if wanted is None:
            raise
        digest = str(wanted["file_hash"] or "")
        kind = "md5" if len(digest) == 32 else "sha256"
        check = f"check that its {kind} is {digest}, " if digest else ""
        part = ", its dense layers included," if keep_dense else ""
        other = "" if keep_dense else "backbone='efficientnet_lite0', which needs no download, "
        raise RuntimeError(
            f"The ImageNet weights of {name}{part} could not be downloaded ({error}). By hand: "
            f"fetch {wanted['origin']} on a machine that can, {check}"
            f"and put it at {wanted['download_target']}. Or "
            f"choose {other}weights='none', or "
            f"weights='<path of a file>'."
        ) from error


def _require_dense(name: str, image_size: int, random: bool) -> None:
    """Refuse to keep dense layers where there are none, or where they would not fit."""
    if name not in _DENSE_BACKBONES:
        raise ValueError(
            f"{name} has no dense layers to keep, which this head stands on. "
            f"Choose backbone={' or '.join(repr(known) for known in _DENSE_BACKBONES)}."
        )
    if not random and image_size != _DENSE_BACKBONES[name]:
        raise ValueError(
            f"image_size={image_size}: the dense layers of {name} were trained for "
            f"{_DENSE_BACKBONES[name]} pixels and fit no other size. Give that, or weights='none'."
        )


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


def _load_weights(trunk: keras.Model, path: Path, name: str, keep_dense: bool) -> None:
    """Load a weights file into the backbone."""
    try:
        trunk.load_weights(path)
    except Exception as error:
        kind = "with its dense layers" if keep_dense else "without its top"
        file = "file without 'notop' in its name" if keep_dense else "'…_notop.h5' file"
        raise ValueError(
            f"{path} does not hold weights of {name} {kind} ({error}). Expected the "
            f"{file} of keras.applications, or what save_weights() wrote for it."
        ) from error


def _lite0(inputs: Any) -> keras.Model:
    """Return EfficientNet-Lite0 up to its last 1,280 maps, weights not yet set."""
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="rescale")(inputs)
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
