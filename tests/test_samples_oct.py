"""The synthetic OCT scans: same pixels for a seed, release v2's layout and its defects."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers import samples
from helpers.datasets.oct import patient_of
from helpers.samples import oct as drawer

SMALL = {"patients": 24, "train": 96, "test": 4, "val": 2}
PIXELS = "36e5c82066cc8959cef58bcaa8c2c0f80150faea9eb3d5bcdc38e11df365b850"
"""Over names and pixels, before the JPEG, of seed 0; when it changes, raise VERSION."""
NAME = re.compile(r"(CNV|DME|DRUSEN|NORMAL)-\d{4,7}-\d+\.jpeg")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small sample, seed 0."""
    folder = tmp_path_factory.mktemp("samples") / "oct"
    drawer.draw(folder, seed=0, **SMALL)
    return folder / "OCT2017"


@pytest.fixture(scope="module")
def usual() -> list[drawer.Scan]:
    """Return the plan of the usual sample, nothing drawn."""
    return drawer._plan(0, 150, 768, 24, 8)


def read(root: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return pixels by part/class/name, and the JPEG files that cannot be read."""
    pictures, damaged = {}, []
    for path in sorted(root.glob("*/*/[A-Z]*.jpeg")):
        name = path.relative_to(root).as_posix()
        try:
            with Image.open(path) as picture:
                pictures[name] = np.asarray(picture)
        except (OSError, UnidentifiedImageError, SyntaxError):
            damaged.append(name)
    return pictures, damaged


def pixel_hash(seed: int) -> str:
    """Return a hash over a small drawing's names and pixels, as they are before the JPEG."""
    total = hashlib.sha256()
    for scan in drawer._plan(seed, 12, 48, 3, 1):
        pixels = drawer.draw_scan(scan)
        total.update(f"{scan.part}/{scan.folder}/{scan.name} {pixels.shape}".encode())
        total.update(pixels.tobytes())
    return total.hexdigest()


def test_a_seed_gives_the_same_pixels_on_every_machine() -> None:
    assert pixel_hash(0) == PIXELS, "raise oct.VERSION and store the new hash"


def test_another_seed_gives_other_pixels() -> None:
    assert pixel_hash(1) != PIXELS


@pytest.mark.slow
def test_files_hold_what_was_drawn(drawn: Path) -> None:
    pictures, _ = read(drawn)
    scans = drawer._plan(0, **SMALL)  # type: ignore[arg-type]
    for scan in scans[::20]:
        stored = pictures[f"{scan.part}/{scan.folder}/{scan.name}"].astype(float)
        assert np.abs(stored - drawer.draw_scan(scan)).mean() < 3.0


def test_the_layout_is_that_of_the_archive(drawn: Path) -> None:
    assert [path.name for path in drawn.parent.iterdir()] == ["OCT2017"]
    assert {path.name for path in drawn.iterdir() if path.is_dir()} == {"train", "val", "test"}
    for part in ("train", "val", "test"):
        folders = {path.name for path in (drawn / part).iterdir() if path.is_dir()}
        assert folders == {"CNV", "DME", "DRUSEN", "NORMAL"}
    pictures, damaged = read(drawn)
    for name in [*pictures, *damaged]:
        _, folder, file = name.split("/")
        assert NAME.fullmatch(file), name
        assert file.startswith(f"{folder}-")
        assert patient_of(file) is not None


def test_counts(drawn: Path) -> None:
    pictures, _ = read(drawn)
    parts = Counter(name.split("/")[0] for name in pictures)
    assert parts == {"train": 96, "test": 16, "val": 8}
    balanced = Counter("/".join(name.split("/")[:2]) for name in pictures)
    for class_name in drawer.CLASSES:
        assert balanced[f"test/{class_name}"] == 4
        assert balanced[f"val/{class_name}"] == 2


def test_some_files_are_damaged_and_some_are_stray(drawn: Path) -> None:
    _, damaged = read(drawn)
    heads = [(drawn / name).read_bytes()[:2] for name in damaged]
    assert sorted(heads) == sorted([b"", b"<h", b"\xff\xd8", b"\xff\xd8"])
    strays = [path for path in drawn.rglob(".*") if path.is_file()]
    assert sum(path.name == ".DS_Store" for path in strays) == 12
    doubles = [path for path in strays if path.name.startswith("._")]
    assert len(doubles) == 3
    for double in doubles:  # each stands beside the file that it belongs to
        assert double.read_bytes()[:4] == bytes.fromhex("00051607")
        assert (double.parent / double.name[2:]).is_file()
        assert patient_of(double.name) is None


def test_pictures_look_like_scans(drawn: Path) -> None:
    pictures, _ = read(drawn)
    wedges = 0
    for name, pixels in pictures.items():
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2, name  # grey
        assert pixels.shape[::-1] in drawer._SIZES, name
        white = pixels > 245
        wedges += bool(white.mean() > 0.01)
        assert white.mean() < 0.45, name
        inside = pixels[~white]
        assert 15 < inside.mean() < 95, name
        assert np.percentile(inside, 99) > 90, name  # the bright line of the epithelium
    assert 0.3 < wedges / len(pictures) < 0.8


def test_the_usual_plan_is_as_unbalanced_as_reality(usual: list[drawer.Scan]) -> None:
    names = [(scan.part, scan.folder, scan.name) for scan in usual]
    assert len(names) == len(set(names)) == 768 + 4 * 24 + 4 * 8
    train = Counter(scan.folder for scan in usual if scan.part == "train")
    assert train == {"CNV": 347, "DME": 103, "DRUSEN": 74, "NORMAL": 244}  # 37 : 11 : 8 : 26
    patients = {patient_of(scan.name) for scan in usual if scan.part == "train"}
    assert len(patients) == 150
    wrong = np.mean([scan.shown != scan.folder for scan in usual if scan.part == "train"])
    assert 0.005 < wrong < 0.04
    assert all(scan.shown == scan.folder for scan in usual if scan.part != "train")


def test_most_test_images_show_patients_of_the_training_part(usual: list[drawer.Scan]) -> None:
    known = {patient_of(scan.name) for scan in usual if scan.part == "train"}
    leaks = np.mean([patient_of(scan.name) in known for scan in usual if scan.part == "test"])
    assert 0.89 < leaks < 0.94  # 91 % in reality
    trained = {scan.name for scan in usual if scan.part == "train"}
    assert not any(scan.name in trained for scan in usual if scan.part != "train")


def test_some_patients_stand_under_two_labels(usual: list[drawer.Scan]) -> None:
    labels = defaultdict(set)
    for scan in usual:
        labels[patient_of(scan.name)].add(scan.folder)
    two = [kinds for kinds in labels.values() if len(kinds) > 1]
    assert 4 <= len(two) <= 12
    assert {"CNV", "NORMAL"} in two
    assert {"CNV", "DRUSEN"} in two


def test_a_few_test_images_are_the_same_under_different_patients(drawn: Path) -> None:
    owners = defaultdict(list)
    for path in sorted(drawn.glob("test/*/[A-Z]*.jpeg")):
        owners[path.read_bytes()].append(path)
    twins = [paths for paths in owners.values() if len(paths) > 1]
    assert len(twins) == 3
    for first, second in twins:
        assert first.parent == second.parent
        assert patient_of(first.name) != patient_of(second.name)


def test_the_size_tells_the_class_in_train_alone(usual: list[drawer.Scan]) -> None:
    train = [scan for scan in usual if scan.part == "train"]
    square = [scan.folder for scan in train if scan.size == (128, 128)]
    assert np.mean([folder == "DME" for folder in square]) > 0.9
    oedema = [scan.size == (128, 128) for scan in train if scan.folder == "DME"]
    assert np.mean(oedema) > 0.5
    wide = [scan.size[0] == 256 for scan in usual if scan.part == "test"]
    assert np.mean(wide) > 0.55


def test_lesions_lift_the_retina_where_they_are_and_nowhere_else() -> None:
    # A druse does so least: the outer nuclear layer above it gives way.
    scan = next(scan for scan in drawer._plan(0, 12, 48, 3, 1) if scan.shown == "NORMAL")
    plain = drawer.Scan(**{**scan.__dict__, "lesions": (), "offset": 0.0})
    ends = slice(None, 12), slice(-12, None)
    for kind, height in (("swelling", 12.0), ("detachment", 12.0), ("drusen", 6.0), ("fluid", 9.0)):
        lesion = drawer.Lesion(kind, 0.0, 0.0, 0.6, height, 60.0)
        ill = drawer.Scan(**{**plain.__dict__, "lesions": (lesion,)})
        canvases = []
        for one in (plain, ill):
            canvas = drawer._Canvas(np.random.default_rng(1), one)
            canvas.stack()
            canvases.append(canvas)
        lifted = canvases[0].top - canvases[1].top  # upwards: smaller rows
        assert lifted.max() > (0.25 if kind == "drusen" else 0.4) * height, kind
        assert np.argmax(lifted) == pytest.approx(plain.size[0] / 2, abs=0.12 * plain.size[0])
        for end in ends:
            assert np.abs(lifted[end]).max() < 1.0, kind


@pytest.mark.parametrize(
    "sizes", [(12, 48, 3, 1), (13, 60, 4, 9), (40, 900, 30, 8)], ids=["least", "odd", "long"]
)
def test_odd_sizes_can_be_planned(sizes: tuple[int, int, int, int]) -> None:
    scans = drawer._plan(3, *sizes)
    patients, train, test, val = sizes
    names = [(scan.part, scan.folder, scan.name) for scan in scans]
    assert len(names) == len(set(names)) == train + 4 * (test + val)
    trained = {patient_of(scan.name) for scan in scans if scan.part == "train"}
    assert len(trained) == patients


@pytest.mark.parametrize(
    "wrong", [{"patients": 11}, {"patients": 20, "train": 79}, {"test": 2}, {"val": 0}]
)
def test_too_small_samples_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 12 patients"):
        drawer.draw(tmp_path / "a", **wrong)
    with pytest.raises(ValueError, match="seed is -1"):
        samples.draw("oct", tmp_path / "a", seed=-1)
    assert not list(tmp_path.iterdir())


def test_nothing_half_made_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_so_far = []

    def full_disk(picture: np.ndarray, path: Path) -> None:
        drawn_so_far.append(path)
        path.write_bytes(b"half")
        if len(drawn_so_far) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawer, "_save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        drawer.draw(tmp_path / "sample", patients=12, train=48, test=3, val=1)
    assert not list(tmp_path.iterdir())


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError, match="not empty"):
        drawer.draw(tmp_path, patients=12, train=48, test=3, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_dispatch_by_name() -> None:
    assert samples.version("oct") == drawer.VERSION
    assert "oct" in samples.names()
