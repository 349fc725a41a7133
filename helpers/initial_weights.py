"""Initial weights that are the same numbers on every backend, for the same seed.

A Keras initialiser draws other numbers on JAX or PyTorch than on TensorFlow: each backend has a
random number generator of its own. Two runs would then start from different networks, and one
could not tell a backend's fault from chance. So TensorFlow's numbers are drawn here with numpy
where another backend runs: Philox4x32-10 (Salmon 2011, "Parallel random numbers: as easy as 1,
2, 3"), a counter that is mixed ten times with a key. Uniform numbers are equal bit by bit, normal
ones to about 4e-7, as a logarithm and a sine may differ in their last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from helpers import backend

# Philox: what a counter is multiplied by, and what is added to the key after each round.
_FACTORS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# TensorFlow's own: the key that mixes a seed, and how many counters it reserves for four
# truncated numbers, of which some attempts fall outside (stateless_random_ops_v2.cc,
# random_distributions.h).
_SEED_KEY = (0x3EC8F720, 0x02461E29)
_RESERVED = 256
_ATTEMPTS = 8  # counters looked at for four truncated numbers: 16 attempts; 5 % of them fail
_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_AT_ONCE = 2**18  # counters mixed at a time, which takes some 30 MB
# The share of its own width that a normal distribution keeps when it is cut off at two of them.
_TRUNCATED_WIDTH = 0.87962566103423978


def draw(initialiser: keras.Initializer, shape: Sequence[int], dtype: str = "float32") -> Any:
    """Return the tensor that an initialiser draws on TensorFlow, whatever backend runs.

    Args:
        initialiser: one of Keras' own; what has no whole number as its seed (zeros, ones) draws
            for itself.
        shape: of the weights, as Keras orders them: a kernel's last two axes are its inputs and
            outputs.
        dtype: of the weights.
    """
    size = math.prod(shape)
    numbers = None
    if backend.name() != "tensorflow" and isinstance(initialiser.get_config().get("seed"), int):
        numbers = _drawn(initialiser, tuple(shape), size)
    if numbers is None:
        return initialiser(tuple(shape), dtype=dtype)
    return keras.ops.convert_to_tensor(numbers.reshape(shape), dtype=dtype)


def uniform(seed: int, size: int) -> np.ndarray:
    """Return ``size`` float32 numbers from 0 up to 1, those of TensorFlow for this seed."""
    return _in_portions(seed, size, lambda counters, start: _unit(_mixed(counters, start)))


def normal(seed: int, size: int) -> np.ndarray:
    """Return ``size`` normally distributed float32 numbers, those of TensorFlow for this seed."""
    return _in_portions(seed, size, lambda counters, start: _bell(_mixed(counters, start)))


def truncated_normal(seed: int, size: int) -> np.ndarray:
    """Return ``size`` float32 numbers of TensorFlow's normal distribution cut off at ±2."""

    def portion(counters: np.ndarray, start: _Start) -> np.ndarray:
        first = counters * np.uint64(_RESERVED)
        tried = [_mixed(first + np.uint64(number), start) for number in range(_ATTEMPTS)]
        attempts = _bell(np.concatenate(tried, axis=1))
        inside = np.abs(attempts) < 2
        # the first four of each row that are inside, in their order
        order = np.argsort(~inside, axis=1, kind="stable")[:, :4]
        return np.take_along_axis(attempts, order, axis=1)

    return _in_portions(seed, size, portion)


_Start = tuple[tuple[int, int], tuple[int, int]]  # the key, and the upper half of each counter


def _drawn(initialiser: Any, shape: tuple[int, ...], size: int) -> np.ndarray | None:
    """Return the numbers of a random initialiser, None of one that this module does not know."""
    seed = initialiser.get_config()["seed"]
    if isinstance(initialiser, keras.initializers.VarianceScaling):
        width = math.sqrt(initialiser.scale / _fan(shape, initialiser.mode))
        if initialiser.distribution == "uniform":
            limit = math.sqrt(3.0) * width
            return _between(uniform(seed, size), -limit, limit)
        if initialiser.distribution == "untruncated_normal":
            return normal(seed, size) * np.float32(width)
        return truncated_normal(seed, size) * np.float32(width / _TRUNCATED_WIDTH)
    if isinstance(initialiser, keras.initializers.RandomUniform):
        return _between(uniform(seed, size), initialiser.minval, initialiser.maxval)
    kinds = {keras.initializers.RandomNormal: normal,
             keras.initializers.TruncatedNormal: truncated_normal}  # fmt: skip
    if type(initialiser) in kinds:
        numbers = kinds[type(initialiser)](seed, size)
        return numbers * np.float32(initialiser.stddev) + np.float32(initialiser.mean)
    return None


def _fan(shape: tuple[int, ...], mode: str) -> float:
    """Return how many inputs a unit has, or outputs, or the mean of both; at least 1."""
    places = math.prod(shape[:-2])
    inputs, outputs = (shape[-2] * places, shape[-1] * places) if shape[1:] else shape * 2
    fans = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
    return max(1.0, fans[mode])


def _between(numbers: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return numbers from 0 to 1 as ones between two ends, rounded as TensorFlow rounds them."""
    numbers *= np.float32(high) - np.float32(low)
    numbers += np.float32(low)
    return numbers


def _in_portions(
    seed: int, size: int, portion: Callable[[np.ndarray, _Start], np.ndarray]
) -> np.ndarray:
    """Return ``size`` numbers, four of each counter, a portion of the counters at a time."""
    start = _start(seed)
    total = -(-size // 4)
    numbers = np.empty((total, 4), np.float32)
    for first in range(0, total, _AT_ONCE):
        last = min(first + _AT_ONCE, total)
        numbers[first:last] = portion(np.arange(first, last, dtype=np.uint64), start)
    return numbers.reshape(-1)[:size]


def _start(seed: int) -> _Start:
    """Return the key and the counters' upper half that TensorFlow makes of a seed."""
    # Keras' own way to make an int32 of any seed
    words = np.array([[seed % (2**31 - 2)], [0], [0], [0]], np.uint64)
    mixed = [int(word) for word in _philox(words, _SEED_KEY)[:, 0]]
    return (mixed[0], mixed[1]), (mixed[2], mixed[3])


def _mixed(counters: np.ndarray, start: _Start) -> np.ndarray:
    """Return four random words of 32 bits for each counter, uint32 (n, 4)."""
    key, upper = start
    words = [counters & _WORD, counters >> _HALF]
    words += [np.full_like(counters, half) for half in upper]
    return np.ascontiguousarray(_philox(np.stack(words), key).T)


def _philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return uint64 (4, n), each a word of 32 bits, mixed with a key in ten rounds, as uint32."""
    first, second, third, fourth = counters
    for _ in range(_ROUNDS):
        low, high = _FACTORS[0] * first, _FACTORS[1] * third
        first, second = (high >> _HALF) ^ second ^ np.uint64(key[0]), high & _WORD
        third, fourth = (low >> _HALF) ^ fourth ^ np.uint64(key[1]), low & _WORD
        key = (key[0] + _KEY_STEPS[0]) & 0xFFFFFFFF, (key[1] + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([first, second, third, fourth]).astype(np.uint32)


def _unit(words: np.ndarray) -> np.ndarray:
    """Return words of 32 random bits as float32 from 0 up to 1: 23 bits behind an exponent of 1."""
    bits = (words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    return bits.view(np.float32) - np.float32(1)


def _bell(words: np.ndarray) -> np.ndarray:
    """Return normally distributed numbers of words, two of each pair (Box & Muller 1958)."""
    units = _unit(words)
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(units[:, 0::2], np.float32(1e-7))))
    angle = (2 * math.pi * units[:, 1::2].astype(np.float64)).astype(np.float32)
    pairs = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)
    return pairs.reshape(len(words), -1)
