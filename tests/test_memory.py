"""Full memory: every backend's error is known by its name, and told with what to lower."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_images import SIZE, small_index

from helpers import backend, memory, models, training
from helpers.loading import Batches


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it."""


class XlaRuntimeError(RuntimeError):
    """As JAX calls it."""


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls it."""


FULL = [
    ResourceExhaustedError(
        "Graph execution error:\n\nOOM when allocating tensor with shape[32,64,112,112] and type "
        "float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
    ),
    XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."),
    OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total …"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Dst tensor is not initialized."),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_gpu_is_told_in_one_sentence(error: Exception) -> None:
    with pytest.raises(MemoryError) as caught, memory.explained(32, 224):
        raise error
    assert str(caught.value) == (
        "The GPU's memory is full: lower batch_size (now 32), then image_size (now 224), and end "
        "what else computes there (nvidia-smi shows it)."
    )
    assert caught.value.__cause__ is error
    assert memory.is_on_gpu(memory.describe(error))


@pytest.mark.parametrize(
    "error", [ValueError("Shapes do not fit"), KeyError("memory"), RuntimeError("memory format")]
)
def test_another_error_passes_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory.explained(32, 224):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        RuntimeError("OOM when … on device:CPU:0 by allocator mklcpu; out of memory"),
    ],
)
def test_a_full_machine_is_known_whatever_library_met_it(error: Exception) -> None:
    text = memory.describe(error)
    assert memory.is_full(text)
    assert not memory.is_on_gpu(text)


@pytest.mark.parametrize("text", ["No algorithm worked!", "Failed to allocate 512.0MiB on device"])
def test_a_full_card_is_known_by_other_words(text: str) -> None:
    assert memory.is_full(f"NotFoundError: {text}")
    assert memory.is_on_gpu(text)


def test_numpys_own_error_is_known() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty((1 << 24, 1 << 24))
    assert memory.is_of_an_array(memory.describe(caught.value))
    assert memory.is_of_an_array("MemoryError: Unable to allocate 3.73 GiB for an array")
    assert memory.is_of_an_array("MemoryError: ")
    assert not memory.is_of_an_array("DeviceMemoryError: told already")
    assert not memory.is_of_an_array("MemoryError: CUDA error: out of memory")
    assert "lower max_images, then image_size (now 64), and" in memory.advice_for_arrays(64)


def test_a_full_disk_is_no_full_memory() -> None:
    """TensorFlow calls both by one name."""
    assert not memory.is_full("ResourceExhaustedError: model.keras; No space left on device")


def test_what_is_told_once_is_not_told_again() -> None:
    with (
        pytest.raises(memory.DeviceMemoryError, match="now 8"),
        memory.explained(32, 224),
        memory.explained(8, 64),
    ):
        raise FULL[0]


def test_unknown_settings_are_left_out() -> None:
    told = memory.advice(None, None, on_gpu=False)
    assert told.startswith("The machine's memory is full: lower batch_size, then image_size, and")


@pytest.mark.slow  # TensorFlow hopes for ten seconds that somebody gives memory back
def test_tensorflows_own_error_is_known() -> None:
    if backend.name() != "tensorflow" or backend.device() != "CPU":
        pytest.skip("asks TensorFlow for more memory than any machine has")
    with pytest.raises(memory.DeviceMemoryError, match="The machine's memory") as caught, (
        memory.explained(32, 224, backend.device())
    ):  # fmt: skip
        keras.ops.ones((1 << 22, 1 << 22)) * 2
    assert not memory.is_on_gpu(memory.describe(caught.value.__cause__ or caught.value))


@pytest.mark.parametrize("way", ["fit", "predict"])
def test_training_and_prediction_tell_batch_and_image_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def full(*_: object) -> None:
        raise FULL[0]

    index = small_index(tmp_path)
    model = models.small_cnn(image_size=SIZE, filters=(2,))
    monkeypatch.setattr(keras.Model, "train_step" if way == "fit" else "predict_step", full)
    with pytest.raises(memory.DeviceMemoryError, match=rf"batch_size \(now 4\).*\(now {SIZE}\)"):
        if way == "predict":
            training.predict(model, Batches(index, 4))
        else:
            training.fit(model, Batches(index, 4, shuffle=True), None, epochs=1,
                         learning_rate=0.1, schedule="constant")  # fmt: skip
