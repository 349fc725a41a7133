"""The backend: named in one line, and gradients that are right."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import keras
import numpy as np
import pytest

from helpers import backend


def test_one_line_names_keras_backend_and_device() -> None:
    line = backend.describe()
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


def test_tensorflow_on_a_processor_starts_sooner() -> None:
    if backend.name() != "tensorflow" or backend.device() != "CPU":
        pytest.skip("for TensorFlow without a GPU")
    import tensorflow

    assert tensorflow.config.optimizer.get_experimental_options()["disable_meta_optimizer"]
