"""The synthetic chest X-rays: same pixels for a seed, real layout and names, known defects."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers import samples
from helpers.datasets.pneumonia import describe, patient_of
from helpers.samples import pneumonia

TRAIN, TEST = 48, 16
pytestmark = pytest.mark.slow  # most look at one sample, drawn for all of them
PIXELS = "d5ddf348d374cd31b69aa2a67bb6a3da06327183c391515f59931774e2357ff4"
"""Over names and pixels before encoding, seed 0; when it changes on purpose, raise VERSION."""

Pixels = dict[str, np.ndarray]


def draw(folder: Path, seed: int) -> Pixels:
    """Draw a small sample, and return the pixels as they were before JPEG changed them."""
    pixels: Pixels = {}
    save = pneumonia._save

    def keep(picture: np.ndarray, path: Path, shot: pneumonia.Shot) -> None:
        pixels["/".join(path.parts[-3:])] = picture
        save(picture, path, shot)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pneumonia, "_save", keep)
        pneumonia.draw(folder, seed=seed, train=TRAIN, test=TEST)
    return pixels


def pixel_hash(pixels: Pixels) -> str:
    """Return a hash over names and pixels."""
    total = hashlib.sha256()
    for name, picture in sorted(pixels.items()):
        total.update(f"{name} {picture.shape}".encode())
        total.update(picture.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pixels]:
    """Return the folder and the pixels of a small sample, seed 0."""
    folder = tmp_path_factory.mktemp("samples") / "pneumonia"
    return folder, draw(folder, 0)


@pytest.fixture(scope="module")
def plan() -> list[pneumonia.Child]:
    """Return the plan of the sample at its usual size."""
    return pneumonia._plan(0, 560, 160)


def files_of(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return readable images by part/class/name, and JPEG files that cannot be read."""
    good, damaged = {}, []
    for path in sorted((folder / "chest_xray").glob("*/*/*.jpeg")):
        name = "/".join(path.parts[-3:])
        if path.name.startswith("._"):
            continue
        try:
            with Image.open(path) as picture:
                picture.load()
            good[name] = path
        except (OSError, UnidentifiedImageError, SyntaxError):
            damaged.append(name)
    return good, damaged


def test_a_seed_gives_the_same_pixels_on_every_machine(drawn: tuple[Path, Pixels]) -> None:
    assert pixel_hash(drawn[1]) == PIXELS, "raise pneumonia.VERSION and store the new hash"


def test_another_seed_gives_other_pixels(tmp_path: Path) -> None:
    assert pixel_hash(draw(tmp_path / "other", 1)) != PIXELS


def test_the_folders_are_those_of_the_archive(drawn: tuple[Path, Pixels]) -> None:
    top = drawn[0] / "chest_xray"
    assert [path.name for path in drawn[0].iterdir()] == ["chest_xray"]
    assert {path.name for path in top.iterdir() if path.is_dir()} == {"train", "val", "test"}
    for part in ("train", "val", "test"):
        folders = {path.name for path in (top / part).iterdir() if path.is_dir()}
        assert folders == set(pneumonia.CLASSES)


def test_counts_and_names(drawn: tuple[Path, Pixels]) -> None:
    good, damaged = files_of(drawn[0])
    counts = Counter(name.rpartition("/")[0] for name in good)
    assert counts["train/NORMAL"] + counts["train/PNEUMONIA"] == TRAIN
    assert counts["val/NORMAL"] == counts["val/PNEUMONIA"] == 8
    assert counts["test/NORMAL"] + counts["test/PNEUMONIA"] == TEST
    for name in [*good, *damaged]:
        path = Path(name)
        own = describe(path)
        assert own is not None, name
        assert (own["kind"] == "normal") == (path.parent.name == "NORMAL"), name


def test_some_files_are_damaged_and_some_are_no_images(drawn: tuple[Path, Pixels]) -> None:
    _, damaged = files_of(drawn[0])
    contents = [(drawn[0] / "chest_xray" / name).read_bytes() for name in damaged]
    assert len(damaged) == 4
    assert all(name.startswith("train/") for name in damaged)
    assert sum(not content for content in contents) == 1
    assert sum(content.startswith(b"\xff\xd8") for content in contents) == 2  # truncated
    assert sum(content.startswith(b"404 ") for content in contents) == 1
    stray = Counter(
        path.name[:2] for path in (drawn[0] / "chest_xray").rglob("*")
        if (path.is_file() and path.suffix != ".jpeg") or path.name.startswith("._")
    )  # fmt: skip
    assert stray == {".D": 4, "._": 1, "Th": 1}


def test_pictures_look_like_chest_x_rays(drawn: tuple[Path, Pixels]) -> None:
    for name, picture in drawn[1].items():
        assert picture.dtype == np.uint8
        height, width = picture.shape
        assert 70 <= height <= 380, name
        assert 1.0 < width / height < 2.2, name
        middle = picture[height // 3 : height // 2, int(0.45 * width) : int(0.55 * width)]
        assert 60 < picture.mean() < 200, name
        assert middle.mean() > picture.mean(), name  # spine and heart are dense
        assert picture.std() > 25, name


def test_the_files_hold_what_was_drawn(drawn: tuple[Path, Pixels]) -> None:
    good, _ = files_of(drawn[0])
    assert set(drawn[1]) <= set(good)
    for name, picture in drawn[1].items():
        with Image.open(good[name]) as image:
            decoded = np.asarray(image.convert("L"), dtype=float)
        assert np.abs(decoded - picture).mean() < 4, name


def test_copies_are_byte_identical_and_of_one_child(drawn: tuple[Path, Pixels]) -> None:
    good, _ = files_of(drawn[0])
    owners = defaultdict(list)
    for name, path in good.items():
        owners[path.read_bytes()].append(name)
    twice = [names for names in owners.values() if len(names) > 1]
    assert twice
    for names in twice:
        assert len({patient_of(Path(name).name) for name in names}) == 1
        assert all(name.startswith("train/") for name in names)
    assert len(good) - len(drawn[1]) == sum(len(names) - 1 for names in twice)


def test_the_plan_at_its_usual_size(plan: list[pneumonia.Child]) -> None:
    images: Counter[tuple[str, str]] = Counter()
    children: Counter[tuple[str, str]] = Counter()
    for child in plan:
        images[child.part, child.folder] += len(child.shots)
        children[child.part, child.folder] += 1
    assert images == {
        ("train", "NORMAL"): 146, ("train", "PNEUMONIA"): 414, ("val", "NORMAL"): 8,
        ("val", "PNEUMONIA"): 8, ("test", "NORMAL"): 60, ("test", "PNEUMONIA"): 100,
    }  # fmt: skip
    assert min(children["train", kind] for kind in pneumonia.CLASSES) >= 40
    assert min(children["test", kind] for kind in pneumonia.CLASSES) >= 30
    names = [(child.part, shot.name) for child in plan for shot in child.shots]
    assert len(names) == len(set(names)) == 736
    # Each child lies in one part, and its names say who it is.
    assert len({child.identifier for child in plan}) == len(plan)
    for child in plan:
        assert {patient_of(shot.name) for shot in child.shots} == {child.identifier}
        assert sum(bool(shot.copy_of) for shot in child.shots) <= 1


def test_a_person_number_stands_for_two_children(plan: list[pneumonia.Child]) -> None:
    seen = defaultdict(set)
    for child in plan:
        own = describe(Path(child.shots[0].name))
        assert own is not None
        seen[own["number"]].add((child.part, own["kind"]))
    across = [who for who in seen.values() if {part for part, _ in who} >= {"train", "test"}]
    pairs = {frozenset(who) for who in across}
    assert len(across) >= 8
    # Once as virus and once as bacteria, never as the same in both parts.
    assert frozenset({("train", "virus"), ("test", "bacteria")}) in pairs
    assert frozenset({("train", "bacteria"), ("test", "virus")}) in pairs
    assert all(len({kind for _, kind in who}) == len(who) or
               {kind for _, kind in who} == {"normal"} for who in across)  # fmt: skip
    assert sum(who == {("train", "virus"), ("train", "bacteria")} for who in seen.values()) >= 3


def test_some_lungs_belie_their_folder(plan: list[pneumonia.Child]) -> None:
    wrong = [child for child in plan if (child.kind == "normal") != (child.folder == "NORMAL")]
    assert 1 <= len(wrong) <= 0.05 * len(plan)
    assert {child.part for child in wrong} == {"train"}


def test_size_and_colour_give_the_class_away(plan: list[pneumonia.Child]) -> None:
    shots = [(child, shot) for child in plan if child.part == "train" for shot in child.shots]
    height = np.array([shot.height for _, shot in shots])
    ill = np.array([child.folder == "PNEUMONIA" for child, _ in shots])
    # The area under the curve: how often a normal picture is higher than one of pneumonia.
    area = (height[~ill][:, None] > height[ill][None, :]).mean()
    assert 0.86 < area < 0.96
    colour = [child.folder for child, shot in shots if shot.colour]
    assert 4 <= len(colour) <= 20
    assert set(colour) == {"PNEUMONIA"}


def test_colour_files_have_three_equal_channels(tmp_path: Path) -> None:
    shot = pneumonia.Shot("a.jpeg", 40, 30, 90, True, np.random.SeedSequence(0))
    picture = np.tile(np.arange(40, dtype=np.uint8) * 5, (30, 1))
    pneumonia._save(picture, tmp_path / "a.jpeg", shot)
    with Image.open(tmp_path / "a.jpeg") as image:
        assert image.mode == "RGB"
        assert np.ptp(np.asarray(image).astype(int), axis=2).max() <= 1


def test_disease_fills_air_and_only_air() -> None:
    def child(kind: str, severity: float) -> pneumonia.Body:
        stream = np.random.SeedSequence(5)
        return pneumonia.Body(pneumonia.Child("x", "train", kind, "NORMAL", severity, 0.3, stream))

    healthy, lobar, diffuse = child("normal", 0), child("bacteria", 0.9), child("virus", 0.9)
    assert healthy.opacity.max() == 0
    assert lobar.opacity.max() > 0.6
    assert diffuse.mesh.mean() > 2 * healthy.mesh.mean()
    # Lobar disease is a patch, interstitial disease is in both lungs.
    lungs = diffuse.field > 0.5
    left = pneumonia._X < 0
    for side in (lungs & left, lungs & ~left):
        assert diffuse.mesh[side].mean() > 0.05
    assert (lobar.opacity[lobar.field > 0.5] > 0.3).mean() < 0.8


@pytest.mark.parametrize(("train", "test"), [(40, 16), (65, 31), (400, 40)])
def test_odd_sizes_can_be_planned(train: int, test: int) -> None:
    children = pneumonia._plan(3, train, test)
    counts = Counter(child.part for child in children for _ in child.shots)
    assert counts == {"train": train, "val": 16, "test": test}


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 40 pictures to train"):
        pneumonia.draw(tmp_path / "a", train=20)
    with pytest.raises(ValueError, match="seed is -1"):
        samples.draw("pneumonia", tmp_path / "a", seed=-1)
    assert not list(tmp_path.iterdir())


def test_nothing_half_made_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(picture: np.ndarray, path: Path, shot: pneumonia.Shot) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pneumonia, "_save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        pneumonia.draw(tmp_path / "sample", train=40, test=16)
    assert not list(tmp_path.iterdir())


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError, match="not empty"):
        pneumonia.draw(tmp_path, train=40, test=16)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
