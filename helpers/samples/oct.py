"""Draws a synthetic twin of the retinal OCT scans: CNV, DME, drusen and normal eyes.

The twin has the layout and the defects of release v2 (``OCT2017``): most test images show
patients who are also in ``train``, ``val`` holds eight images a class, a few test images
are pixel-identical under different patient numbers, some patients stand under two labels,
classes are as unbalanced as in reality, and an image's size tells its class: nearly every
square one is DME. Real scans are 384-1536 pixels wide and 496-512 high; ours a quarter.

How a scan is drawn: one eye has layers of known thickness and brightness, a foveal pit,
vessels, a choroid, and lesions that are bodies in space, so that neighbouring scans of one
eye look alike. A scan cuts through it: the layers are stacked upwards from Bruch's
membrane, lesions push them apart, what absorbs light throws a shadow, speckle multiplies
the picture, and the picture is turned, which leaves white wedges. Depths are in pixels of
15.5 micrometres, places along and across the scan in millimetres.
"""

import io
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from helpers.paths import atomic_folder

VERSION: int = 1
"""Grows whenever a change here changes a pixel or a file name."""

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
PARTS = ("train", "val", "test")
LABEL_NOISE = 0.02
"""Share of the training images that lie in the wrong class folder."""

TOP = "OCT2017"
"""The archive's one folder, which holds the parts."""

_Array = NDArray[np.float64]
_Picture = NDArray[np.uint8]

# Of 83,484 training images: 37 thousand CNV, 11 DME, 8 DRUSEN, 26 NORMAL.
_IMAGES = {"CNV": 37.0, "DME": 11.0, "DRUSEN": 8.0, "NORMAL": 26.0}
# Patients are less unbalanced: CNV patients have long series of scans.
_PATIENTS = {"CNV": 0.25, "DME": 0.20, "DRUSEN": 0.18, "NORMAL": 0.37}
# Widths and heights in pixels, a quarter of the real ones, and how often a patient of each
# class was scanned so. The millimetres that a scan spans follow from the protocol.
_SIZES = ((128, 128), (128, 124), (192, 124), (256, 124), (384, 124))
_SPANS = {128: 5.8, 192: 8.8, 256: 5.8, 384: 8.8}
_PROTOCOLS = {
    "CNV": (0.00, 0.42, 0.22, 0.24, 0.12),
    "DME": (0.72, 0.14, 0.09, 0.02, 0.03),
    "DRUSEN": (0.00, 0.70, 0.22, 0.04, 0.04),
    "NORMAL": (0.01, 0.47, 0.22, 0.22, 0.08),
}
_TEST_PROTOCOL = (256, 124)  # most test images are 1024 wide in reality
# Which two labels one patient carries, in the order of how often that is seen.
_PAIRS = (("CNV", "NORMAL"), ("CNV", "DRUSEN"), ("DME", "NORMAL"), ("CNV", "DME"))
# What a scan in the wrong folder really shows.
_MISTAKEN = {"CNV": "DRUSEN", "DME": "NORMAL", "DRUSEN": "NORMAL", "NORMAL": "DRUSEN"}


def draw(
    folder: Path, seed: int = 0, patients: int = 150, train: int = 768, test: int = 24, val: int = 8
) -> None:
    """Draw the sample into `folder`, in the layout of the real archive's release v2.

    `folder` gets `OCT2017/{train,val,test}/{CNV,DME,DRUSEN,NORMAL}/<CLASS>-<patient>-<n>.jpeg`
    (grey JPEG), and beside them `.DS_Store`, `._*` and a few damaged files, which come on
    top of the numbers asked for.

    Args:
        folder: must not exist yet, or be empty; appears at once when all is drawn.
        seed: rules every pixel and every name.
        patients: how many people are in `train`, at least 12.
        train: readable images in `train`, at least 4 a patient.
        test: images a class in `test`, at least 3.
        val: images a class in `val`, at least 1.

    Raises:
        ValueError: a number is too small.
        FileExistsError: `folder` has something in it.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more.")
    if patients < 12 or train < 4 * patients or test < 3 or val < 1:
        raise ValueError(
            f"{patients} patients with {train} training images, {test} test and {val} validation "
            "images a class: at least 12 patients, 4 training images for each, 3 test and "
            "1 validation image are needed."
        )
    scans = _plan(seed, patients, train, test, val)
    # Two notebooks that start at once draw the same sample: the first to finish wins.
    with atomic_folder(folder, keep_existing=True) as root:
        for part in PARTS:
            for class_name in CLASSES:
                (root / TOP / part / class_name).mkdir(parents=True)
        for scan in scans:
            _save(draw_scan(scan), root / TOP / scan.part / scan.folder / scan.name)
        _write_damaged(root / TOP, scans)
        _write_strays(root / TOP, scans)


# -- the plan: who was scanned how often, under which label, in which part ------------------


@dataclass(frozen=True)
class Eye:
    """One patient's eye: everything that its scans have in common but the lesions.

    Thicknesses and depths are in pixels, places and distances in millimetres from the
    middle of the scan, brightness in grey levels.
    """

    thickness: float
    """Of the retina, 1 = typical."""
    nerve_fibres: tuple[float, float]
    """Thickness of the nerve fibre layer at the left and at the right end."""
    pit: tuple[float, float]
    """Radius and depth (1 = down to the outer layers) of the foveal pit."""
    fovea: float
    depth: float
    """Where Bruch's membrane lies, as a share of the picture's height."""
    tilt: float
    """Pixels a millimetre."""
    bowl: float
    """Curvature, pixels a square millimetre."""
    wobble: tuple[float, float, float]
    """Amplitude, wave length and phase of a gentle unevenness."""
    choroid: float
    """Thickness of the choroid."""
    choroid_light: float
    reach: float
    """Depth at which the light has faded to a third."""
    vessels: tuple[tuple[float, float, float], ...]
    """Place, half width and transmission of the vessels that throw shadows."""
    levels: tuple[float, ...]
    """Brightness of the layers, 1 = typical."""
    gain: float
    vitreous: float
    """Brightness of what should be black."""
    grain: float
    """Strength of the speckle, 1 = typical; many averaged frames have little."""
    streaks: float
    """Horizontal streaks of the spectrometer."""
    focus: float
    """Width of a sharp edge, pixels."""
    side: int
    """Side of the optic disc: -1 left, 1 right."""
    disc: float
    """Distance of the disc's margin from the middle; beyond the scan for most eyes."""
    hyaloid: float
    """Height of the detached vitreous face above the retina; 0 for none."""
    membrane: float
    """Thickness of an epiretinal membrane; 0 for none."""
    vignette: float
    """How much darker the ends of the scan are."""
    texture: int
    """Seed of the choroid's own pattern."""


@dataclass(frozen=True)
class Lesion:
    """A body in or under the retina.

    `kind` is "drusen", "detachment" (of the pigment epithelium), "material" (neovascular
    tissue above it), "fluid" (under the retina), "swelling", "cyst", "exudate" or "loss"
    (of the pigment epithelium).
    """

    kind: str
    x: float
    """Place along the scan."""
    y: float
    """Place across the scans."""
    radius: float
    height: float
    """In pixels; of a cyst its half height, of a loss the light that passes."""
    level: float
    """Brightness of what fills it; of a cyst or exudate its place in the retina, 0-1."""
    slope: float = 1.0
    """Exponent of the dome: below 1 steep, above 1 gentle."""


@dataclass(frozen=True)
class Scan:
    """One picture to be drawn: its file, what it truly shows, and its own random stream."""

    part: str
    folder: str
    name: str
    shown: str
    eye: Eye
    lesions: tuple[Lesion, ...]
    offset: float
    """Distance of the scan from the fovea's centre, millimetres."""
    size: tuple[int, int]
    """Width and height, pixels."""
    stream: np.random.SeedSequence


@dataclass
class _Person:
    """A patient while the plan is made."""

    number: int
    key: int
    eye: Eye
    lesions: dict[str, tuple[Lesion, ...]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    taken: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


def _plan(seed: int, patients: int, train: int, test: int, val: int) -> list[Scan]:
    """Return all scans to draw; those that copy another share its random stream."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    strangers = max(1, round(0.085 * test))
    numbers = _patient_numbers(rng, patients + 4 * strangers)
    people = [_person(seed, key, number) for key, number in enumerate(numbers)]
    known = _deal_classes(rng, people[:patients])
    scans: list[Scan] = []
    for class_name, images in _share(train, _IMAGES).items():
        own = known[class_name]
        for person, count in zip(own, _series(rng, len(own), images), strict=True):
            for _ in range(count):
                shown = class_name
                if rng.random() < LABEL_NOISE:
                    shown = _MISTAKEN[class_name]
                scans.append(_scan(seed, rng, person, "train", class_name, shown))
    for class_name in CLASSES:
        own = known[class_name]
        for place in rng.integers(0, len(own), val):
            scans.append(_scan(seed, rng, own[place], "val", class_name, class_name))
    spare = iter(people[patients:])
    for number, class_name in enumerate(CLASSES):
        own = known[class_name]
        order = [int(place) for place in rng.permutation(len(own))]
        seen = [own[order[place % len(own)]] for place in range(test - strangers)]
        tested = [_scan(seed, rng, person, "test", class_name, class_name) for person in seen]
        for place in range(strangers):
            person = next(spare)
            scan = _scan(seed, rng, person, "test", class_name, class_name)
            if place == 0 and number < 3:  # the same picture under a second patient number
                twin = tested[number % len(tested)]
                scan = replace(twin, name=scan.name)
            tested.append(scan)
        scans += tested
    return scans


def _patient_numbers(rng: np.random.Generator, count: int) -> list[int]:
    """Return different patient numbers of four to seven digits, as the archive has them."""
    found: dict[int, None] = {}
    while len(found) < count:
        digits = int(rng.choice([4, 5, 6, 7], p=[0.03, 0.07, 0.30, 0.60]))
        found[int(rng.integers(10 ** (digits - 1), 10**digits))] = None
    return list(found)


def _deal_classes(rng: np.random.Generator, people: list[_Person]) -> dict[str, list[_Person]]:
    """Return the patients of each class; some stand under two."""
    counts = _share(len(people), _PATIENTS)
    rest = iter(people)
    known = {class_name: [next(rest) for _ in range(counts[class_name])] for class_name in CLASSES}
    for place in range(max(1, round(0.05 * len(people)))):
        first, second = _PAIRS[place % len(_PAIRS)]
        chosen = [person for person in known[first] if person not in known[second]]
        known[second].append(chosen[int(rng.integers(len(chosen)))])
    return known


def _share(total: int, parts: dict[str, float]) -> dict[str, int]:
    """Return whole numbers in the proportion of `parts` that sum to `total`."""
    whole = sum(parts.values())
    edges = np.rint(np.cumsum([0.0, *parts.values()]) / whole * total).astype(int)
    return dict(zip(parts, np.diff(edges).tolist(), strict=True))


def _series(rng: np.random.Generator, people: int, images: int) -> list[int]:
    """Return how many images each patient gets: few for most, many for some, at least one."""
    weights = np.exp(rng.normal(0.0, 0.75, people))
    counts = np.maximum(1, np.floor(weights / weights.sum() * images)).astype(int)
    order = np.argsort(-weights, kind="stable")
    place = 0
    while counts.sum() != images:
        step = 1 if counts.sum() < images else -1
        if counts[order[place % people]] + step >= 1:
            counts[order[place % people]] += step
        place += 1
    return counts.tolist()


def _person(seed: int, key: int, number: int) -> _Person:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, key)))
    return _Person(number, key, _eye(rng))


def _scan(
    seed: int, rng: np.random.Generator, person: _Person, part: str, class_name: str, shown: str
) -> Scan:
    """Return the next scan of a patient; chooses a slice that shows what it is labelled."""
    if shown not in person.lesions:
        stream = np.random.SeedSequence(seed, spawn_key=(2, person.key, CLASSES.index(shown)))
        person.lesions[shown] = _lesions(np.random.default_rng(stream), shown)
    if class_name not in person.sizes:
        place = int(rng.choice(len(_SIZES), p=_PROTOCOLS[class_name]))
        person.sizes[class_name] = _SIZES[place]
    size = person.sizes[class_name]
    if part == "test" and rng.random() < 0.7:
        size = _TEST_PROTOCOL
    taken = person.taken[class_name]
    running = max(taken, default=0) + (1 if rng.random() < 0.75 else int(rng.integers(2, 9)))
    taken.add(running)
    offsets = np.clip(rng.normal(0.0, 0.55, 6), -1.4, 1.4)
    lesions = person.lesions[shown]
    shows = [sum(_chord(lesion, float(offset)) * lesion.height for lesion in lesions)
             for offset in offsets]  # fmt: skip
    enough = 0.55 * max(shows)
    offset = next(o for o, much in zip(offsets, shows, strict=True) if much >= enough)
    stream = np.random.SeedSequence(
        seed, spawn_key=(3, person.key, CLASSES.index(class_name), running)
    )
    name = f"{class_name}-{person.number}-{running}.jpeg"
    return Scan(part, class_name, name, shown, person.eye, lesions, float(offset), size, stream)


# -- an eye and what ails it ----------------------------------------------------------------


def _eye(rng: np.random.Generator) -> Eye:
    """Return the healthy anatomy of an eye and the manner in which it was scanned."""
    side = -1 if rng.random() < 0.5 else 1
    thin, thick = rng.uniform(0.5, 1.3), rng.uniform(1.8, 3.6)
    vessels = tuple(
        (float(rng.uniform(-4.4, 4.4)), float(rng.uniform(0.03, 0.09)),
         float(rng.uniform(0.55, 0.92)))
        for _ in range(int(rng.integers(0, 9)))
    )  # fmt: skip
    curved = rng.random()
    return Eye(
        thickness=float(np.clip(1.0 + 0.09 * rng.normal(), 0.8, 1.2)),
        nerve_fibres=(float(thick), float(thin)) if side < 0 else (float(thin), float(thick)),
        pit=(float(rng.uniform(0.40, 0.75)), float(rng.uniform(0.65, 1.0))),
        fovea=float(np.clip(0.35 * rng.normal(), -1.0, 1.0)),
        depth=float(rng.uniform(0.33, 0.60)),
        tilt=float(np.clip(1.7 * rng.normal(), -4.5, 4.5)),
        bowl=float(rng.uniform(-0.15, 0.5) if curved < 0.6 else rng.uniform(0.5, 1.7)),
        wobble=(float(rng.uniform(0.0, 1.0)), float(rng.uniform(2.0, 6.0)),
                float(rng.uniform(0.0, 6.3))),
        choroid=float(rng.uniform(9.0, 24.0)),
        choroid_light=float(1.12 * np.exp(0.27 * _clipped(rng))),
        reach=float(rng.uniform(13.0, 32.0)),
        vessels=vessels,
        levels=tuple(float(level) for level in np.exp(0.07 * np.clip(rng.normal(size=11), -2, 2))),
        gain=float(1.14 * np.exp(0.12 * _clipped(rng))),
        vitreous=float(np.clip(22.5 * np.exp(0.30 * rng.normal()), 9.0, 44.0)),
        grain=float(np.exp(0.22 * _clipped(rng))),
        streaks=float(rng.uniform(0.0, 0.09)),
        focus=float(rng.uniform(0.95, 1.6)),
        side=side,
        disc=float(rng.uniform(2.45, 4.6) if rng.random() < 0.28 else 9.0),
        hyaloid=float(rng.uniform(4.0, 22.0) if rng.random() < 0.16 else 0.0),
        membrane=float(rng.uniform(0.4, 1.2) if rng.random() < 0.12 else 0.0),
        vignette=float(rng.uniform(0.0, 0.45)),
        texture=int(rng.integers(2**31)),
    )  # fmt: skip


def _lesions(rng: np.random.Generator, shown: str) -> tuple[Lesion, ...]:
    """Return what ails an eye of a class; mild cases are like those of another class."""
    severity = 0.13 + 0.87 * float(rng.beta(1.7, 1.3))
    if shown == "CNV":
        return tuple(_neovascular(rng, severity))
    if shown == "DME":
        return tuple(_oedema(rng, severity))
    if shown == "DRUSEN":
        return tuple(_drusen(rng, int(3 + 9 * severity + rng.integers(0, 3)), 0.45 + severity))
    few: list[Lesion] = []
    if rng.random() < 0.12:  # a small druse or two is still called normal
        few += _drusen(rng, int(rng.integers(1, 3)), 0.0)
    if rng.random() < 0.05:
        few.append(Lesion("cyst", 0.1 * rng.normal(), 0.0, 0.12, 0.9, 0.55))
    return tuple(few)


def _drusen(rng: np.random.Generator, count: int, strength: float) -> list[Lesion]:
    """Return deposits between pigment epithelium and Bruch's membrane, in a loose cluster."""
    middle, spread = 0.5 * rng.normal(), rng.uniform(0.5, 1.3)
    soft = rng.random() < 0.65  # soft and wide, or small and hard
    found = []
    for _ in range(count):
        radius = rng.uniform(0.18, 0.45) if soft else rng.uniform(0.10, 0.22)
        height = (2.1 + 2.3 * strength) * rng.uniform(0.5, 1.6) * (1.0 if soft else 0.85)
        found.append(Lesion("drusen", middle + spread * _clipped(rng), 0.45 * _clipped(rng),
                            float(radius), float(height), float(rng.uniform(75.0, 115.0)),
                            float(rng.uniform(0.9, 1.8))))  # fmt: skip
    return found


def _neovascular(rng: np.random.Generator, severity: float) -> list[Lesion]:
    """Return a neovascular membrane, the detachment over it, fluid, and what it destroys."""
    x, y = 0.45 * _clipped(rng), 0.2 * _clipped(rng)
    found: list[Lesion] = []
    form = rng.random()
    if form < 0.42 or severity > 0.9:  # detachment of the pigment epithelium
        serous = rng.random() < 0.3
        found.append(Lesion("detachment", x, y, rng.uniform(0.4, 0.7) + 0.9 * severity,
                            rng.uniform(2.5, 5.0) + 14.0 * severity * rng.uniform(0.3, 1.0),
                            rng.uniform(28.0, 45.0) if serous else rng.uniform(70.0, 130.0),
                            rng.uniform(0.5, 1.2)))  # fmt: skip
    if form > 0.30:  # membrane and scar above the pigment epithelium
        radius = rng.uniform(0.35, 0.7) + 0.6 * severity
        found.append(Lesion("material", x + 0.2 * _clipped(rng), y, radius,
                            rng.uniform(1.6, 3.2) + 5.5 * severity, rng.uniform(95.0, 150.0),
                            rng.uniform(0.6, 1.3)))  # fmt: skip
    if form > 0.30 or rng.random() < 0.4:
        found.append(Lesion("loss", x, y, rng.uniform(0.5, 1.0) + 0.9 * severity,
                            rng.uniform(1.0, 1.6) + 1.0 * severity, 0.0, 0.6))  # fmt: skip
    if rng.random() < 0.62:
        found.append(Lesion("fluid", x + 0.9 * _clipped(rng), y, rng.uniform(0.5, 1.3),
                            rng.uniform(1.2, 3.0) + 6.0 * severity * rng.uniform(0.2, 1.0),
                            rng.uniform(16.0, 30.0), rng.uniform(0.7, 1.2)))  # fmt: skip
    if rng.random() < 0.35 + 0.3 * severity:
        found.append(Lesion("swelling", x, y, rng.uniform(0.8, 1.4), 1.0 + 6.0 * severity, 0.0))
        found += _cysts(rng, int(rng.integers(1, 6)), x, 0.5, 0.9)
    if rng.random() < 0.55:
        found += _drusen(rng, int(rng.integers(1, 6)), 0.5)
    return found


def _oedema(rng: np.random.Generator, severity: float) -> list[Lesion]:
    """Return a thickened retina with cysts, hard exudates, at times fluid under it."""
    central = rng.random() < 0.6
    x = 0.15 * _clipped(rng) if central else float(rng.choice([-1, 1])) * rng.uniform(0.6, 1.6)
    found = [Lesion("swelling", x, 0.2 * _clipped(rng), rng.uniform(0.7, 1.7),
                    2.0 + 14.0 * severity * rng.uniform(0.5, 1.1), 0.0)]  # fmt: skip
    found += _cysts(rng, int(4 + 24 * severity + rng.integers(0, 4)), x, 0.45 + 0.6 * severity,
                    0.75 + 0.8 * severity)  # fmt: skip
    if rng.random() < 0.3 * severity + 0.05:
        found.append(Lesion("fluid", x, 0.0, rng.uniform(0.5, 0.9), 1.5 + 4.0 * severity,
                            rng.uniform(18.0, 32.0), 1.2))  # fmt: skip
    for _ in range(int(rng.integers(0, 9))):
        found.append(Lesion("exudate", x + 0.9 * rng.normal(), 0.5 * _clipped(rng),
                            rng.uniform(0.05, 0.13), rng.uniform(0.5, 1.0),
                            rng.uniform(0.3, 0.75)))  # fmt: skip
    return found


def _cysts(
    rng: np.random.Generator, count: int, x: float, spread: float, size: float
) -> list[Lesion]:
    found = []
    for _ in range(count):
        outer = rng.random() < 0.55  # in the outer nuclear layer they stand upright
        radius = size * rng.uniform(0.05, 0.20) * (1.0 if outer else 1.15)
        height = size * (rng.uniform(1.2, 4.4) if outer else rng.uniform(0.8, 2.4))
        found.append(Lesion("cyst", x + spread * _clipped(rng), 0.4 * spread * _clipped(rng),
                            float(radius), float(height),
                            float(rng.uniform(0.48, 0.72) if outer else rng.uniform(0.28, 0.48)),
                            float(rng.uniform(0.1, 0.5))))  # fmt: skip
    return found


def _chord(lesion: Lesion, offset: float) -> float:
    """Return how much of a lesion a scan cuts: 1 through its middle, 0 beside it."""
    # Cysts and exudates reach across several scans, else they would hardly ever be met.
    reach = lesion.radius + (0.35 if lesion.kind in ("cyst", "exudate", "drusen") else 0.0)
    return math.sqrt(max(0.0, 1.0 - ((offset - lesion.y) / reach) ** 2))


# -- one scan -------------------------------------------------------------------------------


def draw_scan(scan: Scan) -> _Picture:
    """Return one scan: uint8 (height, width), grey, white where it was turned away."""
    rng = np.random.default_rng(scan.stream)
    canvas = _Canvas(rng, scan)
    canvas.stack()
    canvas.choroid()
    canvas.holes()
    canvas.shadows()
    canvas.disc()
    canvas.vitreous()
    return canvas.photograph()


# The layers from Bruch's membrane upwards: name, thickness in pixels, brightness. Those of
# thickness 0 are made by lesions.
_LAYERS = (
    ("deposit", 0.0, 90.0),
    ("pigment epithelium", 1.65, 205.0),
    ("material", 0.0, 125.0),
    ("fluid", 0.0, 24.0),
    ("outer segments", 1.25, 108.0),
    ("ellipsoid zone", 0.95, 190.0),
    ("myoid", 1.15, 66.0),
    ("external limiting membrane", 0.6, 88.0),
    ("outer nuclear", 4.7, 49.0),
    ("outer plexiform", 1.7, 82.0),
    ("inner nuclear", 2.4, 58.0),
    ("inner plexiform", 2.5, 93.0),
    ("ganglion cells", 2.5, 77.0),
    ("nerve fibres", 1.0, 132.0),
    ("membrane", 0.0, 150.0),
)


class _Canvas:
    """A picture of one scan in the making, in grey levels."""

    def __init__(self, rng: np.random.Generator, scan: Scan) -> None:
        self.rng, self.scan, self.eye = rng, scan, scan.eye
        self.width, self.height = scan.size
        span = _SPANS[self.width]
        self.scale = self.width / span  # pixels a millimetre, along
        self.x = np.linspace(-0.5 * span, 0.5 * span, self.width) + 0.12 * _clipped(rng)
        self.y = np.arange(self.height, dtype=np.float64)[:, None]
        self.picture = np.full((self.height, self.width), 0.0)
        self.light = np.ones(self.width)  # what reaches the choroid
        self.bruch = self._ground()
        self.top = self.bruch

    def _ground(self) -> _Array:
        """Return the depth of Bruch's membrane in each column."""
        rng, eye, x = self.rng, self.eye, self.x
        high, length, phase = eye.wobble
        level = self.height * eye.depth + 4.0 * _clipped(rng)
        tilt = eye.tilt + 0.6 * _clipped(rng)
        line = level + tilt * x - eye.bowl * (x + 0.3 * _clipped(rng)) ** 2
        line = line + high * np.sin(2.0 * math.pi * (x + 0.5 * self.scan.offset) / length + phase)
        # What matters must stay in the picture.
        middle = float(np.median(line))
        return line + np.clip(middle, 36.0, 0.68 * self.height) - middle

    def _dome(self, kind: str) -> tuple[_Array, _Array]:
        """Return height in pixels, and brightness, of all lesions of a kind along the scan."""
        height, level = np.zeros(self.width), np.zeros(self.width)
        for lesion in self.scan.lesions:
            cut = _chord(lesion, self.scan.offset) if lesion.kind == kind else 0.0
            if cut > 0.0:
                away = (self.x - lesion.x) / (lesion.radius * cut)
                own = lesion.height * cut * np.clip(1.0 - away**2, 0.0, None) ** lesion.slope
                level = np.where(own > height, lesion.level, level)
                height = np.maximum(height, own)
        return height, level

    def stack(self) -> None:
        """Paint the layers of the retina, pushed apart by lesions."""
        eye, rng = self.eye, self.rng
        thick = {name: np.full(self.width, size * eye.thickness) for name, size, _ in _LAYERS}
        light = {name: np.full(self.width, level) for name, _, level in _LAYERS}
        for name, factor in zip([n for n, size, _ in _LAYERS if size], eye.levels, strict=True):
            light[name] *= factor
        self._shape_fovea(thick)
        self._push_apart(thick, light)
        edge = self.bruch
        boundaries, levels = [edge], [np.zeros(self.width)]
        for name, _, _ in _LAYERS:
            edge = edge - thick[name]
            boundaries.append(edge)
            levels.append(light[name])
        self.top = edge
        levels.append(np.zeros(self.width))
        # Membranes have no clean edges, and are mottled.
        foul = np.clip(thick["material"] / 3.0 + 0.25 * light["deposit"] / 90.0
                       * np.clip(thick["deposit"] / 6.0, 0.0, 1.0), 0.0, 1.0)  # fmt: skip
        sharp = eye.focus * (1.0 + 0.9 * foul)
        for line, below, above in zip(boundaries, levels[:-1], levels[1:], strict=True):
            self.picture += (below - above) * np.clip((self.y - line) / sharp + 0.5, 0.0, 1.0)
        # Layers are not even: fine grain that lies along them.
        along = _smooth(rng, self.picture.shape, (0.7, 2.0))
        self.picture *= np.clip(1.0 + (0.09 + 0.11 * foul) * along, 0.2, None)

    def _shape_fovea(self, thick: dict[str, _Array]) -> None:
        """Let the inner layers thin out towards the pit and swell on its rim."""
        eye = self.eye
        away = np.hypot(self.x - eye.fovea, self.scan.offset)
        radius, depth = eye.pit
        hollow = depth * np.exp(-((away / radius) ** 2))
        rim = np.exp(-(((away - 1.15) / 0.75) ** 2))
        for name in ("ganglion cells", "inner plexiform", "inner nuclear"):
            thick[name] *= (1.0 - hollow) * (0.82 + 0.42 * rim)
        left, right = eye.nerve_fibres
        share = np.clip((self.x + 4.4) / 8.8, 0.0, 1.0)
        thick["nerve fibres"] = (left + (right - left) * share) * (1.0 - 0.97 * hollow)
        thick["outer plexiform"] *= 1.0 - 0.55 * hollow
        thick["outer nuclear"] *= 1.0 + 0.45 * hollow
        thick["outer segments"] *= 1.0 + 0.6 * hollow
        if eye.membrane:
            wrinkled = 1.0 + 0.5 * _smooth(self.rng, (self.width,), (0.2 * self.scale,))
            thick["membrane"] = np.clip(eye.membrane * wrinkled, 0.0, None)
            thick["ganglion cells"] *= 1.0 + 0.12 * wrinkled

    def _push_apart(self, thick: dict[str, _Array], light: dict[str, _Array]) -> None:
        """Put the lesions between the layers, and damage the layers they touch."""
        rng, width = self.rng, self.width
        drusen, druse_light = self._dome("drusen")
        raised, raised_light = self._dome("detachment")
        material, material_light = self._dome("material")
        fluid, fluid_light = self._dome("fluid")
        swelling, _ = self._dome("swelling")
        loss, _ = self._dome("loss")
        # Fibrovascular tissue is layered and streaky, and its surface is uneven.
        uneven = 1.0 + 0.09 * _smooth(rng, (width,), (0.11 * self.scale,))
        raised = raised * uneven
        material = material * np.clip(1.0 + 2.5 * (uneven - 1.0), 0.2, 1.8)
        # Where the pigment epithelium is being lost it is rough, and thick and thin by turns.
        rough = loss * np.abs(_smooth(rng, (width,), (0.06 * self.scale,)))
        deposit = np.maximum(drusen, raised) + 0.85 * rough
        thick["pigment epithelium"] = thick["pigment epithelium"] * np.clip(
            1.0 + 0.35 * loss * _smooth(rng, (width,), (0.05 * self.scale,)), 0.3, 2.0
        )
        thick["deposit"] = deposit
        light["deposit"] = np.where(raised > drusen, raised_light, np.maximum(druse_light, 80.0))
        thick["material"], light["material"] = material, material_light
        thick["fluid"], light["fluid"] = fluid, np.where(fluid > 0.0, fluid_light, 24.0)
        # The retina gives way: what lifts it from below thins the outer nuclear layer.
        # Its inner surface stays smooth where the lesion's is not.
        lifted = deposit + material + fluid
        surface = ndimage.gaussian_filter1d(0.72 * lifted, 0.22 * self.scale, mode="nearest")
        room = thick["outer nuclear"] + thick["outer plexiform"] + 0.5 * thick["inner nuclear"]
        change = np.clip(surface - lifted, -0.8 * room, 9.0)
        for name, share in (("outer nuclear", 1.0), ("outer plexiform", 1.0),
                            ("inner nuclear", 0.5)):  # fmt: skip
            thick[name] = thick[name] * (1.0 + share * change / room)
        thick["outer nuclear"] = thick["outer nuclear"] + 0.6 * swelling
        thick["inner nuclear"] = thick["inner nuclear"] + 0.25 * swelling
        thick["outer plexiform"] = thick["outer plexiform"] + 0.15 * swelling
        # Photoreceptors over drusen, fluid and membranes lose their bright bands.
        hurt = np.clip(0.22 * drusen + 0.05 * raised + 0.5 * material + 0.5 * loss, 0.0, 0.92)
        for name in ("outer segments", "ellipsoid zone"):
            light[name] = light[name] * (1.0 - hurt) + 70.0 * hurt
            thick[name] = thick[name] * (1.0 - 0.7 * hurt)
        torn = np.clip(0.45 * loss, 0.0, 0.8)
        torn = torn * (0.6 + 0.4 * np.clip(_smooth(rng, (width,), (0.04 * self.scale,)), -1, 1))
        light["pigment epithelium"] = light["pigment epithelium"] * (1.0 - torn)
        light["outer nuclear"] = light["outer nuclear"] + 10.0 * np.clip(swelling / 8.0, 0.0, 1.0)
        self.light = self.light * (1.0 + 0.5 * loss) * np.exp(-0.04 * material - 0.03 * raised)
        self.light = self.light * np.exp(-0.02 * swelling)

    def choroid(self) -> None:
        """Paint what lies under Bruch's membrane: vessels in bright tissue, then the sclera."""
        eye, shape = self.eye, self.picture.shape
        below = self.y - self.bruch
        own = np.random.default_rng([eye.texture, round(4.0 * (self.scan.offset + 2.0))])
        depth = np.clip(below / eye.choroid, 0.0, 1.6)
        size = (1.5, 0.085 * self.scale)
        lumps = _smooth(own, shape, size)
        fine = _smooth(self.rng, shape, (0.9, 1.2))
        vessels = np.clip(0.8 * lumps + 0.3 * fine, 0.0, 1.4) * np.clip(3.0 * depth - 0.3, 0, 1)
        inside = np.clip((eye.choroid - below) / 3.5 + 0.5, 0.0, 1.0)
        tissue = 62.0 * eye.choroid_light * (1.0 - 0.42 * vessels * inside)
        tissue = tissue + 44.0 * np.exp(-np.clip(below, 0.0, None) / 3.0)
        tissue = tissue * (0.62 + 0.38 * inside) * np.exp(-np.clip(below, 0.0, None) / eye.reach)
        # Light streams in stripes through what the membrane has destroyed.
        stripes = 1.0 + 0.28 * np.clip(self.light - 1.0, 0.0, 1.0) * _smooth(
            self.rng, (self.width,), (0.8,)
        )
        shown = np.clip(below / eye.focus + 0.5, 0.0, 1.0)
        self.picture += shown * tissue * self.light * stripes

    def holes(self) -> None:
        """Cut cysts into the retina and put exudates on it."""
        thickness = self.bruch - self.top
        for lesion in self.scan.lesions:
            if lesion.kind not in ("cyst", "exudate"):
                continue
            cut = _chord(lesion, self.scan.offset)
            column = int(np.searchsorted(self.x, lesion.x))
            if cut < 0.3 or not 3 <= column < self.width - 3:
                continue
            wide = max(0.9, lesion.radius * cut * self.scale)
            room = 0.42 * thickness[column] * min(lesion.level, 1.0 - lesion.level) * 2.0
            high = max(0.7, min(lesion.height * (cut if lesion.kind == "cyst" else 1.0), room))
            row = self.top[column] + lesion.level * thickness[column]
            slant = (self.bruch[column + 2] - self.bruch[column - 2]) / 4.0
            reach = math.ceil(wide + 2.0)
            first, last = max(0, column - reach), min(self.width, column + reach + 1)
            across = (np.arange(first, last) - column)[None, :]
            along = self.y - row - slant * across
            away = np.hypot(across / wide, along / high)
            inside = np.clip((1.0 - away) * min(wide, high) / self.eye.focus + 0.5, 0.0, 1.0)
            window = self.picture[:, first:last]
            if lesion.kind == "cyst":
                window += inside * ((16.0 + 16.0 * lesion.slope) - window) * 0.95
            else:
                window += inside * np.clip(190.0 - window, 0.0, None) * 0.8
                shade = 1.0 - 0.45 * inside.max(axis=0) * np.clip((along - high) / 2.0, 0.0, 1.0)
                window *= shade

    def shadows(self) -> None:
        """Let vessels darken what lies below them, and the beam fade at the scan's ends."""
        eye = self.eye
        depth = self.y - (0.75 * self.top + 0.25 * self.bruch)
        below = np.clip(depth / 4.0, 0.0, 1.0)
        for place, half, passes in eye.vessels:
            at = place + 0.5 * self.scan.offset * (1.0 if place > 0 else -1.0)
            near = np.exp(-(((self.x - at) / half) ** 2))
            if near.max() > 0.05:
                self.picture *= 1.0 - (1.0 - passes) * near * below
                spot = np.exp(-(((self.y - self.top - 2.2) / 1.5) ** 2)) * near
                self.picture += 45.0 * spot * (1.0 - passes)
        even = 1.0 + 0.10 * _smooth(self.rng, (self.width,), (0.9 * self.scale,))
        ends = 1.0 - eye.vignette * (np.abs(self.x) / 4.4) ** 4
        columns = 1.0 + 0.035 * self.rng.standard_normal(self.width)
        self.picture *= np.clip(even * ends, 0.25, 1.3) * eye.gain * columns

    def disc(self) -> None:
        """Where the scan reaches the optic disc, let the layers end and the tissue sink."""
        eye = self.eye
        inward = eye.side * self.x - eye.disc  # positive inside the disc
        if inward.max() <= 0.0:
            return
        ended = np.clip(inward / 0.25, 0.0, 1.0)
        sunk = self.top + 13.0 * np.clip(inward - 0.2, 0.0, 1.2) ** 1.5 - 1.5 * ended
        below = self.y - sunk
        nerve = 120.0 * np.exp(-np.clip(below, 0.0, None) / 16.0)
        nerve *= np.clip(below / 1.6 + 0.5, 0.0, 1.0) * eye.gain
        nerve *= 1.0 + 0.25 * _smooth(self.rng, self.picture.shape, (3.0, 1.2))
        self.picture = self.picture * (1.0 - ended) + nerve * ended

    def vitreous(self) -> None:
        """Lift the black by the scanner's own level, and add the vitreous face if it shows."""
        eye = self.eye
        if eye.hyaloid:
            bend = 0.8 * (self.x - eye.fovea) ** 2
            line = self.top.min() - eye.hyaloid + 0.25 * (self.top - self.top.min()) + bend
            line = np.minimum(line, self.top - 0.8)
            face = np.exp(-(((self.y - line) / 0.75) ** 2))
            self.picture += 34.0 * face * np.clip(0.7 + 0.5 * _smooth(
                self.rng, (self.width,), (0.5 * self.scale,)), 0.0, 1.5)  # fmt: skip
        # Brightest in the middle of the depth range; where there is signal it is lost in it.
        down = np.clip((self.y - self.bruch) / 45.0, 0.0, 1.0)
        floor = (
            eye.vitreous * (1.0 - 0.30 * np.abs(self.y / self.height - 0.3)) * (1.0 - 0.4 * down)
        )
        self.picture = np.hypot(self.picture, floor)

    def photograph(self) -> _Picture:
        """Return the scan with speckle, streaks and the white wedges of a turned picture."""
        rng, eye, shape = self.rng, self.eye, self.picture.shape
        speckle = rng.standard_normal(shape)
        # Speckle has a shape: neighbours are alike, along the depth a little more.
        for axis, share in ((0, 0.16), (1, 0.13)):
            speckle = speckle + share * (np.roll(speckle, 1, axis) + np.roll(speckle, -1, axis))
        speckle = speckle - 0.06 * speckle**2  # dark specks are darker than bright ones bright
        strength = 0.045 + 0.19 * eye.vitreous / np.maximum(self.picture, eye.vitreous)
        noisy = self.picture * (1.0 + eye.grain * strength * speckle)
        noisy *= 1.0 + eye.streaks * rng.standard_normal((self.height, 1))
        noisy = np.clip(noisy, 0.0, 250.0)
        if rng.random() < 0.55:
            noisy = self._turn(noisy)
        return np.rint(noisy).astype(np.uint8)

    def _turn(self, picture: _Array) -> _Array:
        """Return the picture turned and shifted; what was outside of it is white."""
        rng = self.rng
        wild = 2.6 if rng.random() < 0.4 else 0.6
        angle = math.radians(float(np.clip(wild * 2.4 * rng.normal(), -14.0, 14.0)))
        angle *= min(1.0, 160.0 / self.width)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        middle = np.array([(side - 1) / 2.0 for side in picture.shape])
        shift = np.array([wild * 6.0 * rng.normal(), 0.8 * rng.normal()])
        # The retina must stay in the picture.
        shift[0] = np.clip(shift[0], -34.0, max(0.0, 0.4 * float(np.median(self.top))))
        start = middle - turn @ middle + shift
        turned = ndimage.affine_transform(picture, turn, start, order=1, cval=255.0)
        return np.clip(turned, 0.0, 255.0)


def _clipped(rng: np.random.Generator) -> float:
    """Return a normal number kept within two standard deviations."""
    return float(np.clip(rng.normal(), -2.0, 2.0))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, ...]) -> _Array:
    """Return smooth noise of standard deviation 1: white noise blurred by `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    # The blur's known effect on white noise is undone, not the measured one: a field that
    # happens to be flat stays flat.
    factor = math.prod(math.sqrt(2.0 * math.sqrt(math.pi) * max(one, 0.3)) for one in sigma)
    return np.asarray(noise * factor, dtype=np.float64)


# -- files ----------------------------------------------------------------------------------


def _save(picture: _Picture, path: Path) -> None:
    """Write a grey JPEG of high quality: the array itself is what a seed decides."""
    Image.fromarray(picture).save(path, format="JPEG", quality=92)


def _write_damaged(root: Path, scans: list[Scan]) -> None:
    """Write files that cannot be read as pictures, under names as good as any."""
    train = [scan for scan in scans if scan.part == "train"]
    for number, kind in enumerate(("truncated", "empty", "text", "truncated")):
        donors = [scan for scan in train if scan.folder == CLASSES[(3 * number) % 4]]
        donor = donors[number]
        person = donor.name.split("-")[1]
        name = f"{donor.folder}-{person}-{900 + number}.jpeg"
        buffer = io.BytesIO()
        Image.fromarray(draw_scan(donor)).save(buffer, format="JPEG", quality=92)
        whole = buffer.getvalue()
        content = {"truncated": whole[: len(whole) // 2], "empty": b"",
                   "text": b"<html>404 Not Found</html>\n"}[kind]  # fmt: skip
        (root / "train" / donor.folder / name).write_bytes(content)


_STORE = bytes.fromhex("0000000142756431") + bytes(4088)
"""How a .DS_Store begins: the marks of a Macintosh's folder view."""
_DOUBLE = bytes.fromhex("00051607000200004d6163204f532058") + bytes(104)
"""How a ._ file begins: what a Macintosh keeps beside a file on a foreign disk."""


def _write_strays(root: Path, scans: list[Scan]) -> None:
    """Write the Macintosh's files that the real archive carries."""
    for folder in (root, *(root / part for part in PARTS)):
        (folder / ".DS_Store").write_bytes(_STORE)
    for class_name in CLASSES:
        (root / "val" / class_name / ".DS_Store").write_bytes(_STORE)
        (root / "train" / class_name / ".DS_Store").write_bytes(_STORE)
    for part in PARTS:
        first = next(scan for scan in scans if scan.part == part)
        (root / part / first.folder / f"._{first.name}").write_bytes(_DOUBLE)
