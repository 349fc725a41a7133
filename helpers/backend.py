"""The one place that may import TensorFlow, JAX or PyTorch: device, memory, gradients.

Everything else in the series is written in Keras 3 and runs on any of the three.
What Keras itself does not offer (naming the device, a gradient with respect to an
activation) stands here, one small function a backend.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from helpers import PRECISIONS, kernels
from helpers.nearest import nearest

# TensorFlow advises programmers about re-traced functions; a reader cannot act on it.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


def name() -> str:
    """Return the backend that runs now: ``"tensorflow"``, ``"jax"`` or ``"torch"``."""
    return str(keras.backend.backend())


def device() -> str:
    """Return the kind of device that computes: ``"GPU"`` or ``"CPU"``."""
    return _of_this_backend(_DEVICE)()


def describe() -> str:
    """Return for the set-up cell: Keras version, backend with version, device.

    That is one line on a processor in float32, as every machine has it. A second one names
    the card, its memory and what ``precision="auto"`` means on a GPU, and the precision
    where it was set to another. What depends on the device is said here and in no later cell.

    Raises:
        RuntimeError: the kernel is one for a GPU, and the backend finds none, or more devices
            are asked for than there are; says what to do.
    """
    module = importlib.import_module(name())
    place = device()
    if place != "GPU" and os.environ.get(kernels.DEVICE_VARIABLE) == "gpu":
        raise RuntimeError(kernels.missing_gpu(name()))
    line = f"Keras {keras.__version__} on {name()} {module.__version__}, computing on the {place}"
    together = len(training_devices())
    line += f" ({together} of them in training)" if together > 1 else ""
    chosen = keras.config.dtype_policy().name
    told = "" if chosen == "float32" else f"precision {chosen}"
    if place == "GPU":
        card = _of_this_backend(_CARD)()
        memory = kernels.gpu_memory(card)
        room = "" if memory is None else f" with {memory:.0f} GiB of memory"
        return f"{line}\n{card}{room}, {told or f'precision auto: {precision()}'}"
    return f"{line}\n{told[0].upper()}{told[1:]}" if told else line


def precision(wanted: str = "auto") -> str:
    """Return the precision that a word means here: ``"auto"`` takes 16 bits where that pays.

    The tensor cores of a GPU multiply 16 bits several times as fast as 32, and activations
    take half the memory; weights, losses and probabilities stay in float32 ("mixed"). From
    compute capability 8.0 on (Ampere, 2020), ``"auto"`` is ``"mixed_bfloat16"``: it reaches as
    far as float32 does, so no small gradient is lost. Capability 7 (V100, T4) multiplies float16
    only, and there ``"auto"`` is ``"mixed_float16"``, for which Keras scales the loss. A
    processor gains nothing, and a card that tells no capability may not: both get ``"float32"``.

    Args:
        wanted: one of ``helpers.PRECISIONS``; all but ``"auto"`` mean themselves.

    Returns:
        The name of a Keras dtype policy.

    Raises:
        ValueError: unknown; says which is nearest.
    """
    if wanted not in PRECISIONS:
        raise ValueError(
            f"There is no precision {wanted!r}; {nearest(wanted, PRECISIONS)} "
            f"({', '.join(PRECISIONS)})."
        )
    if wanted != "auto":
        return wanted
    capability = _of_this_backend(_CAPABILITY)() if device() == "GPU" else (0, 0)
    if capability < (7, 0):
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def use_precision(wanted: str = "auto") -> None:
    """Let every model that is built from now on compute in a precision.

    Args:
        wanted: see ``precision``.

    Raises:
        ValueError: unknown; says which is nearest.
    """
    keras.config.set_dtype_policy(precision(wanted))


def jit_compile() -> bool:
    """Return whether a model should be compiled by XLA (``model.compile(jit_compile=…)``).

    On TensorFlow's CPU device XLA's convolutions are several times slower than the
    default kernels, so it stays off there; JAX is nothing without it.
    """
    return name() == "jax"


def gradient(function: Callable[[Any], Any], point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a function's values at a point and its gradient there.

    Args:
        function: takes a tensor shaped like ``point`` and returns one number an item, (n,).
            It is called in inference mode.
        point: float32 array (n, …).

    Returns:
        The values (n,) and the gradient of their sum, shaped like ``point``.
    """
    values, slopes = _of_this_backend(_GRADIENT)(function, point)
    return np.asarray(values), np.asarray(slopes)


def prefetched(batches: keras.utils.PyDataset) -> tuple[Any, list[keras.callbacks.Callback]]:
    """Return what ``fit`` reads in the place of these batches, and the callbacks that go with it.

    Keras hands each batch of Python's to TensorFlow when the step asks for it, and the step
    waits: a millisecond on two cores, whatever the batch holds. Here one batch is handed over
    while the step before it computes. For the other backends a thread makes one batch ahead.

    Args:
        batches: a number of batches an epoch that is known, with arrays of one shape but for
            the first axis. ``on_epoch_end`` is called as often as Keras would.
    """
    if name() != "tensorflow":
        return _OneAhead(batches), []
    import tensorflow

    def epoch() -> Iterator[Any]:
        for number in range(batches.num_batches):
            yield batches[number]

    signature = tensorflow.nest.map_structure(
        lambda array: tensorflow.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0]
    )
    options = tensorflow.data.Options()
    # Left to itself, TensorFlow searches for the best number of batches ahead, now and then for
    # seconds between two epochs. Two are enough.
    options.autotune.enabled = False
    # Each device gets a part of every batch, not batches of its own.
    off = tensorflow.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = off
    known = tensorflow.data.experimental.assert_cardinality(batches.num_batches)
    data = tensorflow.data.Dataset.from_generator(epoch, output_signature=signature).apply(known)
    # A new order before each epoch, when no batch of the one before is under way any more: Keras
    # asks its own kind of data only.
    shuffle = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: batches.on_epoch_end())
    return data.prefetch(2).with_options(options), [shuffle]


def answering(model: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a model's prediction as a function that is compiled once for all batches.

    For a smaller last batch TensorFlow would trace the network again, and JAX compile it again:
    seconds for a deep one. TensorFlow is told that the number of images is open. JAX wants to
    know it, and gets full batches, of which it computes some images for nothing.

    Args:
        model: any model on images.
        batch_size: images in a full batch; no batch has more.

    Returns:
        From images uint8 (n, height, width, 3) to the model's output for them.
    """
    if name() == "tensorflow" and model.predict_function is None:
        import tensorflow

        model.make_predict_function()
        images = tensorflow.TensorSpec((None, *model.input_shape[1:]), "uint8")
        traced: Any = model.predict_function
        traced.get_concrete_function([(images,)])
    if name() != "jax":
        return model.predict_on_batch

    def answer(images: np.ndarray) -> np.ndarray:
        missing = batch_size - len(images)
        full = np.pad(images, [(0, missing), *[(0, 0)] * (images.ndim - 1)])
        return model.predict_on_batch(full)[: len(images)]

    return answer


def training_devices() -> list[str]:
    """Return the devices that train together, by the backend's names for them.

    ``$TUTORIALS_DEVICES`` says how many: a number, or ``auto`` for all GPUs (without one: all
    processors that the backend shows, mostly one). Where it is not set, there is one.

    Raises:
        ValueError: it is neither a number of 1 or more nor ``auto``.
        RuntimeError: there are fewer, or this backend cannot train on several.
    """
    wanted = kernels.device_count(os.environ.get(kernels.COUNT_VARIABLE) or "1")
    if wanted == 1 or (wanted is None and name() not in _ALL_DEVICES):
        return [device()]
    if name() not in _ALL_DEVICES:
        raise RuntimeError(
            f"{kernels.COUNT_VARIABLE}={wanted}: {name()} trains on one device only here. Take "
            f"{' or '.join(_ALL_DEVICES)}, by the environment variable KERAS_BACKEND."
        )
    found = _of_this_backend(_ALL_DEVICES)()
    if wanted is not None and wanted > len(found):
        raise RuntimeError(
            f"{kernels.COUNT_VARIABLE}={wanted}: {name()} finds {len(found)} here "
            f"({', '.join(found)}). Ask for no more than that, or for auto, which takes all."
        )
    return list(found[:wanted])


def data_parallel() -> AbstractContextManager[Any]:
    """Return the context in which to build and train what lies on all of `training_devices`."""
    return _of_this_backend(_DATA_PARALLEL)(training_devices())


def clip_together(optimiser: keras.optimizers.Optimizer) -> None:
    """Have an optimiser clip the gradient of a whole batch, not that of each device's share.

    Call it inside of `data_parallel`. Only TensorFlow needs it: there an optimiser clips what one
    device has found, and adds up afterwards.
    """
    devices = len(training_devices())
    if name() != "tensorflow" or devices == 1 or optimiser.clipnorm is None:
        return
    import tensorflow

    apply = optimiser.apply

    def apply_sum(gradients: list[Any], variables: list[Any] | None = None) -> None:
        replica = tensorflow.distribute.get_replica_context()
        whole = replica.all_reduce(tensorflow.distribute.ReduceOp.SUM, list(gradients))
        # It will be added up once more, over devices that have all the same by now.
        apply([gradient / devices for gradient in whole], variables)

    optimiser.apply, optimiser.clipnorm = apply_sum, optimiser.clipnorm / devices


def _of_this_backend(functions: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return the function that belongs to the backend that runs now."""
    if name() not in functions:
        raise ValueError(
            f"The backend {name()!r} cannot train these networks. Set the environment variable "
            f"KERAS_BACKEND to one of: {', '.join(functions)}."
        )
    return functions[name()]


class _OneAhead(keras.utils.PyDataset):
    """Batches of which the next one is made in a thread while a step computes.

    Keras would do so with several ``workers``. But on JAX and PyTorch it looks at a first batch
    before it trains, and keeps what its threads had made beside that one for the first epoch, and
    so on: epochs show some images twice and leave others out (seen in Keras 3.15.1).
    """

    def __init__(self, batches: keras.utils.PyDataset) -> None:
        super().__init__(workers=1)  # Keras starts no thread
        self.batches = batches
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.ahead: tuple[int, Future[Any]] | None = None  # which batch, and where it will be

    @property
    def num_batches(self) -> int | None:
        return self.batches.num_batches

    def __getitem__(self, number: int) -> Any:
        made, self.ahead = self.ahead, None
        expected = made is not None and made[0] == number
        batch = made[1].result() if made and expected else self.batches[number]
        if number + 1 < (self.num_batches or 0):
            self.ahead = number + 1, self.thread.submit(self.batches.__getitem__, number + 1)
        return batch

    def on_epoch_begin(self) -> None:
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Shuffle when nobody reads, and forget what was made in the old order."""
        if self.ahead is not None:
            wait([self.ahead[1]])
        self.ahead = None
        self.batches.on_epoch_end()


def _tensorflow_device() -> str:
    import tensorflow

    return "GPU" if tensorflow.config.list_physical_devices("GPU") else "CPU"


def _jax_device() -> str:
    import jax

    return "CPU" if jax.default_backend() == "cpu" else "GPU"


def _torch_device() -> str:
    import torch

    return "GPU" if torch.cuda.is_available() else "CPU"


def _tensorflow_card() -> str:
    import tensorflow

    card = tensorflow.config.list_physical_devices("GPU")[0]
    details = tensorflow.config.experimental.get_device_details(card)
    return str(details.get("device_name", "GPU"))


def _jax_card() -> str:
    import jax

    return str(jax.devices()[0].device_kind)


def _torch_card() -> str:
    import torch

    return str(torch.cuda.get_device_name(0))


def _tensorflow_capability() -> tuple[int, int]:
    import tensorflow

    card = tensorflow.config.list_physical_devices("GPU")[0]
    details = tensorflow.config.experimental.get_device_details(card)
    major, minor = details.get("compute_capability") or (0, 0)
    return int(major), int(minor)


def _jax_capability() -> tuple[int, int]:
    import jax

    told = str(getattr(jax.devices()[0], "compute_capability", ""))
    major, _, minor = told.partition(".")  # "9.0"; an AMD card tells a name
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _torch_capability() -> tuple[int, int]:
    import torch

    major, minor = torch.cuda.get_device_capability(0)
    return int(major), int(minor)


def _tensorflow_gradient(function: Callable[[Any], Any], point: np.ndarray) -> tuple[Any, Any]:
    import tensorflow

    variable = tensorflow.convert_to_tensor(point)
    with tensorflow.GradientTape() as tape:
        tape.watch(variable)
        values = function(variable)
    return values, tape.gradient(values, variable)


def _jax_gradient(function: Callable[[Any], Any], point: np.ndarray) -> tuple[Any, Any]:
    import jax

    def total(variable: Any) -> tuple[Any, Any]:
        values = function(variable)
        return values.sum(), values

    (_, values), slopes = jax.value_and_grad(total, has_aux=True)(jax.numpy.asarray(point))
    return values, slopes


def _torch_gradient(function: Callable[[Any], Any], point: np.ndarray) -> tuple[Any, Any]:
    variable = keras.ops.convert_to_tensor(point).requires_grad_(True)
    values = function(variable)
    values.sum().backward()
    return values.detach().cpu(), variable.grad.cpu()


def _tensorflow_devices() -> list[str]:
    import tensorflow

    return [found.name for found in tensorflow.config.list_logical_devices(device())]


def _tensorflow_parallel(devices: list[str]) -> AbstractContextManager[Any]:
    scope: AbstractContextManager[Any] = _strategy(tuple(devices)).scope()
    return scope


@functools.cache
def _strategy(devices: tuple[str, ...]) -> Any:
    """Return TensorFlow's strategy for these devices, the same one all along.

    A second one would number its sums over devices from the start again, and meet those of the
    first, which have other shapes.
    """
    import tensorflow

    return tensorflow.distribute.MirroredStrategy(devices)


def _jax_parallel(devices: list[str]) -> AbstractContextManager[Any]:
    scope: AbstractContextManager[Any] = keras.distribution.DataParallel(devices=devices).scope()
    return scope


def _start_sooner() -> None:
    """Let TensorFlow on a processor begin a network's first step without rewriting its graph.

    Rewriting takes a quarter to a third of the time to the first step (39 s against 26 s for
    DenseNet201 on two cores) and makes no later step faster there. On a GPU it decides how
    images lie in memory, and stays.
    """
    if name() == "tensorflow" and device() == "CPU":
        import tensorflow

        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


_DEVICE = {"tensorflow": _tensorflow_device, "jax": _jax_device, "torch": _torch_device}
_CARD = {"tensorflow": _tensorflow_card, "jax": _jax_card, "torch": _torch_card}
_CAPABILITY = {
    "tensorflow": _tensorflow_capability,
    "jax": _jax_capability,
    "torch": _torch_capability,
}
_GRADIENT = {"tensorflow": _tensorflow_gradient, "jax": _jax_gradient, "torch": _torch_gradient}
_ALL_DEVICES = {"tensorflow": _tensorflow_devices, "jax": keras.distribution.list_devices}
_DATA_PARALLEL = {"tensorflow": _tensorflow_parallel, "jax": _jax_parallel}

_start_sooner()
