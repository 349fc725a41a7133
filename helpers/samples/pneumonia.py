"""Draws a synthetic twin of the paediatric chest X-rays: normal, bacterial and viral pneumonia.

The twin has what makes the real set instructive: a child has several pictures that look alike,
so that a split by picture flatters; the official test part comes from other machines, with
another share of pneumonia and more doubtful cases, so that a random re-split of the training
folder claims more than the test keeps; the official ``val`` has 16 pictures; height and size
of a file give the class away; a person number can stand for two children; some files are
copies, some are stored in colour mode, a few are damaged.

How a picture is drawn: everything that weakens the beam (soft tissue, heart, abdomen, spine,
ribs, clavicles, vessels) is laid on a canvas of the child's own body and added up, as X-rays
do; air in the lungs takes away; a consolidation puts back what air took, except in the
bronchi; interstitial disease thickens what surrounds the vessels. The child then lies a
little otherwise in each picture (turned, breathing in more or less), and the machine has its
contrast, sharpness, noise, collimation and markers.

Coordinates: one unit is half the width of the rib cage; x grows to the right of the picture
(the child's left), y grows downwards from the apex of the lungs.
"""

import functools
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from helpers.paths import atomic_folder

VERSION: int = 1
"""Grows whenever a change here changes a pixel or a file name."""

CLASSES = ("NORMAL", "PNEUMONIA")
KINDS = ("normal", "bacteria", "virus")
LABEL_NOISE = 0.025
"""Share of the children in the training folder who lie in the wrong class folder."""
VALIDATION = 16
"""Pictures of the official ``val``, half of each class, as in the real set."""

_Array = NDArray[np.float64]

_SCALE = 72
"""Canvas pixels a unit."""
_LEFT, _RIGHT, _TOP, _BOTTOM = -1.75, 1.75, -0.80, 2.00
_SHAPE = (round((_BOTTOM - _TOP) * _SCALE), round((_RIGHT - _LEFT) * _SCALE))
_Y = _TOP + (np.arange(_SHAPE[0], dtype=np.float64)[:, None] + 0.5) / _SCALE
_X = _LEFT + (np.arange(_SHAPE[1], dtype=np.float64)[None, :] + 0.5) / _SCALE

# Median (width, height) of a picture, a sixth of the real one, and the spread of its logarithm.
_SIZES = {"NORMAL": (260.0, 203.0, 0.165), "PNEUMONIA": (196.0, 137.0, 0.22)}


def draw(folder: Path, seed: int = 0, train: int = 560, test: int = 160) -> None:
    """Draw the sample into `folder`, in the layout of the real archive.

    `folder` gets `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}` with JPEG files, a few
    damaged files beyond the counts, and what an archive made on a Mac carries along.
    Of `train`, 26 % are normal; of `test`, 37.5 %; `val` has 8 and 8.

    Args:
        folder: must not exist yet, or be empty; appears at once when all is drawn.
        seed: rules every pixel and every name.
        train: how many readable pictures the training folder holds, at least 40.
        test: how many the test folder holds, at least 16.

    Raises:
        ValueError: a number is too small.
        FileExistsError: `folder` has something in it.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more.")
    if train < 40 or test < 16:
        raise ValueError(
            f"train={train}, test={test}: at least 40 pictures to train and 16 to test are needed."
        )
    children = _plan(seed, train, test)
    # Two notebooks that start at once draw the same sample: the first to finish wins.
    with atomic_folder(folder, keep_existing=True) as root:
        for part in ("train", "val", "test"):
            for class_name in CLASSES:
                (root / "chest_xray" / part / class_name).mkdir(parents=True)
        for child in children:
            body = Body(child)
            for shot in child.shots:
                path = root / "chest_xray" / child.part / child.folder / shot.name
                if shot.copy_of:
                    path.write_bytes((path.parent / shot.copy_of).read_bytes())
                else:
                    _save(body.photograph(shot), path, shot)
        _write_damaged(root / "chest_xray", children)
        _write_stray(root / "chest_xray", children)


# -- the plan: which children, which pictures, which names ---------------------------------


@dataclass(frozen=True)
class Shot:
    """One picture to be drawn: its file, its size in pixels, and its own random stream."""

    name: str
    width: int
    height: int
    quality: int
    """Of the JPEG file."""
    colour: bool
    """Whether the file has three (equal) channels."""
    stream: np.random.SeedSequence
    copy_of: str = ""
    """Name of the file that this one repeats byte for byte."""


@dataclass
class Child:
    """One child: what it has, how hard it is to see, and which machine took its pictures."""

    identifier: str
    """Such as ``person78_bacteria`` or ``NORMAL2-IM-0383``."""
    part: str
    kind: str
    """What it truly is: normal, bacteria or virus."""
    folder: str
    """The class folder it lies in, which is wrong for a few."""
    severity: float
    """0 for healthy lungs; 0.15 is easily overlooked, 1 is plain."""
    bedside: float
    """0: a good picture of a standing child; 1: taken at the bed, lying, with lines and leads."""
    stream: np.random.SeedSequence
    shots: list[Shot] = field(default_factory=list)


def _plan(seed: int, train: int, test: int) -> list[Child]:
    """Return all children with the pictures to draw of each."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    normal, sick = round(0.26 * train), train - round(0.26 * train)
    healthy_test = round(0.375 * test)
    wanted = {
        ("train", "normal"): (normal, 2.1),
        ("train", "bacteria"): (sick - round(0.35 * sick), 4.6),
        ("train", "virus"): (round(0.35 * sick), 3.4),
        ("val", "normal"): (VALIDATION // 2, 1.0),
        ("val", "bacteria"): (VALIDATION // 2, 1.1),
        ("test", "normal"): (healthy_test, 1.3),
        ("test", "bacteria"): (test - healthy_test - round(0.38 * (test - healthy_test)), 2.6),
        ("test", "virus"): (round(0.38 * (test - healthy_test)), 1.4),
    }
    counts = {key: _share_out(rng, images, mean) for key, (images, mean) in wanted.items()}
    numbers = _numbers(rng, {key: len(value) for key, value in counts.items()})
    children: list[Child] = []
    running = {"bacteria": 0, "virus": 0}
    for (part, kind), own in sorted(counts.items()):
        for place, count in enumerate(own):
            stream = np.random.SeedSequence(seed, spawn_key=(1, len(children)))
            child = _prepare_child(rng, numbers[part, kind][place], part, kind, stream)
            children.append(child)
            _fill(rng, child, seed, len(children), count, running)
    _mislabel(rng, children)
    _repeat_some(rng, children)
    return children


def _share_out(rng: np.random.Generator, images: int, mean: float) -> list[int]:
    """Return how many pictures each child has: most have few, some have many."""
    left, counts = images, []
    while left:
        drawn = 1 + int(rng.geometric(1.0 / mean)) - 1 if mean > 1.0 else 1
        counts.append(min(left, drawn, 14))
        left -= counts[-1]
    return counts


def _numbers(
    rng: np.random.Generator, children: dict[tuple[str, str], int]
) -> dict[tuple[str, str], list[str]]:
    """Return identifiers for each part and kind, in the real ranges of numbers.

    Bacterial and viral cases are numbered apart, so a number can occur twice: for some as
    virus in train and bacteria in test or the reverse, for more within train.
    """
    # Lowest and highest number of the real files.
    ranges = {
        ("train", "bacteria"): (175, 1945), ("val", "bacteria"): (1946, 1999),
        ("test", "bacteria"): (78, 174), ("train", "virus"): (81, 1609),
        ("test", "virus"): (1, 80),
    }  # fmt: skip
    drawn = {key: _choose(rng, low, high, children[key]) for key, (low, high) in ranges.items()}
    shared = max(2, min(len(drawn["test", "bacteria"]), len(drawn["test", "virus"])) // 4)
    _share(rng, drawn["test", "bacteria"], drawn["train", "virus"], shared)
    _share(rng, drawn["test", "virus"], drawn["train", "bacteria"], shared)
    _share(rng, drawn["train", "bacteria"], drawn["train", "virus"], shared, 175)
    names = {
        (part, kind): [f"person{number}_{kind}" for number in sorted(values)]
        for (part, kind), values in drawn.items()
    }
    # Two archives of healthy children, each numbered from one.
    plain = {"train": (115, 766), "test": (3, 111), "val": (800, 820)}
    second = {"train": (383, 1423), "test": (12, 378), "val": (1427, 1442)}
    for part in ("train", "val", "test"):
        count = children[part, "normal"]
        older = 0 if part == "val" else round(0.42 * count)
        names[part, "normal"] = [
            f"IM-{number:04d}" for number in sorted(_choose(rng, *plain[part], older))
        ] + [
            f"NORMAL2-IM-{number:04d}"
            for number in sorted(_choose(rng, *second[part], count - older))
        ]
    return names


def _choose(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    """Return `count` different numbers from `low` on; beyond `high` where there are too few."""
    return [low + int(step) for step in rng.permutation(max(high - low + 1, count))[:count]]


def _share(
    rng: np.random.Generator, given: list[int], taking: list[int], count: int, least: int = 0
) -> None:
    """Give `count` numbers of one list to another of the other kind, in place of its own."""
    offered = [number for number in given if number >= least and number not in taking]
    places = [place for place, number in enumerate(taking) if number >= least]
    for number, place in zip(rng.permutation(offered)[:count], rng.permutation(places),
                             strict=False):  # fmt: skip
        taking[int(place)] = int(number)


def _prepare_child(
    rng: np.random.Generator, identifier: str, part: str, kind: str, stream: np.random.SeedSequence
) -> Child:
    """Return a child without pictures: how ill it is and where its pictures were taken."""
    sick = kind != "normal"
    test = part == "test"
    severity = 0.0
    if sick:
        plain = rng.uniform(0.55, 1.0)
        doubtful = rng.random() < (0.36 if test else 0.19)
        severity = rng.uniform(0.08, 0.35) if doubtful else plain
    # In train the machine nearly tells the class; in test it does so less.
    healthy = (2.0, 1.9) if test else (1.1, 5.5)
    bedside = rng.beta(*((2.3, 1.6) if sick else healthy))
    folder = CLASSES[int(sick)]
    return Child(identifier, part, kind, folder, float(severity), float(bedside), stream)


def _fill(
    rng: np.random.Generator, child: Child, seed: int, key: int, count: int,
    running: dict[str, int],
) -> None:  # fmt: skip
    """Give a child its pictures: names in the archive's ways, sizes, file quality."""
    width0, height0, spread = _SIZES[child.folder]
    own = spread * 0.8 * _clipped(rng)
    for number in range(count):
        zoom = math.exp(own + spread * 0.6 * _clipped(rng))
        aspect = math.exp(0.06 * _clipped(rng))
        width, height = round(width0 * zoom * aspect), round(height0 * zoom / aspect)
        if child.kind == "normal":
            name = f"{child.identifier}-0001" + (f"-{number + 1:04d}" if count > 1 else "")
            quality = int(rng.integers(92, 97))
        else:
            running[child.kind] += int(rng.integers(1, 4))
            name = f"{child.identifier}_{running[child.kind]}"
            quality = int(rng.integers(84, 89))
        colour = child.folder == "PNEUMONIA" and child.part == "train" and rng.random() < 0.022
        stream = np.random.SeedSequence(seed, spawn_key=(2, key, number))
        child.shots.append(Shot(f"{name}.jpeg", width, height, quality, bool(colour), stream))


def _mislabel(rng: np.random.Generator, children: list[Child]) -> None:
    """Make the lungs of a few children in train the opposite of what their name says.

    The name follows the folder in the real set, so it is the child that changes, not the file.
    """
    train = [child for child in children if child.part == "train"]
    for place in rng.permutation(len(train))[: round(LABEL_NOISE * len(train))]:
        child = train[int(place)]
        if child.kind == "normal":
            child.kind, child.severity = "virus", 0.6
        else:
            child.kind, child.severity = "normal", 0.0


def _repeat_some(rng: np.random.Generator, children: list[Child]) -> None:
    """Turn about one picture in ninety of train into a copy of the same child's one before."""
    several = [child for child in children if child.part == "train" and len(child.shots) > 1]
    total = sum(len(child.shots) for child in children if child.part == "train")
    for place in rng.permutation(len(several))[: max(1, total // 90)]:
        shots = several[int(place)].shots
        name, first = shots[1].name, shots[0]
        shots[1] = Shot(name, first.width, first.height, first.quality, first.colour,
                        first.stream, copy_of=first.name)  # fmt: skip


# -- the body: layers of one child on its canvas -------------------------------------------


class Body:
    """What weakens the beam in one child, in layers on the canvas; drawn once a child."""

    def __init__(self, child: Child) -> None:
        """Draw all layers of a child."""
        self.child = child
        self.rng = rng = np.random.default_rng(child.stream)
        self.young = float(rng.beta(1.6, 1.6))
        """1: a baby with a broad heart and level ribs; 0: six years old."""
        self.taper = float(rng.uniform(0.55, 1.15))
        self.dome = float(rng.uniform(1.14, 1.38)) - 0.16 * self.young
        if child.kind == "virus":  # the small airways trap air: the domes stand lower
            self.dome += 0.08 * child.severity * float(rng.random())
        self.twist = 0.09 * _clipped(rng) * (0.6 + child.bedside)
        self.base = self.dome + float(rng.uniform(0.26, 0.36))
        self.soft = self._soft_tissue()
        self.air = self._lungs()
        self.middle = self._heart_and_vessels()
        self.bone = self._bones()
        self.vessels, self.bronchi = self._trees()
        self.opacity, self.mesh = self._disease()
        self.fine = 3.5 * noise(rng, _SHAPE, 2.6) + 3.5 * noise(rng, _SHAPE, 5.0)
        self.machine = _Machine(rng, child)

    def _cage(self, y: _Array) -> _Array:
        """Return half the width of the rib cage at heights y."""
        height = np.clip((self.base - y) / (self.base + 0.13), 0.0, 1.0)
        narrow = self.taper * height + (1.0 - self.taper) * height * height * height
        shape: _Array = np.sqrt(np.clip(1.0 - height * narrow, 0.0, 1.0))
        return shape

    def _soft_tissue(self) -> _Array:
        """Return thickness of trunk, neck, head, shoulders and arms, 1 = the trunk's middle."""
        rng = self.rng
        y, x = _Y[::4], _X[:, ::4]  # all of it is smooth: a coarse grid will do
        fat = rng.uniform(1.04, 1.16)
        side = np.where(y < 0.55, 0.93 + 0.10 * np.clip((y - 0.1) / 0.45, 0.0, 1.0), 1.03)
        trunk = _dome(x / (fat * side)) * _step((y - 0.02 + 0.10 * np.abs(x)) / 0.10)
        neck = 0.80 * _dome(x / rng.uniform(0.38, 0.50)) * _step((0.35 - y) / 0.2)
        self.chin = chin = float(rng.uniform(-0.58, -0.22))
        head = 1.05 * _dome(np.hypot(x / 0.60, (y - chin + 0.62) / 0.66))
        parts = [trunk, neck, head]
        # One position of the arms for both sides, not quite alike.
        lift = rng.choice((-1.15, -0.55, 0.35, 1.15), p=(0.40, 0.36, 0.06, 0.18))
        self.arms: list[tuple[float, float, float]] = []
        for sign in (-1.0, 1.0):
            angle = lift + 0.22 * _clipped(rng)
            self.arms.append((sign, angle, float(rng.uniform(0.22, 0.30))))
            xa, ya = sign * 0.93, 0.10
            xb, yb = xa + sign * math.cos(angle), ya + math.sin(angle)
            arm = _capsule(y, x, xa, ya, xb, yb, self.arms[-1][2])
            shoulder = _capsule(y, x, sign * 0.30, -0.08, sign * 0.98, 0.16, 0.27)
            slope = _capsule(y, x, sign * 0.22, -0.34, sign * 0.92, 0.02, 0.26)
            pit = _capsule(y, x, sign * 0.95, 0.16, sign * 0.90, 0.50, 0.20)
            parts += [0.62 * arm, 0.74 * shoulder, 0.68 * slope, 0.55 * pit]
        total = np.maximum.reduce(parts)
        return _enlarge(ndimage.gaussian_filter(total, 0.9, truncate=3.0))

    def _lungs(self) -> _Array:
        """Return air in the lungs, 0-1, before heart and domes take their part."""
        rng = self.rng
        cage = self._cage(_Y) - 0.045
        self.right_dome = self.dome - rng.uniform(0.02, 0.07)
        self.left_dome = self.dome + rng.uniform(-0.01, 0.05)
        self.domes = np.where(
            _X < 0.05,
            self.right_dome + 0.42 * (_X + 0.42) ** 2 + 0.5 * np.clip(-0.62 - _X, 0.0, 1.0),
            self.left_dome + 0.42 * (_X - 0.46) ** 2 + 0.5 * np.clip(_X - 0.66, 0.0, 1.0),
        )
        apex = 0.02 + 0.55 * (np.abs(_X) - 0.42) ** 2
        self.below = _step((_Y - self.domes) / 0.045)
        outer = cage - np.abs(_X)
        inner = np.abs(_X - 0.6 * self.twist) - 0.10
        inside = _step(outer / 0.05) * _step(inner / 0.07) * _step((_Y - apex) / 0.06)
        depth = np.sqrt(np.clip(outer / 0.42, 0.0, 1.0)) * np.clip(0.72 + 0.5 * inner, 0.0, 1.0)
        self.field = inside * (1.0 - self.below)
        air: _Array = self.field * (0.45 + 0.55 * depth)
        return air

    def _heart_and_vessels(self) -> _Array:
        """Return heart, great vessels and thymus, 0-1."""
        rng = self.rng
        size = 0.38 + 0.11 * self.young + 0.03 * _clipped(rng)
        x0, y0 = 0.14 + 0.5 * self.twist + 0.03 * _clipped(rng), self.dome - 0.20
        tilt = rng.uniform(0.55, 0.95)
        along = (_X - x0) * math.cos(tilt) + (_Y - y0) * math.sin(tilt)
        across = (_Y - y0) * math.cos(tilt) - (_X - x0) * math.sin(tilt)
        heart = np.hypot(along / (1.22 * size), across / (0.86 * size))
        # The great vessels widen into the heart; their left edge runs aslant to its tip.
        slope = np.clip(_Y - 0.18, 0.0, 1.2)
        left = 0.13 + 0.02 * rng.normal() + (0.22 + 0.1 * self.young) * slope
        right = 0.13 + 0.02 * rng.normal() + (0.10 + 0.09 * self.young) * slope
        middle = _X - 0.02 - 0.8 * self.twist
        trunk = np.where(middle > 0.0, middle / left, -middle / right)
        trunk = trunk + 2.0 * np.clip(0.12 - _Y, 0.0, 1.0)
        trunk = trunk + 2.0 * np.clip(_Y - self.dome + 0.25, 0.0, 1.0)
        knob = np.hypot((_X - 0.12 - 0.6 * self.twist) / 0.13, (_Y - 0.38) / 0.16)
        shapes = [_step((1.0 - heart) / 0.13), 0.88 * _step((1.0 - trunk) / 0.30),
                  0.7 * _step((1.0 - knob) / 0.35)]  # fmt: skip
        if self.young > 0.5 and rng.random() < 0.6:  # the thymus: a sail beside the heart
            sign = -1.0 if rng.random() < 0.6 else 1.0
            sail = np.hypot((_X - sign * 0.14) / (0.26 * self.young + 0.05), (_Y - 0.40) / 0.34)
            shapes.append(0.75 * _step((1.0 - sail) / 0.25))
        total: _Array = ndimage.gaussian_filter(np.maximum.reduce(shapes), 1.8, truncate=2.5)
        return total

    def _bones(self) -> _Array:
        """Return spine, ribs, clavicles, shoulder blades and upper arms as added weakening."""
        rng = self.rng
        tubes = _Tubes()
        self._ribs(tubes)
        for sign, angle, radius in self.arms:
            bend = np.linspace(0.0, 1.0, 40)
            start = sign * (0.11 + 0.02 * rng.random()) + 0.9 * self.twist
            rise = rng.uniform(0.12, 0.30)
            x = start + bend * (sign * 0.80 - start)
            y = 0.17 - rise * bend + 0.03 * np.sin(2.0 * math.pi * bend)
            tubes.add(y, x, 0.030 - 0.006 * bend, 1.0, 0.4)
            x0, y0 = sign * 0.99, 0.07
            length = np.linspace(0.02, 1.0, 60)
            x, y = x0 + sign * length * math.cos(angle), y0 + length * math.sin(angle)
            wide = radius * (0.30 + 0.14 * np.clip(1.0 - length / 0.22, 0.0, 1.0))
            tubes.add(y, x, wide, 0.85, 0.45)
            blade = np.linspace(0.0, 1.0, 50)
            x = sign * (0.72 + 0.14 * blade + 0.10 * np.sin(math.pi * blade))
            tubes.add(0.05 + 0.62 * blade, x, 0.022, 0.45, 0.2)
            tubes.add(0.02 + 0.16 * blade, sign * (0.98 - 0.3 * blade), 0.03, 0.4, 0.2)
        jaw = np.linspace(0.15 * math.pi, 0.85 * math.pi, 60)
        tubes.add(self.chin - 0.44 + 0.36 * np.sin(jaw), 0.48 * np.cos(jaw), 0.05, 0.6, 0.4)
        ribs = tubes.layer()
        spine = self._spine()
        # Behind the abdomen little of a rib is seen.
        layer: _Array = 37.0 * ribs * (1.0 - 0.6 * self.below) + 30.0 * spine
        return layer

    def _ribs(self, tubes: "_Tubes") -> None:
        """Lay ten pairs of ribs: tilted rings, seen from the front, open at the breastbone."""
        rng = self.rng
        drop = 0.46 + 0.24 * (1.0 - self.young) + 0.05 * _clipped(rng)
        count = 10
        spacing = (self.base + 0.04) / (count - 1.0) * rng.uniform(0.92, 1.0)
        number = np.arange(count, dtype=np.float64)[:, None]
        # The lower ribs end before they come to the front.
        end = 0.80 - 0.05 * np.clip(number - 5.0, 0.0, 9.0)
        around = (0.10 + (end - 0.10) * np.linspace(0.0, 1.0, 190)[None, :]) * math.pi
        for sign in (-1.0, 1.0):
            top = -0.12 + spacing * number + 0.006 * rng.normal(size=(count, 1))
            low = drop * (0.55 + 0.55 * np.clip(number / 4.0, 0.0, 1.0))
            low = low + 0.015 * rng.normal(size=(count, 1))
            half = self._cage(top + 0.5 * low) * (1.0 - 0.5 * sign * self.twist)
            turn = np.sin(around)
            x = sign * half * turn + self.twist * (0.6 - 0.6 * np.cos(around))
            y = top + 0.5 * low * (1.0 - np.cos(around)) - 0.035 * np.sin(2.0 * around)
            y = y + 0.05 * np.clip(-np.cos(around), 0.0, 1.0)
            front = np.clip((around / math.pi - 0.5) / 0.3, 0.0, 1.0)
            thick = 0.027 + 0.015 * front + 0.004 * rng.normal(size=(count, 1))
            # Bone turns to cartilage, which hardly shows, towards the breastbone.
            strength = (1.0 - 0.45 * front) * _step((end - 0.05 - around / math.pi) / 0.05)
            strength = strength * (0.5 + 0.5 * _step(number - 0.6))
            tubes.add_all(y, x, half * np.cos(around), thick, strength, 0.5)

    def _spine(self) -> _Array:
        """Return the column of vertebrae, 0-1.3, with discs between and the windpipe before."""
        rng = self.rng
        centre = 0.02 * _clipped(rng) * np.sin(2.0 * _Y + rng.uniform(0.0, 6.0))
        distance = np.abs(_X - centre)
        height = rng.uniform(0.125, 0.15) + 0.012 * _Y
        phase = _Y / height + rng.random()
        disc = np.abs(phase - np.floor(phase) - 0.5)
        body = _step((0.125 + 0.02 * disc - distance) / 0.03)
        column = body * (0.85 - 0.30 * _step((disc - 0.38) / 0.09))
        pedicle = np.hypot((distance - 0.085) / 0.032, (disc - 0.12) * height / 0.038)
        column = column + 0.30 * body * _step((1.0 - pedicle) / 0.5)
        spike = np.hypot(distance / 0.022, (disc - 0.3) * height / 0.05)
        column = column + 0.25 * _step((1.0 - spike) / 0.5)
        # Air in the windpipe and the two main bronchi.
        middle = centre + 0.035 * np.clip(_Y + 0.4, 0.0, 0.8) * -1.0 + 0.9 * self.twist
        fork = np.clip(_Y - 0.42, 0.0, 1.0)
        branch = np.abs(np.abs(_X - middle) - 0.75 * fork)
        pipe = _step((0.050 - branch) / 0.025) * _step((0.68 - _Y) / 0.1)
        # In the neck the vertebrae are small.
        column = column * (0.55 + 0.45 * _step((_Y - 0.05) / 0.25))
        return column - rng.uniform(0.5, 0.9) * pipe

    def _trees(self) -> tuple[_Array, _Array]:
        """Return vessels that thin out from the hila, and the wide bronchi beside them."""
        rng = self.rng
        vessels, bronchi = _Tubes(), _Tubes()
        for sign in (-1.0, 1.0):
            count = 7
            y = np.full(count, 0.60 if sign < 0 else 0.55) + 0.05 * rng.normal(size=count)
            x = np.full(count, sign * 0.17 + 0.7 * self.twist)
            angle = np.linspace(-1.0, 1.4, count) + 0.15 * rng.normal(size=count)
            radius = np.full(count, 0.030)
            for level in range(4):
                length = 0.17 * 0.92**level * rng.uniform(0.7, 1.3, len(y))
                bend = 0.55 * rng.normal(size=len(y))
                along = np.linspace(0.0, 1.0, 22)[None, :]
                direction = angle[:, None] + bend[:, None] * along
                xs = x[:, None] + sign * length[:, None] * along * np.cos(direction)
                ys = y[:, None] + length[:, None] * along * np.sin(direction)
                thin = radius[:, None] * (1.0 - 0.3 * along)
                flat = np.zeros_like(xs)
                vessels.add_all(ys, xs, flat, thin, np.clip(thin / 0.018, 0.2, 1.3), 0.0)
                if level < 3:
                    bronchi.add_all(ys + 0.02, xs, flat, thin * 0.95, np.ones_like(xs), 0.0)
                # Each branch forks in two, of which a few go no further.
                y, x = np.repeat(ys[:, -1], 2), np.repeat(xs[:, -1], 2)
                angle = np.repeat(direction[:, -1], 2)
                angle = angle + np.tile([-0.38, 0.38], len(length)) * rng.uniform(0.5, 1.5, len(y))
                radius = np.repeat(radius, 2) * rng.uniform(0.58, 0.82, len(y))
                kept = rng.random(len(y)) < 0.8
                y, x, angle, radius = y[kept], x[kept], angle[kept], radius[kept]
        return np.clip(vessels.layer(), 0.0, 1.5), np.clip(bronchi.layer(), 0.0, 1.0)

    # Disease.

    def _disease(self) -> tuple[_Array, _Array]:
        """Return what fills the air spaces (0-1) and what thickens the tissue between them."""
        child, rng = self.child, self.rng
        opacity, mesh = np.zeros(_SHAPE), np.zeros(_SHAPE)
        if child.kind == "bacteria":
            for _ in range(1 + int(rng.random() < 0.25 + 0.3 * child.severity)):
                opacity = np.maximum(opacity, self._consolidation(child.severity))
            if rng.random() < 0.3 * child.severity:
                opacity = np.maximum(opacity, self._effusion())
            mesh = self._mesh(0.25 * child.severity)
        elif child.kind == "virus":
            mesh = self._mesh(child.severity)
            if rng.random() < 0.35:  # a little collapse or patchy filling as well
                opacity = self._consolidation(0.45 * child.severity)
        else:
            # Healthy, yet not empty: crowded vessels of a shallow breath, a cold.
            most = 0.34 if child.part == "test" else 0.20
            mesh = self._mesh(float(most * rng.random() ** 2))
        return opacity, mesh

    def _consolidation(self, severity: float) -> _Array:
        """Return one lobe or part of it, filled; its edge is sharp only along a fissure."""
        rng = self.rng
        lobes = (  # x, y, half width, half height, fissure: 1 lies above it, -1 below
            (-0.52, 0.28, 0.40, 0.32, 1), (-0.42, 0.82, 0.30, 0.24, -1),
            (-0.55, 0.98, 0.42, 0.36, 0), (0.50, 0.32, 0.38, 0.36, 0),
            (0.62, 0.92, 0.42, 0.40, 0), (0.55, 0.62, 0.34, 0.34, 0),
        )  # fmt: skip
        x, y, wide, high, fissure = lobes[int(rng.choice(6, p=(0.2, 0.14, 0.22, 0.1, 0.2, 0.14)))]
        part = 0.50 + 0.90 * severity * rng.uniform(0.8, 1.4)
        x, y = x + 0.12 * _clipped(rng), y + 0.10 * _clipped(rng)
        ragged = 0.55 * noise(rng, _SHAPE, 22.0) + 0.30 * noise(rng, _SHAPE, 8.0)
        away = np.hypot((_X - x) / (wide * part), (_Y - y) / (high * part)) + 0.25 * ragged
        filled = _step((1.0 - away) / rng.uniform(0.30, 0.75))
        if fissure and rng.random() < 0.7:
            line = 0.56 + 0.10 * (_X + 0.5) + 0.02 * _clipped(rng)
            filled = filled * _step(fissure * (line - _Y) / 0.03)
        strength = np.clip(0.12 + 1.05 * severity, 0.0, 0.97) * rng.uniform(0.85, 1.05)
        uneven = np.clip(0.88 + 0.14 * ragged, 0.4, 1.1)
        airways = 1.0 - 0.40 * rng.uniform(0.2, 1.0) * self.bronchi
        return np.clip(filled * uneven * airways * strength, 0.0, 0.97)

    def _effusion(self) -> _Array:
        """Return fluid that climbs along the side wall and blunts the angle of the lung."""
        rng = self.rng
        sign = -1.0 if rng.random() < 0.5 else 1.0
        level = self.dome + 0.12 - rng.uniform(0.05, 0.35)
        rise = 0.45 * np.clip(sign * _X - 0.45, 0.0, 1.0) ** 1.5
        return 0.9 * _step((_Y - level + rise) / 0.10) * _step((sign * _X - 0.05) / 0.1)

    def _mesh(self, severity: float) -> _Array:
        """Return streaks and a fine net around the hila: cuffs, lines, a ground-glass veil."""
        rng = self.rng
        if severity <= 0.0:
            return np.zeros(_SHAPE)
        lines = np.zeros(_SHAPE)
        for cell, share in ((3.5, 0.55), (7.0, 0.45)):
            lines += share * np.clip(1.0 - np.abs(noise(rng, _SHAPE, cell)) / 0.42, 0.0, 1.0)
        side = np.clip(0.85 + 0.3 * rng.normal(size=2), 0.5, 1.2)
        near = np.zeros(_SHAPE)
        for sign, share in zip((-1.0, 1.0), side, strict=True):
            away = ((_X - sign * 0.28) / 0.42) ** 2 + ((_Y - 0.66) / 0.48) ** 2
            near += share / (1.0 + away * away)
        patch = np.clip(0.8 + 0.45 * noise(rng, _SHAPE, 20.0), 0.1, 1.6)
        cuffs = 0.15 * self.bronchi
        veil = 0.70
        net: _Array = severity * near * patch * (0.65 * lines + cuffs + veil)
        return net

    # One picture.

    def photograph(self, shot: Shot) -> NDArray[np.uint8]:
        """Return one picture of the child: uint8 (height, width), bright where dense."""
        rng = np.random.default_rng(shot.stream)
        breath = 0.04 * _clipped(rng)
        course = float(np.clip(1.0 + 0.18 * _clipped(rng), 0.5, 1.3))
        filled = np.clip(self.opacity * course, 0.0, 0.97)
        air = self.air * (1.0 - 0.87 * self.middle) * (1.0 + 0.6 * breath)
        density = 142.0 * self.soft - 92.0 * air * (1.0 - 0.95 * filled)
        density += 22.0 * self.middle * (1.0 - 0.5 * self.below)
        density += 28.0 * self.below * _dome(_X / 1.15)
        density += (
            self.field * (1.0 - self.middle) * (12.0 * self.vessels + 46.0 * course * self.mesh)
        )
        density += self.field * self.fine
        density += self._gas(rng) + self.bone * self.machine.bones
        picture = self._place(density, shot, rng, breath)
        return self.machine.develop(picture, rng)

    def _gas(self, rng: np.random.Generator) -> _Array:
        """Return the stomach's bubble and bowel gas below the left dome, as taken away."""
        x0, y0 = 0.50 + 0.10 * _clipped(rng), self.left_dome + rng.uniform(0.12, 0.28)
        wide, high = rng.uniform(0.12, 0.34), rng.uniform(0.06, 0.15)
        bubble = _step((1.0 - np.hypot((_X - x0) / wide, (_Y - y0) / high)) / 0.25)
        gas = rng.uniform(0.1, 1.0) * bubble
        if rng.random() < 0.35:
            loops = noise(rng, _SHAPE, 11.0)
            gas = gas + 0.7 * np.clip(loops - 0.7, 0.0, 1.0) * _step((_Y - y0 - 0.1) / 0.1)
        return -42.0 * gas * self.below

    def _place(
        self, density: _Array, shot: Shot, rng: np.random.Generator, breath: float
    ) -> _Array:
        """Return the canvas as it lies on the film: turned, shifted, cut to the shot's size."""
        machine = self.machine
        span = machine.span * math.exp(0.03 * _clipped(rng))
        turn = machine.turn + 0.018 * _clipped(rng)
        unit = span / shot.width
        x = (np.arange(shot.width) + 0.5 - 0.5 * shot.width)[None, :] * unit
        y = (np.arange(shot.height) + 0.5 - 0.5 * shot.height)[:, None] * unit
        x0 = machine.shift + 0.03 * _clipped(rng)
        y0 = machine.level + 0.03 * _clipped(rng)
        across = x * math.cos(turn) - y * math.sin(turn) + x0
        down = (x * math.sin(turn) + y * math.cos(turn)) * (1.0 - 0.6 * breath) + y0
        across = across + machine.bend * (down - 0.6) ** 2
        rows, columns = (down - _TOP) * _SCALE - 0.5, (across - _LEFT) * _SCALE - 0.5
        placed: _Array = ndimage.map_coordinates(density, [rows, columns], order=1, mode="nearest")
        return placed


class _Machine:
    """How one child's pictures are taken and developed."""

    def __init__(self, rng: np.random.Generator, child: Child) -> None:
        bedside = child.bedside
        self.bedside = bedside
        self.span = float(rng.uniform(2.40, 2.90) + 0.15 * bedside * _clipped(rng))
        self.turn = 0.045 * _clipped(rng) * (0.6 + 1.2 * bedside)
        self.shift = 0.07 * _clipped(rng)
        self.level = float(rng.uniform(0.62, 0.80))
        self.bend = 0.05 * _clipped(rng) * (0.3 + bedside)
        self.bones = float(np.clip(1.0 + 0.22 * _clipped(rng), 0.5, 1.6))
        self.contrast = float(
            np.clip(1.25 - 0.28 * bedside + (0.08 + 0.08 * bedside) * _clipped(rng), 0.65, 1.55)
        )
        self.light = float(8.0 + 24.0 * bedside + (8.0 + 10.0 * bedside) * _clipped(rng))
        self.knee = float(rng.uniform(135.0, 200.0))
        self.crisp = float(rng.uniform(0.35, 1.0) * (1.0 - 0.6 * bedside))
        self.blur = float(rng.uniform(0.15, 0.35) + 0.40 * bedside * rng.random())
        self.grain = float(rng.uniform(0.8, 1.8) + 1.6 * bedside * rng.random())
        self.fog = float(np.clip(2.0 + 24.0 * bedside * rng.random(), 0.0, 30.0))
        self.edges = rng.uniform(-0.12, 0.022, 4)
        self.marker = "R" if rng.random() < 0.95 else "L"
        self.marker_size = float(rng.uniform(0.032, 0.05) if rng.random() < 0.75
                                 else rng.uniform(0.06, 0.085))  # fmt: skip
        self.marker_place = (float(rng.uniform(0.02, 0.36)), float(rng.uniform(0.015, 0.08)))
        self.has_marker = bool(rng.random() < 0.88)
        self.leads = int(rng.integers(1, 4)) if rng.random() < 0.55 * bedside else 0
        self.lines = int(rng.random() < 0.30 * bedside)
        self.text = bool(rng.random() < 0.10)

    def develop(self, picture: _Array, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the film's grey levels: contrast, blur, grain, collimation, markers."""
        height, width = picture.shape
        exposure = 1.0 + 0.04 * _clipped(rng)
        for _ in range(self.leads):
            self._lead(picture, rng)
        if self.lines:
            self._line(picture, rng)
        inside = np.clip(picture / 14.0, 0.0, 1.0)
        grey = picture * self.contrast * exposure + self.light * inside
        # Film and screen saturate: dense parts come close to one another.
        over = np.clip(grey - self.knee, 0.0, None)
        grey = np.minimum(grey, self.knee) + over / (1.0 + over / (252.0 - self.knee))
        grey = grey + self.fog * (1.0 - inside)
        # Its computer lifts fine detail.
        wide = ndimage.gaussian_filter(grey, width / 90.0, truncate=2.5)
        grey = grey + self.crisp * (grey - wide)
        grey = ndimage.gaussian_filter(grey, self.blur * width / 200.0, truncate=3.0)
        grain = noise(rng, picture.shape, 2.2) + 0.6 * rng.standard_normal(picture.shape)
        grey = grey + self.grain * grain * np.sqrt(np.clip(grey, 4.0, 200.0) / 120.0)
        grey = grey * self._collimation(height, width)
        self._mark(grey, rng)
        result: NDArray[np.uint8] = np.clip(np.rint(grey), 0.0, 255.0).astype(np.uint8)
        return result

    def _collimation(self, height: int, width: int) -> _Array:
        """Return 1 where the beam reached the film, 0 at the edges that were shut out."""
        y = ((np.arange(height) + 0.5) / height)[:, None]
        x = ((np.arange(width) + 0.5) / width)[None, :]
        top, bottom, left, right = self.edges
        rows = _step((y - top) / 0.01) * _step((1.0 - bottom - y) / 0.01)
        columns = _step((x - left) / 0.01) * _step((1.0 - right - x) / 0.01)
        shut: _Array = rows * columns
        return shut

    def _lead(self, picture: _Array, rng: np.random.Generator) -> None:
        """Lay the disc of a heart monitor on the child: a ring with a dense middle."""
        height, width = picture.shape
        y0, x0 = rng.uniform(0.06, 0.6) * height, rng.choice((0.14, 0.2, 0.75, 0.84)) * width
        y0, x0 = y0 + 0.03 * height * rng.normal(), x0 + 0.05 * width * rng.normal()
        radius = 0.024 * width
        y, x = np.arange(height)[:, None] - y0, np.arange(width)[None, :] - x0
        away = np.hypot(y * 0.75, x) / radius
        ring = _step((1.0 - away) / 0.2)
        picture += ring * 45.0 + 55.0 * _step((0.55 - away) / 0.2)

    def _line(self, picture: _Array, rng: np.random.Generator) -> None:
        """Lay a tube or a cable across the picture."""
        height, width = picture.shape
        along = np.linspace(0.0, 1.0, 3 * height)
        x = (rng.uniform(0.1, 0.6) + rng.uniform(-0.3, 0.5) * along
             + 0.06 * np.sin(along * rng.uniform(2.0, 7.0))) * width  # fmt: skip
        y = along * height * rng.uniform(0.5, 1.2)
        tubes = _Tubes(picture.shape, 1.0, 0.0, 0.0)
        tubes.add(y, x, max(0.8, width / 180.0), 1.0, 0.6)
        picture += 38.0 * tubes.layer()

    def _mark(self, grey: _Array, rng: np.random.Generator) -> None:
        """Write the letter for the side, and sometimes a line of tiny print, into the picture."""
        height, width = grey.shape
        if self.has_marker:
            size = self.marker_size * width
            y0 = (self.marker_place[0] + 0.02 * rng.normal()) * height
            x0 = (self.marker_place[1] + 0.01 * rng.normal()) * width
            if self.marker == "L":
                x0 = 0.88 * width
            _letter(grey, self.marker, max(0.0, y0), max(0.0, x0), size)
        if self.text:
            print_height, print_width = 4, int(rng.integers(14, 22))
            marks = rng.random((print_height, print_width)) < 0.55
            marks[:, 3::4] = False
            grey[-print_height - 2 : -2, -print_width - 2 : -2] += 110.0 * marks


# -- small tools ---------------------------------------------------------------------------


class _Tubes:
    """Curved tubes, laid as many small drops; their weakening adds up where they cross."""

    def __init__(
        self, shape: tuple[int, ...] = _SHAPE, scale: float = float(_SCALE),
        top: float = _TOP, left: float = _LEFT,
    ) -> None:  # fmt: skip
        self.shape, self.scale, self.top, self.left = shape, scale, top, left
        self.drops: list[tuple[_Array, _Array, _Array]] = []

    def add(
        self, y: _Array, x: _Array, radius: float | _Array, strength: float, edge: float
    ) -> None:
        """Lay one tube along points (y, x), in units, no further apart than a pixel or two."""
        n = max(8, math.ceil(self.scale * float(np.hypot(np.diff(y), np.diff(x)).sum()) / 0.8))
        old, new = np.linspace(0.0, 1.0, len(y)), np.linspace(0.0, 1.0, n)
        wide = np.interp(new, old, np.broadcast_to(np.asarray(radius, dtype=np.float64), y.shape))
        self.add_all(np.interp(new, old, y)[None], np.interp(new, old, x)[None],
                     np.zeros((1, n)), wide[None], np.full((1, n), strength), edge)  # fmt: skip

    def add_all(
        self, y: _Array, x: _Array, z: _Array, radius: _Array, strength: _Array, edge: float
    ) -> None:
        """Lay many tubes at once: arrays (tubes, points); z is the depth, along the beam.

        Where a tube runs along the beam the beam's way through it is longer. `edge` is the
        share of the weakening that lies in the wall (a rib's cortex).
        """
        dy, dx = np.gradient(y, axis=1), np.gradient(x, axis=1)
        flat = np.hypot(dy, dx)
        deep = np.minimum(np.hypot(flat, np.gradient(z, axis=1)), 2.0 * flat)
        radius = np.maximum(radius, 0.55 / self.scale)
        steps = max(3, math.ceil(2.0 * float(radius.max()) * self.scale / 0.75))
        across = (np.arange(steps) + 0.5) / steps * 2.0 - 1.0
        squared = across * across
        profile = (1.0 - edge) * np.sqrt(1.0 - squared)
        profile = profile + edge * 2.4 * squared * squared * (1.0 - squared * squared)
        norm = np.maximum(flat, 1e-12)
        offset = radius[:, :, None] * across
        ys = y[:, :, None] + offset * (dx / norm)[:, :, None]
        xs = x[:, :, None] - offset * (dy / norm)[:, :, None]
        area = (deep * radius * 2.0 / steps * self.scale * self.scale * strength)[:, :, None]
        values = area * profile
        self.drops.append((ys.ravel(), xs.ravel(), values.ravel()))

    def layer(self) -> _Array:
        """Return all tubes as one image of the canvas' shape."""
        height, width = self.shape
        y = (np.concatenate([drop[0] for drop in self.drops]) - self.top) * self.scale - 0.5
        x = (np.concatenate([drop[1] for drop in self.drops]) - self.left) * self.scale - 0.5
        value = np.concatenate([drop[2] for drop in self.drops])
        inside = (y >= 0.0) & (y < height - 1.0) & (x >= 0.0) & (x < width - 1.0)
        y, x, value = y[inside], x[inside], value[inside]
        row, column = y.astype(np.int64), x.astype(np.int64)
        down, right = y - row, x - column
        place = row * width + column
        places = np.concatenate([place, place + 1, place + width, place + width + 1])
        shares = np.concatenate([value * (1.0 - down) * (1.0 - right), value * (1.0 - down) * right,
                                 value * down * (1.0 - right), value * down * right])  # fmt: skip
        summed = np.bincount(places, shares, minlength=height * width).astype(np.float64)
        return summed.reshape(self.shape)


def noise(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> _Array:
    """Return smooth noise of mean 0 and spread about 1; `cell` is its grain in pixels."""
    height, width = shape
    rows, columns = math.ceil(height / cell) + 4, math.ceil(width / cell) + 4
    grid = rng.standard_normal((rows, columns))
    field: _Array = _weights(height, rows, cell) @ grid @ _weights(width, columns, cell).T
    return field / 0.48


@functools.lru_cache(maxsize=256)
def _weights(size: int, knots: int, cell: float) -> _Array:
    """Return the cubic B-spline's weights of each knot at each pixel, (size, knots)."""
    away = np.abs((np.arange(size) / cell + 1.5)[:, None] - np.arange(knots)[None, :])
    near = np.clip(1.0 - away, 0.0, None)
    far = np.clip(2.0 - away, 0.0, None)
    weights: _Array = (far * far * far - 4.0 * near * near * near) / 6.0
    return weights


def _step(values: _Array) -> _Array:
    """Return a smooth step: 0 below -1, 1 above 1."""
    t = np.clip(0.5 + 0.5 * values, 0.0, 1.0)
    smooth: _Array = t * t * (3.0 - 2.0 * t)
    return smooth


def _dome(values: _Array) -> _Array:
    """Return how thick a rounded body is at a distance from its middle: 1 there, 0 beyond 1."""
    height: _Array = np.sqrt(np.clip(1.0 - values * values, 0.0, 1.0))
    return height


def _capsule(
    y: _Array, x: _Array, x0: float, y0: float, x1: float, y1: float, radius: float
) -> _Array:
    """Return the thickness, 0-1, of a rounded rod between two points."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return _dome(np.hypot(x - x0 - along * dx, y - y0 - along * dy) / radius)


def _enlarge(coarse: _Array) -> _Array:
    """Return the canvas of which `coarse` is every fourth row and column, smooth between."""
    down, right = (_between(size, known) for size, known in zip(_SHAPE, coarse.shape, strict=True))
    fine: _Array = down @ coarse @ right.T
    return fine


@functools.lru_cache(maxsize=4)
def _between(size: int, known: int) -> _Array:
    """Return the weights of linear interpolation from every fourth point, (size, known)."""
    away = np.abs((np.arange(size) / 4.0)[:, None] - np.arange(known)[None, :])
    weights = np.clip(1.0 - away, 0.0, None)
    linear: _Array = weights / weights.sum(axis=1, keepdims=True)
    return linear


_STROKES = {
    "L": ((0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 1.0, 0.6)),
    "R": (
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 0.4),
        (0.5, 0.0, 0.5, 0.4),
        (0.06, 0.53, 0.44, 0.53),
        (0.0, 0.4, 0.06, 0.53),
        (0.5, 0.4, 0.44, 0.53),
        (0.5, 0.3, 1.0, 0.62),
    ),
}
"""Strokes of the letters: from (row, column) to (row, column), in heights of the letter."""


def _letter(grey: _Array, letter: str, y0: float, x0: float, size: float) -> None:
    """Paint an R or an L of `size` pixels' height, its upper left corner at (y0, x0)."""
    top, left = int(y0), int(x0)
    patch = grey[top : top + int(1.4 * size) + 3, left : left + int(size) + 3]
    y = np.arange(patch.shape[0], dtype=np.float64)[:, None] - 1.0
    x = np.arange(patch.shape[1], dtype=np.float64)[None, :] - 1.0
    ink = np.zeros(patch.shape)
    for stroke in _STROKES[letter]:
        ya, xa, yb, xb = (size * end for end in stroke)
        dy, dx = yb - ya, xb - xa
        along = np.clip(((y - ya) * dy + (x - xa) * dx) / (dy * dy + dx * dx), 0.0, 1.0)
        away = np.hypot(y - ya - along * dy, x - xa - along * dx)
        ink = np.maximum(ink, np.clip(0.5 + max(0.5, 0.07 * size) - away, 0.0, 1.0))
    patch += ink * (245.0 - patch)


def _clipped(rng: np.random.Generator) -> float:
    """Return a normal random number without its far tails."""
    return float(np.clip(rng.normal(), -2.0, 2.0))


def _save(picture: NDArray[np.uint8], path: Path, shot: Shot) -> None:
    """Write one picture as JPEG."""
    image = Image.fromarray(picture)
    if shot.colour:
        image = image.convert("RGB")
    image.save(path, quality=shot.quality, subsampling=0)


_STORE = bytes.fromhex("00000001") + b"Bud1" + bytes.fromhex("00001000") + bytes(4096)
"""How a .DS_Store begins: what a Mac's Finder leaves in folders it has shown."""
_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(80)
"""How an AppleDouble file begins: ``._name`` holds what an archive could not carry of a file."""


def _write_damaged(folder: Path, children: list[Child]) -> None:
    """Write four files of train that cannot be read; their names are of children of their own."""
    rng = np.random.default_rng(np.random.SeedSequence(len(children), spawn_key=(3,)))
    noisy = np.clip(110.0 + 40.0 * rng.standard_normal((150, 210)), 0.0, 255.0).astype(np.uint8)
    with io.BytesIO() as buffer:
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        whole = buffer.getvalue()
    train = folder / "train"
    (train / "PNEUMONIA" / "person1990_bacteria_4990.jpeg").write_bytes(whole[: len(whole) // 3])
    (train / "PNEUMONIA" / "person1991_virus_2991.jpeg").write_bytes(b"")
    (train / "NORMAL" / "IM-0790-0001.jpeg").write_bytes(whole[:300])
    (train / "NORMAL" / "NORMAL2-IM-1425-0001.jpeg").write_bytes(
        b"404 Not Found: this is not a picture.\n"
    )


def _write_stray(folder: Path, children: list[Child]) -> None:
    """Write what a Mac adds to folders and archives, and what is no image of this set."""
    for place in (folder, folder / "train", folder / "val" / "PNEUMONIA",
                  folder / "test" / "NORMAL"):  # fmt: skip
        (place / ".DS_Store").write_bytes(_STORE)
    first = next(child for child in children if child.part == "train").shots[0].name
    (folder / "train" / "PNEUMONIA" / f"._{first}").write_bytes(_DOUBLE)
    (folder / "train" / "NORMAL" / "Thumbs.db").write_bytes(
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
    )
