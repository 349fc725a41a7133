"""A device whose memory is full: known from the error of any backend, told with what to do.

TensorFlow, JAX and PyTorch each raise an error of their own, pages long, that names an
allocator and no parameter. No backend is imported here: their errors are known by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

# What they write: of TensorFlow "ResourceExhaustedError" and "Dst tensor is not initialized" (a
# copy to the card that found no room), of JAX "RESOURCE_EXHAUSTED", of PyTorch "OutOfMemoryError"
# and "CUDA out of memory", of NVIDIA's libraries "…_ALLOC_FAILED" and "CUDA_ERROR_OUT_OF_MEMORY",
# of TensorFlow's search for a convolution that fits "No algorithm worked!"; and ours, below.
_FULL = re.compile(
    r"ResourceExhaustedError|RESOURCE_EXHAUSTED|OutOfMemoryError|out of memory|OUT_OF_MEMORY"
    r"|_ALLOC_FAILED|Dst tensor is not initialized|No algorithm worked!"
    r"|DefaultCPUAllocator: (can't allocate|not enough memory)"
    r"|[Ff]ailed to allocate (request for |memory|[\d.]+)"
)
# Of NumPy "_ArrayMemoryError: Unable to allocate 3.7 GiB for an array …", and Python's own.
_ARRAY = re.compile(r"\b_?(Array)?MemoryError|Unable to allocate [\d.]+ \w+ for an array")
# TensorFlow calls a full disk by the same name.
_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_ON_THE_PROCESSOR = re.compile(
    r"device:CPU|DefaultCPUAllocator|by allocator (mkl)?cpu", re.IGNORECASE
)


class DeviceMemoryError(MemoryError):
    """The memory of a GPU, or of the machine, is full; the text says which parameter to lower."""


@contextmanager
def explained(batch_size: int, image_size: int, device: str = "GPU") -> Iterator[None]:
    """Turn any backend's error about memory within the block into one sentence with what to do.

    Args:
        batch_size: images that were computed at a time.
        image_size: their height and width in pixels.
        device: ``"GPU"`` or ``"CPU"``: what computes.

    Raises:
        DeviceMemoryError: instead of the backend's error, which is its cause.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DeviceMemoryError) or not is_full(describe(error)):
            raise
        told = advice(batch_size, image_size, on_gpu=device == "GPU")
        raise DeviceMemoryError(told) from error


def describe(error: BaseException) -> str:
    """Return kind and text of an error, as a notebook's runner gets them."""
    return f"{type(error).__name__}: {error}"


def is_full(text: str) -> bool:
    """Return whether the kind and text of an error are about memory that is full."""
    return _FULL.search(text) is not None and _DISK.search(text) is None


def is_of_an_array(text: str) -> bool:
    """Return whether an error is about an array of NumPy's for which the machine has no room.

    No batch is meant then, but something that grows with the number of images.
    """
    return _ARRAY.search(text) is not None and not is_full(text)


def is_on_gpu(text: str) -> bool:
    """Return whether an error about memory means that of a GPU, as far as it tells."""
    return _ON_THE_PROCESSOR.search(text) is None


def advice(batch_size: object, image_size: object, *, on_gpu: bool = True) -> str:
    """Return in one sentence that memory is full, and which parameter to lower.

    Args:
        batch_size: what it is now; None where nobody knows.
        image_size: the same.
        on_gpu: False where a processor computes.
    """
    whose = "GPU's" if on_gpu else "machine's"
    seen = "nvidia-smi" if on_gpu else "top"
    return (
        f"The {whose} memory is full: lower batch_size{_now(batch_size)}, then "
        f"image_size{_now(image_size)}, and end what else computes there ({seen} shows it)."
    )


def advice_for_arrays(image_size: object) -> str:
    """Return in one sentence that the machine's memory is full, and which parameter to lower.

    Args:
        image_size: what it is now; None where nobody knows.
    """
    return (
        f"The machine's memory is full: lower max_images, then image_size{_now(image_size)}, and "
        f"end what else computes there (top shows it)."
    )


def _now(value: object) -> str:
    """Return what a parameter is now, in brackets, where somebody knows."""
    return "" if value is None else f" (now {value})"
