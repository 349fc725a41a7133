"""The backend: named in one line, and gradients that are right."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import keras
import numpy as np
import pytest
from recorder import Recorder

from helpers import backend


def test_one_line_names_keras_backend_and_device() -> None:
    line = backend.describe().split("\n")[0]
    found = re.fullmatch(r"Keras (\S+) on (\w+) (\S+), computing on the (CPU|GPU)", line)
    assert found, line
    assert found[1] == importlib.metadata.version("keras")
    assert found[2] == keras.backend.backend() == backend.name()
    assert found[4] == backend.device()


def test_the_gradient_of_a_quadratic() -> None:
    point = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    factors = np.arange(8, dtype=np.float32).reshape(4, 2)

    def quadratic(tensor: Any) -> Any:
        return keras.ops.sum(factors * tensor**2, axis=(1, 2))

    values, slopes = backend.gradient(quadratic, point)
    assert isinstance(values, np.ndarray)
    assert isinstance(slopes, np.ndarray)
    np.testing.assert_allclose(values, (factors * point**2).sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(slopes, 2 * factors * point, rtol=1e-5)


def test_the_gradient_of_each_item_is_its_own() -> None:
    """A product over all items would mix them; one number an item does not."""
    point = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    values, slopes = backend.gradient(lambda tensor: tensor[:, 0] * tensor[:, 1], point)
    np.testing.assert_allclose(values, [2, 12])
    np.testing.assert_allclose(slopes, [[2, 1], [4, 3]])


def test_an_unknown_backend_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "name", lambda: "openvino")
    for ask in (backend.device, lambda: backend.gradient(lambda x: x, np.zeros(1, np.float32))):
        with pytest.raises(ValueError, match=r"'openvino'.*tensorflow, jax, torch"):
            ask()


@pytest.mark.parametrize(("name", "compiled"), [("tensorflow", False), ("jax", True)])
def test_only_jax_is_compiled(monkeypatch: pytest.MonkeyPatch, name: str, compiled: bool) -> None:
    monkeypatch.setattr(backend, "name", lambda: name)
    assert backend.jit_compile() is compiled


class _Numbers(keras.utils.PyDataset):
    """Batches of 2, 2 and 1 of the numbers 0 to 4, in an order that an epoch's end reverses."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.order = np.arange(5)

    num_batches = 3

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        members = self.order[2 * number : 2 * number + 2]
        return members[:, None].astype(np.uint8), np.ones((len(members), 1), np.float32)

    def on_epoch_end(self) -> None:
        self.order = self.order[::-1]


def test_prefetched_batches_are_those_that_keras_would_have_read() -> None:
    seen = []
    for prefetched in (False, True):
        recorder, batches = Recorder(), _Numbers()
        recorder.compile(run_eagerly=True)
        data, callbacks = backend.prefetched(batches) if prefetched else (batches, [])
        recorder.fit(data, epochs=3, verbose=0, callbacks=callbacks, shuffle=False)
        seen.append([step[:, 0].tolist() for step in recorder.seen])
    assert seen[0] == seen[1]
    down, up = [[4, 3], [2, 1], [0]], [[0, 1], [2, 3], [4]]
    assert seen[1] == down + up + down


def test_prefetched_data_knows_its_length_and_kinds() -> None:
    if backend.name() != "tensorflow":
        pytest.skip("the other backends read the batches as they are")
    data, _ = backend.prefetched(_Numbers())
    assert len(data) == 3
    images, labels = next(iter(data))
    assert (images.dtype, labels.dtype) == ("uint8", "float32")


def test_the_other_backends_read_one_batch_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at a first batch and then ends the epoch gets the new order, all of it."""
    monkeypatch.setattr(backend, "name", lambda: "jax")
    data, callbacks = backend.prefetched(_Numbers())
    assert callbacks == []
    made: list[int] = []
    read = _Numbers.__getitem__
    monkeypatch.setattr(
        _Numbers, "__getitem__", lambda self, number: (made.append(number), read(self, number))[1]
    )
    assert data[0][0][:, 0].tolist() == [0, 1]
    data.on_epoch_end()
    assert [data[number][0][:, 0].tolist() for number in range(3)] == [[4, 3], [2, 1], [0]]
    assert made == [0, 1, 0, 1, 2]


def test_tensorflow_on_a_processor_starts_sooner() -> None:
    if backend.name() != "tensorflow" or backend.device() != "CPU":
        pytest.skip("for TensorFlow without a GPU")
    import tensorflow

    assert tensorflow.config.optimizer.get_experimental_options()["disable_meta_optimizer"]


def test_a_kernel_for_a_gpu_stops_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with what to do; a kernel for the processor, or any other, goes on."""
    monkeypatch.setattr(backend, "_of_this_backend", lambda functions: lambda: "CPU")
    for wanted in ("cpu", ""):
        monkeypatch.setenv("TUTORIALS_DEVICE", wanted)
        assert backend.describe().endswith("computing on the CPU")
    monkeypatch.setenv("TUTORIALS_DEVICE", "gpu")
    with pytest.raises(RuntimeError, match=r"finds none.*tutorials-cpu.*pip install") as caught:
        backend.describe()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("memory", "told"),
    [(140.4, " with 140 GiB of memory"), (None, ""), (15.99, " with 16 GiB of memory")],
)
def test_a_gpu_is_told_with_its_memory_and_what_precision_auto_means(
    monkeypatch: pytest.MonkeyPatch, memory: float | None, told: str
) -> None:
    cards = {"DEVICE": "GPU", "CARD": "NVIDIA H200", "CAPABILITY": (9, 0)}
    answers = {id(getattr(backend, f"_{name}")): value for name, value in cards.items()}
    monkeypatch.setattr(backend, "_of_this_backend", lambda table: lambda: answers[id(table)])
    monkeypatch.setattr(backend.kernels, "gpu_memory", lambda card: memory)
    monkeypatch.setenv("TUTORIALS_DEVICE", "gpu")
    first, second = backend.describe().split("\n")
    assert first.endswith(", computing on the GPU")
    assert second == f"NVIDIA H200{told}, precision auto: mixed_bfloat16"


def test_another_precision_is_told_on_a_processor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    if backend.device() != "CPU":
        pytest.skip("for a machine without a GPU")
    monkeypatch.delenv("TUTORIALS_DEVICE", raising=False)
    assert "\n" not in backend.describe()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert backend.describe().split("\n")[1:] == ["Precision mixed_bfloat16"]
    finally:
        keras.config.set_dtype_policy(before)
