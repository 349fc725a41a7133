"""Draws a synthetic twin of BreakHis: stained sections of breast tumours, benign and malignant.

The twin has what makes the real set instructive: every patient's section has its own
stain, thickness, light and tissue, so that a split by image flatters; four magnifications
of the same slides; slides of one patient under two numbers; many views that show no
tumour at all and carry the slide's label all the same; tumours of low grade that look
harmless and benign lesions that look busy; a few damaged files.

How a view is drawn: distances are micrometres. Connective tissue is laid down as fibres
along a bent direction, with clefts; glands, ducts, nests, mucin and fat are put into it;
nuclei are placed along walls or crowded into nests; all that is kept as two dyes,
haematoxylin and eosin. Light passes through them (Beer-Lambert), the microscope blurs it,
and the camera adds its tint, its shading and its noise.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, spatial

from helpers.paths import atomic_folder

VERSION: int = 1
"""Grows whenever a change here changes a pixel or a file name."""

HEIGHT, WIDTH = 115, 175
"""Pixels of a picture: a quarter of the real 460 x 700, in the same proportion."""
MAGNIFICATIONS = (40, 100, 200, 400)
SUBTYPES = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "PT": "phyllodes_tumor",
    "TA": "tubular_adenoma",
    "DC": "ductal_carcinoma",
    "LC": "lobular_carcinoma",
    "MC": "mucinous_carcinoma",
    "PC": "papillary_carcinoma",
}
"""Folder of each subtype; the first four are benign."""
BENIGN = ("A", "F", "PT", "TA")

_Array = NDArray[np.float64]
_Colour = tuple[float, float, float]

_FIELD_WIDTH = {40: 1480.0, 100: 610.0, 200: 305.0, 400: 155.0}
"""Micrometres from the left to the right edge of a view."""

# Stains as laboratories differ in them: colour of empty glass (8-bit red, green, blue; beyond
# 255 the camera saturates), optical density that full haematoxylin adds, that full eosin
# adds, and how often a patient has it.
_STAINS: tuple[tuple[_Colour, _Colour, _Colour, float], ...] = (
    ((221, 231, 217), (0.56, 0.62, 0.36), (0.11, 0.24, 0.10), 0.18),  # blue-grey
    ((264, 252, 266), (0.42, 0.92, 0.34), (0.03, 0.44, 0.14), 0.13),  # bright pink
    ((244, 218, 243), (0.48, 0.80, 0.36), (0.13, 0.44, 0.12), 0.14),  # lavender
    ((262, 228, 248), (0.64, 1.45, 0.62), (0.07, 0.76, 0.42), 0.12),  # red
    ((252, 218, 250), (0.72, 1.10, 0.48), (0.17, 0.66, 0.20), 0.09),  # deep purple
    ((252, 254, 254), (0.55, 0.68, 0.46), (0.07, 0.30, 0.18), 0.12),  # salmon
    ((226, 224, 222), (0.78, 0.86, 0.66), (0.13, 0.32, 0.19), 0.09),  # grey
    ((250, 222, 236), (0.46, 0.88, 0.50), (0.05, 0.50, 0.26), 0.13),  # rose
)
_BLOOD = np.array([0.08, 0.95, 0.70])

# Slides that carry one patient's number, as in the real set (`subtype`, `slide`); the digits
# tell the patient. A person with None is given a number of their own.
_Person = tuple[tuple[str, str | None], ...]
_PEOPLE: tuple[_Person, ...] = (
    (("F", "29960AB"), ("A", "29960CD")),
    (("MC", "18842"), ("MC", "18842D")),
    (("DC", "13412"), ("LC", "13412")),
    (("TA", None),),
    (("PT", None),),
    (("PC", None),),
    (("F", "23060AB"), ("F", "23060CD")),
    (("DC", None),),
    (("MC", "19979"), ("MC", "19979C")),
)
_MORE = ("DC", "A", "DC", "LC", "F", "TA", "DC", "F", "DC", "PT", "DC", "PC", "DC", "F", "TA",
         "MC", "DC", "A", "DC", "DC", "LC", "DC", "F", "PC", "DC", "DC", "PT", "DC", "LC", "DC",
         "F", "DC", "DC", "A", "PC", "DC", "DC")  # fmt: skip


def draw(folder: Path, seed: int = 0, patients: int = 44, images: int = 900) -> None:
    """Draw the sample into `folder`, in the layout of the real archive.

    `folder` gets `BreaKHis_v1/histology_slides/breast/<class>/SOB/<subtype>/<slide>/<n>X/`
    with PNG files of 175 x 115 pixels (a palette of 256 colours keeps them small), some
    damaged files beyond the `images`, one whose name has an unknown subtype, and stray
    files of file browsers. Up to five patients have two slides each.

    Args:
        folder: must not exist yet, or be empty; appears at once when all is drawn.
        seed: rules every pixel and every name.
        patients: how many people, at least 6 (then both classes are there).
        images: how many readable pictures in all, at least 4 a slide.

    Raises:
        ValueError: a number is too small.
        FileExistsError: `folder` has something in it.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more.")
    slides = _plan(seed, patients, images)
    # Two notebooks that start at once draw the same sample: the first to finish wins.
    with atomic_folder(folder, keep_existing=True) as root:
        for slide in slides:
            for view in slide.views:
                path = root / slide.folder / f"{view.magnification}X" / view.name
                path.parent.mkdir(parents=True, exist_ok=True)
                _save(draw_view(slide, view), path)
        _write_damaged(root, slides)
        _write_strays(root, slides)


# -- the plan: who has which slides, and which views are photographed -----------------------


@dataclass(frozen=True)
class View:
    """One photograph to be drawn: its file, what it shows, and its own random stream."""

    name: str
    magnification: int
    shows: str
    """``"lesion"``, or what there is beside it: ``"stroma"``, ``"fat"``, ``"normal"``."""
    stream: np.random.SeedSequence


@dataclass
class Slide:
    """One stained section: everything that its photographs have in common."""

    patient: str
    """Digits of the slide number, such as ``14-18842``."""
    slide: str
    """Slide number, with letters."""
    subtype: str
    background: _Array
    """Colour of empty glass, 0-255 (beyond 255 the camera saturates)."""
    haematoxylin: _Array
    """Optical density of a full layer, red, green, blue."""
    eosin: _Array
    collagen: float
    """Eosin that connective tissue took."""
    cytoplasm: tuple[float, float]
    """Haematoxylin and eosin that the lesion's cytoplasm took."""
    fibre: float
    """Width of the fibres in micrometres."""
    clefts: float
    """How much of the connective tissue is torn open, 0-1."""
    loose: float
    """How watery the connective tissue is, 0-1."""
    radius: float
    """Typical radius of the lesion's nuclei in micrometres."""
    spread: float
    """Standard deviation of the logarithm of that radius."""
    crowding: float
    """Distance between neighbouring nuclei, in diameters."""
    darkness: float
    """How much haematoxylin the lesion's nuclei took, 1 = much."""
    vesicular: float
    """How pale a nucleus is inside, 0-1."""
    nucleoli: float
    """Share of nuclei with a nucleolus that can be seen."""
    retraction: float
    """Width of the white gap around nests in micrometres."""
    scale: float
    """Size of nests, ducts and acini, 1 = usual."""
    tubules: float
    """Share of a cancer's views in which it still forms glands."""
    hyperplasia: float
    """Share of a benign lesion's glands that are filled with cells."""
    inflammation: float
    vascular: float
    blur: float
    """Standard deviation of the blur in pixels."""
    noise: float
    """Standard deviation of the camera's noise, grey levels."""
    vignette: float
    exposure: float
    """How much brightness and stain differ between photographs of the slide."""
    views: list[View] = field(default_factory=list)

    @property
    def letter(self) -> str:
        """``B`` or ``M``."""
        return "B" if self.subtype in BENIGN else "M"

    @property
    def folder(self) -> str:
        """The slide's folder below the data folder."""
        class_name = "benign" if self.letter == "B" else "malignant"
        return (
            f"BreaKHis_v1/histology_slides/breast/{class_name}/SOB/{SUBTYPES[self.subtype]}/"
            f"SOB_{self.letter}_{self.subtype}_14-{self.slide}"
        )


def _plan(seed: int, patients: int, images: int) -> list[Slide]:
    """Return the slides of all patients with the views to draw of each."""
    if patients < 6:
        raise ValueError(f"{patients} patients: at least 6 are needed.")
    people = [*_PEOPLE[:patients]]
    people += [((_MORE[number % len(_MORE)], None),) for number in range(patients - len(people))]
    number_of_slides = sum(len(person) for person in people)
    if images < 4 * number_of_slides:
        raise ValueError(f"{images} images of {number_of_slides} slides: at least 4 images for "
                         "each slide are needed.")  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    stains = _deal_stains(rng, patients)
    numbers = iter(_free_numbers(rng, patients))
    slides: list[Slide] = []
    for place, person in enumerate(people):
        own = np.random.SeedSequence(seed, spawn_key=(1, place))
        for subtype, given in person:
            # The same stream for both slides of one person: same laboratory, same tissue.
            slide = _prepare_slide(np.random.default_rng(own), subtype, stains[place])
            slide.slide = given or next(numbers)
            slide.patient = "14-" + "".join(sign for sign in slide.slide if sign.isdigit())
            slides.append(slide)
    _vary_twins(seed, slides)
    for place, counts in enumerate(_share_out(rng, len(slides), images)):
        _fill(slides[place], seed, place, counts)
    return slides


def _deal_stains(rng: np.random.Generator, patients: int) -> list[int]:
    """Return the stain of each patient, each as often as in `_STAINS`, in random order."""
    edges = np.cumsum([stain[3] for stain in _STAINS])
    edges /= edges[-1]
    kinds = np.searchsorted(edges, (np.arange(patients) + 0.5) / patients)
    return [int(kind) for kind in rng.permutation(kinds)]


def _free_numbers(rng: np.random.Generator, patients: int) -> list[str]:
    """Return slide numbers, some with letters, whose digits no other slide has."""
    taken = {"".join(sign for sign in slide if sign.isdigit())
             for person in _PEOPLE for _, slide in person if slide}  # fmt: skip
    digits = [str(number) for number in 2000 + rng.permutation(28_000)[: 2 * patients + 20]]
    letters = rng.choice(["", "", "", "", "AB", "CD", "C", "E"], len(digits))
    return [number + str(letter) for number, letter in zip(digits, letters, strict=True)
            if number not in taken]  # fmt: skip


def _prepare_slide(rng: np.random.Generator, subtype: str, stain: int) -> Slide:
    """Return a slide without views: its tissue, its stain, its microscope."""
    glass, haematoxylin, eosin, _ = _STAINS[stain]
    malignant = subtype not in BENIGN
    # Drawn for everybody in the same order, so that two slides of one person agree.
    strength = np.exp(rng.normal(0.0, 0.16, 2))
    hue = np.exp(0.10 * _clipped(rng, 6))
    tint = 6.0 * _clipped(rng) + 5.0 * _clipped(rng, 3)
    grade = float(rng.beta(1.5, 1.3))  # 0 looks harmless, 1 wild
    luck = rng.random(16)
    low_grade = {"DC": 1.0, "LC": 0.45, "MC": 0.5, "PC": 0.6}
    wild = grade * low_grade[subtype] if malignant else 0.18 * grade
    return Slide(
        patient="",
        slide="",
        subtype=subtype,
        background=np.array(glass) + tint,
        haematoxylin=np.array(haematoxylin) * strength[0] * hue[:3],
        eosin=np.array(eosin) * 0.87 * strength[1] * hue[3:],
        collagen=0.65 + 0.5 * luck[0],
        cytoplasm=(0.10 + 0.24 * luck[1], 0.25 + 0.5 * luck[2]),
        fibre=2.5 + 4.0 * luck[3],
        clefts=float(luck[4]),
        loose=float(luck[5]),
        radius=(4.15 + 2.1 * wild if malignant else 3.0 + 0.8 * wild) * (0.9 + 0.2 * luck[6]),
        spread=(0.16 if malignant else 0.12) + 0.22 * wild + 0.05 * luck[7],
        crowding=1.08 + 0.42 * luck[8],
        darkness=0.98 + 0.25 * wild if malignant else 0.76,
        vesicular=float(0.65 * luck[9]),
        nucleoli=0.5 * wild + 0.1 * luck[10],
        retraction=6.0 * float(luck[11] ** 2),
        scale=0.8 + 0.5 * luck[12],
        tubules=max(0.0, 0.22 - 0.7 * wild) if malignant else 1.0,
        hyperplasia=float(0.4 * luck[13] ** 2),
        inflammation=float(luck[14] ** 2),
        vascular=float(luck[15] ** 2),
        blur=float(rng.uniform(0.28, 0.62)),
        noise=float(rng.uniform(0.5, 1.8)),
        vignette=float(rng.uniform(0.0, 0.10) + (0.22 if rng.random() < 0.12 else 0.0)),
        exposure=float(rng.uniform(0.3, 1.2)),
    )


def _vary_twins(seed: int, slides: list[Slide]) -> None:
    """Make the second slide of a person a little unlike the first: another day, another block."""
    seen: set[str] = set()
    for place, slide in enumerate(slides):
        if slide.patient in seen:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, place)))
            slide.background = slide.background + 3.0 * _clipped(rng, 3)
            slide.haematoxylin = slide.haematoxylin * np.exp(0.06 * _clipped(rng, 3))
            slide.eosin = slide.eosin * np.exp(0.10 * _clipped(rng, 3))
            slide.loose = float(np.clip(slide.loose + 0.2 * _clipped(rng), 0.0, 1.0))
            slide.blur *= float(rng.uniform(0.9, 1.2))
        seen.add(slide.patient)


def _share_out(rng: np.random.Generator, slides: int, images: int) -> NDArray[np.int64]:
    """Return how many images of each slide are taken at each magnification: int64 (slides, 4)."""
    weight = rng.gamma(9.0, 1.0, (slides, 1)) * np.array([[1.0, 1.05, 1.0, 0.92]])
    exact = (images - 4 * slides) * weight / weight.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = images - 4 * slides - int(counts.sum())
    first = np.argsort((counts - exact).ravel(), kind="stable")[:rest]
    counts.ravel()[first] += 1
    return counts + 1


def _fill(slide: Slide, seed: int, place: int, counts: NDArray[np.int64]) -> None:
    """Give a slide its views: the lesion mostly, and what there is beside it."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, place)))
    for column, magnification in enumerate(MAGNIFICATIONS):
        # A wide view nearly always has some of the lesion in it.
        beside = {40: 0.03, 100: 0.09, 200: 0.14, 400: 0.14}[magnification]
        number = 0
        for step in range(int(counts[column])):
            number += 1 + int(rng.random() < 0.12)  # the real numbers have gaps, too
            what = "lesion"
            if rng.random() < beside:
                what = ("stroma", "fat", "normal", "stroma", "normal", "stroma", "stroma")[
                    int(rng.integers(7))
                ]
            name = (f"SOB_{slide.letter}_{slide.subtype}-14-{slide.slide}-{magnification}-"
                    f"{number:03d}.png")  # fmt: skip
            stream = np.random.SeedSequence(seed, spawn_key=(4, place, magnification, step))
            slide.views.append(View(name, magnification, what, stream))


# -- one view ------------------------------------------------------------------------------


def draw_view(slide: Slide, view: View) -> NDArray[np.uint8]:
    """Return one photograph of a slide: uint8 (115, 175, 3), red, green, blue."""
    section = _Section(np.random.default_rng(view.stream), slide, view.magnification)
    section.connective_tissue()
    if view.shows == "lesion":
        _LESIONS[slide.subtype](section)
    elif view.shows == "normal":
        section.lobule(filled=0.05, calm=True)
    if view.shows == "fat" or section.rng.random() < 0.04:
        section.fat()
    section.bystanders()
    return section.photograph()


class _Section:
    """A piece of tissue in the microscope's field: two dyes, and where nothing lies."""

    def __init__(self, rng: np.random.Generator, slide: Slide, magnification: int) -> None:
        self.rng, self.slide = rng, slide
        self.pixel = _FIELD_WIDTH[magnification] / WIDTH  # micrometres
        self.y = (np.arange(HEIGHT, dtype=np.float64)[:, None] + 0.5) * self.pixel
        self.x = (np.arange(WIDTH, dtype=np.float64)[None, :] + 0.5) * self.pixel
        self.height, self.width = HEIGHT * self.pixel, WIDTH * self.pixel
        shape = (HEIGHT, WIDTH)
        self.haematoxylin = np.zeros(shape)
        self.eosin = np.zeros(shape)
        self.cover = np.ones(shape)
        """1 where tissue lies, 0 where the glass shows through."""
        self.nuclei = np.zeros(shape)
        self.dots = np.zeros(shape)
        self.blood = np.zeros(shape)
        self.angle = np.zeros(shape)
        self.across = np.zeros(shape)
        noise = self.smooth(2.6) if self.pixel < 2.6 else np.zeros(shape)
        self.uneven = np.pad(np.exp(np.clip(0.17 * noise, -0.4, 0.4)), 1, mode="edge").ravel()

    # Connective tissue.

    def connective_tissue(self) -> None:
        """Lay down bent fibres with clefts between them, and the spindle cells on them."""
        rng, slide = self.rng, self.slide
        tilt = rng.uniform(0.0, math.pi)
        bend = rng.uniform(10.0, 40.0) * self.smooth(rng.uniform(80.0, 170.0))
        bend += rng.uniform(2.0, 9.0) * self.smooth(rng.uniform(22.0, 40.0))
        along = self.x * math.cos(tilt) + self.y * math.sin(tilt) + 0.5 * bend
        across = self.y * math.cos(tilt) - self.x * math.sin(tilt) + bend
        down, right = np.gradient(across)
        self.angle, self.across = np.arctan2(-right, down), across
        width = max(slide.fibre, 1.0 * self.pixel)
        fibre = self.streaks(along, across, 8.0 * width, 1.3 * width)
        thread = self.streaks(along, across, 4.5 * width, 0.5 * width)
        watery = _step(self.smooth(85.0) + 0.4 * self.smooth(25.0) + 2.6 * slide.loose - 1.3, 1.4)
        fine = self.smooth(2.2)
        bundle = 1.0 + 0.22 * self.smooth(30.0) + 0.22 * fibre + 0.24 * thread + 0.14 * fine
        self.eosin = slide.collagen * np.maximum(bundle, 0.12) * (1.0 - 0.5 * watery)
        self.haematoxylin = 0.06 + 0.10 * watery * np.maximum(0.7 + 0.6 * thread + 0.4 * fine, 0.0)
        gap = self.streaks(along, across, 7.5 * width, 1.25 * width) + 0.5 * self.smooth(7.0)
        gap += 0.25 * thread
        limit = 1.9 - 1.15 * slide.clefts - 0.95 * watery
        self.cover = 1.0 - 0.9 * np.clip(1.3 * (gap - limit), 0.0, 1.0)
        if rng.random() < 0.15:  # the edge of the section, or a tear
            edge = self.smooth(120.0) + 0.25 * self.smooth(22.0) + 0.1 * fibre + 1.0
            self.cover *= _step(edge, 0.12)
        dense = {"PT": 14.0, "F": 21.0}.get(slide.subtype, 27.0) * rng.uniform(0.75, 1.35)
        points = self.grid(dense, 0.5)
        points = points[rng.random(len(points)) < 0.75 * self.at(self.cover, points)]
        turned = self.at(self.angle, points) + 0.3 * rng.normal(size=len(points))
        self.stamp(points, rng.uniform(2.6, 5.2, len(points)), rng.uniform(0.2, 0.55, len(points)),
                   turned, rng.uniform(0.3, 1.1, len(points)), 0.0)  # fmt: skip

    def fat(self) -> None:
        """Put fat cells into a part of the view: large, white, with thin walls."""
        rng = self.rng
        points = self.grid(rng.uniform(45.0, 70.0), 0.42)
        zone = _step(self.smooth(130.0) + rng.uniform(-0.6, 0.9), 0.2)
        keep = self.at(zone, points) > 0.3
        if keep.sum() < 2:
            return
        points = points[keep]
        every = np.stack(np.broadcast_arrays(self.y, self.x), 2).reshape(-1, 2)
        away = spatial.cKDTree(points).query(every, k=2)[0].reshape(HEIGHT, WIDTH, 2)
        nearest, second = away[..., 0], away[..., 1]
        wall = 0.5 * (second - nearest) + 0.8 * self.smooth(12.0)
        inside = _step(np.minimum(wall - 1.2, 42.0 - nearest), 0.6 * self.pixel)
        self.cover *= 1.0 - inside
        self.nuclei *= 1.0 - 0.95 * inside
        self.dots *= 1.0 - inside
        self.blood *= 1.0 - inside

    # Glands.

    def lobule(self, filled: float, calm: bool = False, packed: float = 1.0) -> None:
        """Put acini side by side into one or several lobules, `filled` of them solid."""
        rng, slide = self.rng, self.slide
        size = (1.0 if calm else slide.scale) * rng.uniform(0.85, 1.15)
        points = self.grid(64.0 * size / packed, 0.16 + 0.1 * (packed < 1.2))
        zone = self.smooth(150.0) + (0.9 if packed > 1.2 else rng.uniform(-0.7, 0.5))
        zone += 0.9 * (self.pixel < 1.2)  # at 400x nobody photographs an empty corner
        points = points[self.at(zone, points, reach=60.0) > 0.0]
        if len(points) == 0:
            points = np.array([[0.5 * self.height, 0.5 * self.width]]) * rng.uniform(0.6, 1.4, 2)
        inner = size * rng.gamma(2.6, 3.3, len(points)) * (0.9 if packed > 1.2 else 1.0) + 1.5
        solid = rng.random(len(points)) < filled
        self.glands(points, np.where(solid, 0.6 * inner, inner), solid, calm)

    def glands(self, points: _Array, inner: _Array, solid: NDArray[np.bool_], calm: bool) -> None:
        """Paint glands around `points` (micrometres): lumen, wall, nuclei along the wall."""
        rng, slide = self.rng, self.slide
        radius = 3.2 if calm else slide.radius
        wild = 0.13 if calm else slide.spread
        count = len(points)
        wall = 2.0 * radius * rng.uniform(1.5, 2.3, count)
        outer = inner + wall
        tilt, stretch = rng.uniform(0.0, math.pi, count), rng.uniform(0.5, 1.0, count)
        waves = (0.09 + 0.4 * max(0.0, wild - 0.13)) * rng.normal(size=(3, 2, count))
        waves /= np.array([1.0, 1.5, 2.2])[:, None, None]
        clear = np.where(solid, 0.0, rng.uniform(0.6, 1.0, count))
        epithelium, lumen = np.zeros((2, HEIGHT, WIDTH))
        for place, (y0, x0) in enumerate(points):
            view, dy, dx = self._window(y0, x0, 1.4 * outer[place] + self.pixel)
            if dy.size == 0 or dx.size == 0:
                continue
            cosine, sine = math.cos(tilt[place]), math.sin(tilt[place])
            out = dx * cosine + dy * sine
            side = (dy * cosine - dx * sine) / stretch[place]
            distance = np.sqrt(out * out + side * side) + 1e-9
            if self.pixel < 5.0:  # else the waves are smaller than a pixel
                distance /= _wavy(out / distance, side / distance, waves[:, :, place])
            body = np.clip((outer[place] - distance) / self.pixel + 0.5, 0.0, 1.0)
            epithelium[view] = np.maximum(epithelium[view], body)
            if clear[place] > 0.0:
                hole = np.clip((inner[place] - distance) / self.pixel + 0.5, 0.0, clear[place])
                lumen[view] = np.maximum(lumen[view], hole)
        if calm or slide.letter == "B":  # the pale hem of a gland that keeps to itself
            hem = ndimage.uniform_filter(epithelium, 2 * round(3.5 / self.pixel) + 1)
            self.cover *= 1.0 - 0.55 * np.clip(2.0 * hem, 0.0, 1.0) * (1.0 - epithelium)
        self.cells(epithelium, calm)
        self.cover *= 1.0 - lumen
        secretion = lumen * (rng.random() < 0.3) * np.maximum(0.5 + 0.4 * self.smooth(8.0), 0.0)
        self.eosin = self.eosin * (1.0 - lumen) + 0.7 * secretion
        self.cover += secretion * (1.0 - self.cover)

        def ring(away: _Array, apart: float, share: float) -> tuple[_Array, _Array]:
            """Return points along each gland's wall, `apart` from each other, and directions."""
            many = np.maximum(3, np.rint(2.0 * math.pi * away * np.sqrt(stretch) / apart))
            number = np.where(away > 0.0, many, 0).astype(np.int64)
            owner = np.repeat(np.arange(count), number)
            first = np.cumsum(number) - number
            turn = np.arange(len(owner)) - first[owner] + 0.8 * rng.random(len(owner))
            angles = turn * 2.0 * math.pi / number[owner]
            cosine, sine = np.cos(angles), np.sin(angles)
            reach = away[owner] * _wavy(cosine, sine, waves[:, :, owner])
            out, side = cosine * reach, sine * reach * stretch[owner]
            c, s = np.cos(tilt[owner]), np.sin(tilt[owner])
            spots = points[owner] + np.stack([out * s + side * c, out * c - side * s], 1)
            spots += 0.22 * radius * rng.normal(size=spots.shape)
            pointing = np.arctan2(sine * stretch[owner], cosine) + tilt[owner]
            kept = rng.random(len(owner)) < share
            return spots[kept], pointing[kept]

        layers = [(inner + 0.62 * wall, 1.95, 0.95), (inner + 0.3 * wall, 2.3, 0.35)]
        layers += [(np.where(solid, inner * part, 0.0), 2.2, 0.85) for part in (0.15, 0.6, 1.0)]
        for away, apart, share in layers:
            spots, pointing = ring(away, apart * radius, share)
            self.epithelial_nuclei(spots, radius, wild, pointing, 1.25)
        if calm or slide.letter == "B":
            # Muscle-like cells around a gland: cancer has lost them.
            spots, pointing = ring(outer - 1.0, 12.0, 0.8)
            self.stamp(spots, np.full(len(spots), 3.2), np.full(len(spots), 0.38),
                       pointing + math.pi / 2, rng.uniform(0.6, 1.0, len(spots)), 0.0)  # fmt: skip

    def ducts(self, leaves: bool) -> None:
        """Paint long, slit-like ducts with a wall of two layers of cells (leaf-like if asked)."""
        rng, slide = self.rng, self.slide
        size = (150.0 if leaves else 90.0) * slide.scale
        ridge = self.smooth(size) + 0.25 * self.smooth(0.3 * size)
        away = self.distance(ridge - float(np.quantile(ridge, rng.uniform(0.25, 0.75))))
        gap = rng.uniform(4.0, 17.0) if leaves else rng.uniform(1.5, 11.0)
        wall = 2.0 * slide.radius * rng.uniform(1.5, 2.1)
        where = np.abs(away) - gap
        if not leaves:  # a duct ends somewhere
            where = np.maximum(where, -14.0 * (self.smooth(1.3 * size) + rng.uniform(0.0, 1.0)))
        self.wall(where, wall, 0.9)

    def wall(self, where: _Array, wall: float, empty: float) -> None:
        """Line a lumen (`where` < 0, in micrometres) with `wall` micrometres of epithelium."""
        slide = self.slide
        lumen = _step(-where, self.pixel)
        self.cells(_step(where, self.pixel) * _step(wall - where, self.pixel), False)
        self.cover *= 1.0 - empty * lumen
        self.nuclei *= 1.0 - lumen
        points = self.grid(1.9 * slide.radius, 0.22)
        depth = self.at(where, points)
        points = points[(depth > 0.18 * wall) & (depth < 0.9 * wall)]
        down, right = np.gradient(where)
        pointing = self.at(np.arctan2(down, right), points)
        self.epithelial_nuclei(points, slide.radius, slide.spread, pointing, 1.3)

    # Cancers, and what else fills a space with cells.

    def nests(self, density: float, size: float, holes: float = 0.0) -> _Array:
        """Paint solid nests of cells over a share `density` of the view; return where they are."""
        rng, slide = self.rng, self.slide
        field = self.smooth(size) + 0.45 * self.smooth(0.4 * size) + 0.2 * self.smooth(0.15 * size)
        limit = float(np.quantile(field, 1.0 - density))
        away = np.minimum(self.distance(field - limit), 40.0)
        if holes > 0.0:  # cribriform, or torn
            pattern = self.smooth(22.0 * slide.scale) + 0.3 * self.smooth(9.0)
            away = np.minimum(away, self.distance(2.2 - 1.4 * holes - pattern))
        body = _step(away, 1.3 * self.pixel)
        if slide.retraction > 0.8:
            ragged = slide.retraction * np.maximum(0.3 + 1.3 * self.smooth(30.0), 0.0)
            rim = _step(-away, self.pixel) * _step(away + ragged, self.pixel) * (ragged > 0.5)
            self.cover *= 1.0 - 0.9 * rim
            self.nuclei *= 1.0 - 0.9 * rim
        if holes > 0.0:
            empty = _step(pattern - 2.35 + 1.4 * holes, 0.15)
            self.cover *= 1.0 - 0.95 * empty
            self.nuclei *= 1.0 - empty
        self.crowd(body)
        if rng.random() < 0.12 and slide.subtype == "DC":
            self.necrosis(away)
        return away

    def crowd(self, body: _Array) -> None:
        """Fill a region (0-1) with cytoplasm and crowded nuclei that lie in no order."""
        rng, slide = self.rng, self.slide
        self.cells(body, False)
        points = self.grid(2.0 * slide.radius * slide.crowding, 0.30)
        points = points[self.at(body, points) > 0.6]
        points = points[rng.random(len(points)) < 0.93]
        pointing = rng.uniform(0.0, math.pi, len(points))
        self.epithelial_nuclei(points, slide.radius, slide.spread, pointing, 1.22)

    def files(self) -> None:
        """Paint small cells in single file between the fibres, and some scattered."""
        rng, slide = self.rng, self.slide
        spacing = rng.uniform(16.0, 30.0)
        points = self.grid(2.05 * slide.radius * slide.crowding, 0.25)
        lane = np.abs((self.at(self.across, points) / spacing) % 1.0 - 0.5)
        busy = self.at(self.smooth(30.0), points) + rng.uniform(-0.3, 0.7)
        reach = slide.radius / spacing
        keep = ((lane < reach) & (busy > -0.1)) | (rng.random(len(points)) < 0.06)
        points = points[keep]
        if len(points):
            body = np.zeros((HEIGHT, WIDTH))
            self._draw(body, points, np.full(len(points), 1.6 * slide.radius),
                       np.full(len(points), 0.8), self.at(self.angle, points),
                       np.ones(len(points)), 0.0)  # fmt: skip
            self.cells(np.minimum(body, 1.0) * 0.8, False)
            self.epithelial_nuclei(points, slide.radius, slide.spread,
                                   self.at(self.angle, points), 1.25)  # fmt: skip

    def mucin(self) -> None:
        """Flood most of the view with pale blue-grey mucin in which nests float."""
        rng = self.rng
        pool = _step(self.smooth(170.0) + rng.uniform(0.0, 1.3), 0.25)
        wisp = np.maximum(0.5 + 0.5 * self.streaks(self.x, self.across, 34.0, 5.0), 0.0)
        cloud = np.maximum(0.6 + 0.5 * self.smooth(18.0), 0.0)
        self.eosin = self.eosin * (1.0 - pool) + pool * 0.08 * wisp
        self.haematoxylin = self.haematoxylin * (1.0 - pool) + pool * 0.10 * cloud * (0.5 + wisp)
        self.cover = self.cover * (1.0 - pool) + pool
        self.nuclei *= 1.0 - 0.9 * pool

    def papillae(self) -> None:
        """Paint fronds: thin cores of connective tissue under a thick, crowded epithelium."""
        rng, slide = self.rng, self.slide
        size = 75.0 * slide.scale
        ridge = self.smooth(size) + 0.35 * self.smooth(0.45 * size)
        away = np.abs(self.distance(ridge - rng.uniform(-0.3, 0.3)))
        core = rng.uniform(3.0, 9.0)
        thick = rng.uniform(2.5, 5.0) * 2.0 * slide.radius
        beyond = away - core - thick
        empty = _step(beyond + 1.5 * self.smooth(10.0), self.pixel)
        self.cover *= 1.0 - 0.96 * empty
        self.nuclei *= 1.0 - empty
        self.crowd(_step(away - core, self.pixel) * (1.0 - empty))

    def necrosis(self, away: _Array) -> None:
        """Let the middle of large nests die: pink, granular, with crumbs of nuclei."""
        dead = _step(away - 28.0 + 4.0 * self.smooth(10.0), 2.0)
        self.nuclei *= 1.0 - 0.95 * dead
        self.dots *= 1.0 - dead
        self.eosin += dead * np.maximum(0.45 + 0.25 * self.smooth(3.0), 0.0)
        points = self.grid(7.0, 0.5)
        points = points[self.at(dead, points) > 0.6]
        points = points[self.rng.random(len(points)) < 0.5]
        self.stamp(points, self.rng.uniform(0.6, 1.7, len(points)), np.ones(len(points)),
                   np.zeros(len(points)), np.ones(len(points)), 0.0)  # fmt: skip

    # What lies about in any tissue.

    def bystanders(self) -> None:
        """Add lymphocytes, vessels with blood, and stray blood."""
        rng, slide = self.rng, self.slide
        clusters = int(rng.poisson(0.35 + 1.2 * slide.inflammation))
        for _ in range(clusters):
            middle = rng.uniform(0.0, 1.0, 2) * np.array([self.height, self.width])
            count = int(rng.integers(8, 60))
            spread = rng.uniform(12.0, 45.0)
            points = middle + spread * rng.normal(size=(count, 2)) * rng.uniform(0.5, 1.2, 2)
            self.stamp(points, rng.uniform(2.2, 2.9, count), rng.uniform(0.85, 1.0, count),
                       np.zeros(count), rng.uniform(0.9, 1.35, count), 0.0)  # fmt: skip
        for _ in range(int(rng.poisson(0.1 + 0.55 * slide.vascular))):
            self._vessel()

    def _vessel(self) -> None:
        """Add a small vessel: a thin wall around glass, and red cells in it."""
        rng = self.rng
        middle = rng.uniform(0.0, 1.0, 2) * np.array([self.height, self.width])
        size, stretch = rng.uniform(7.0, 24.0), rng.uniform(0.3, 0.9)
        tilt = rng.uniform(0.0, math.pi)
        dy, dx = self.y - middle[0], self.x - middle[1]
        out = dx * math.cos(tilt) + dy * math.sin(tilt)
        side = (dy * math.cos(tilt) - dx * math.sin(tilt)) / stretch
        away = size - np.hypot(out, side) + 2.0 * self.smooth(9.0)
        lumen = _step(away, self.pixel)
        self.cover *= 1.0 - 0.95 * lumen
        self.nuclei *= 1.0 - lumen
        self.dots *= 1.0 - lumen
        self.eosin += 0.3 * _step(away + 4.0, self.pixel) * (1.0 - lumen)
        points = self.grid(6.2, 0.3)
        points = points[self.at(away, points) > 2.0]
        points = points[rng.random(len(points)) < rng.uniform(0.2, 1.1)]
        count = len(points)
        disc = np.zeros((HEIGHT, WIDTH))
        self._draw(disc, points, np.full(count, 3.2), rng.uniform(0.75, 1.0, count),
                   rng.uniform(0.0, 3.0, count), rng.uniform(0.7, 1.0, count), 0.3)  # fmt: skip
        self.blood = np.maximum(self.blood, np.minimum(disc, 1.2))

    # Strokes.

    def cells(self, body: _Array, calm: bool) -> None:
        """Put epithelial cytoplasm where `body` (0-1) is, over what lies there."""
        blue, pink = (0.22, 0.5) if calm else self.slide.cytoplasm
        grain = np.maximum(1.0 + 0.20 * self.smooth(4.5) + 0.16 * self.smooth(2.0), 0.2)
        torn = self.smooth(5.5) + 0.5 * self.smooth(2.5)
        vacuole = np.clip(1.2 * (torn - 2.1 + 1.15 * self.slide.clefts), 0.0, 1.0)
        left = 1.0 - body
        self.haematoxylin = self.haematoxylin * left + blue * grain * body
        self.eosin = self.eosin * left + pink * grain * body
        self.cover = self.cover * left + body * (1.0 - 0.85 * vacuole)
        self.nuclei *= left
        self.dots *= left

    def epithelial_nuclei(
        self, points: _Array, radius: float, spread: float, pointing: _Array, long: float
    ) -> None:
        """Stamp nuclei of the lesion: sizes, shapes and darkness that differ by its grade."""
        rng, slide, count = self.rng, self.slide, len(points)
        if count == 0:
            return
        sizes = radius * np.exp(np.clip(spread * rng.normal(size=count), -0.7, 0.85))
        shape = 1.0 / np.maximum(long + (0.1 + 0.8 * spread) * rng.normal(size=count), 1.0)
        dark = np.exp((0.10 + 0.5 * spread) * np.clip(rng.normal(size=count), -2.0, 2.0))
        turned = pointing + 0.35 * rng.normal(size=count)
        self.stamp(points, sizes * np.sqrt(1.0 / shape), shape, turned, slide.darkness * dark,
                   slide.vesicular)  # fmt: skip
        seen = rng.random(count) < slide.nucleoli
        if seen.any() and self.pixel < 2.0:
            spots = points[seen] + 0.25 * radius * rng.normal(size=(int(seen.sum()), 2))
            tiny = rng.uniform(0.8, 1.4, len(spots))
            self._draw(self.dots, spots, tiny, np.ones(len(spots)), np.zeros(len(spots)),
                       rng.uniform(0.3, 0.8, len(spots)), 0.0)  # fmt: skip

    def stamp(self, points: _Array, long: _Array, shape: _Array, angle: _Array, dark: _Array,
              pale: float) -> None:  # fmt: skip
        """Add nuclei: `long` half axis in micrometres, `shape` = short axis / long axis."""
        self._draw(self.nuclei, points, long, shape, angle, dark, pale)

    def _draw(self, layer: _Array, points: _Array, long: _Array, shape: _Array, angle: _Array,
              dark: _Array, pale: float) -> None:  # fmt: skip
        """Add soft ovals to a layer, all at once; those beyond the edge are cut off."""
        major = long / self.pixel
        minor = major * shape
        # What is smaller than a pixel becomes a paler spot of a pixel's size.
        dark = dark * np.minimum(1.0, major / 0.62) * np.minimum(1.0, minor / 0.62)
        major, minor = np.maximum(major, 0.62), np.maximum(minor, 0.62)
        tiny = major < 0.75
        if tiny.any():
            self._draw_tiny(layer, points[tiny] / self.pixel - 0.5,
                            (dark * math.pi * major * minor)[tiny])  # fmt: skip
        for low, high in ((0.75, 1.5), (1.5, 2.5), (2.5, 4.0), (4.0, 7.0), (7.0, 1e9)):
            own = (major >= low) & (major < high)
            if own.any():
                self._draw_alike(layer, points[own] / self.pixel - 0.5, major[own], minor[own],
                                 angle[own], dark[own], pale)  # fmt: skip

    def _draw_tiny(self, layer: _Array, spots: _Array, mass: _Array) -> None:
        """Share out spots no larger than a pixel between the four pixels around them."""
        inside = ((spots >= 0.0) & (spots < [HEIGHT - 1, WIDTH - 1])).all(axis=1)
        spots, mass = spots[inside], mass[inside]
        corner = np.floor(spots)
        low, right = (spots - corner).T
        place = (corner[:, 0] * WIDTH + corner[:, 1]).astype(np.int64)
        for step, share in ((0, (1.0 - low) * (1.0 - right)), (1, (1.0 - low) * right),
                            (WIDTH, low * (1.0 - right)), (WIDTH + 1, low * right)):  # fmt: skip
            added = np.bincount(place + step, mass * share, HEIGHT * WIDTH)
            layer += added.reshape(HEIGHT, WIDTH)

    def _draw_alike(self, layer: _Array, spots: _Array, major: _Array, minor: _Array,
                    angle: _Array, dark: _Array, pale: float) -> None:  # fmt: skip
        """Add ovals of similar size, in pixels, each on a small square patch."""
        half = math.ceil(float(major.max()) + 0.8)
        inside = ((spots[:, 0] > -half) & (spots[:, 0] < HEIGHT + half)
                  & (spots[:, 1] > -half) & (spots[:, 1] < WIDTH + half))  # fmt: skip
        spots, major, minor = spots[inside], major[inside], minor[inside]
        angle, dark = angle[inside], dark[inside]
        steps = np.arange(-half, half + 1)
        corner = np.rint(spots).astype(np.int64)
        rows = corner[:, 0, None] + steps
        columns = corner[:, 1, None] + steps
        dy = (rows - spots[:, 0, None])[:, :, None]
        dx = (columns - spots[:, 1, None])[:, None, :]
        cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        squared = ((dx * cosine + dy * sine) / major[:, None, None]) ** 2
        squared += ((dy * cosine - dx * sine) / minor[:, None, None]) ** 2
        rows, columns = np.clip(rows, -1, HEIGHT), np.clip(columns, -1, WIDTH)
        # A frame of one pixel takes what falls outside.
        places = (rows[:, :, None] + 1) * (WIDTH + 2) + columns[:, None, :] + 1
        if half > 2:  # large enough to show an uneven outline
            squared *= self.uneven.take(places)
        edge = np.clip(0.5 + (1.0 - np.sqrt(squared)) * minor[:, None, None], 0.0, 1.0)
        if pale > 0.0 and half > 2:
            edge *= 1.0 - 0.6 * pale * np.maximum(1.0 - squared, 0.0)
        edge *= dark[:, None, None]
        added = np.bincount(places.ravel(), edge.ravel(), (HEIGHT + 2) * (WIDTH + 2))
        layer += added.reshape(HEIGHT + 2, WIDTH + 2)[1:-1, 1:-1]

    def grid(self, spacing: float, jitter: float) -> _Array:
        """Return points (n, 2), y and x in micrometres, `spacing` apart, shaken by `jitter`."""
        rows = math.ceil(self.height / (0.87 * spacing)) + 3
        columns = math.ceil(self.width / spacing) + 3
        y, x = np.meshgrid(np.arange(rows) - 1.0, np.arange(columns) - 1.0, indexing="ij")
        x = x + 0.5 * (np.arange(rows)[:, None] % 2)
        points = np.stack([0.87 * y.ravel(), x.ravel()], 1)
        points += jitter * self.rng.normal(size=points.shape) + self.rng.random(2)
        return points * spacing

    def at(self, values: _Array, points: _Array, reach: float = 0.0) -> _Array:
        """Return a field's values at points (micrometres); outside counts as the edge."""
        rows = np.clip((points[:, 0] / self.pixel).astype(np.int64), 0, HEIGHT - 1)
        columns = np.clip((points[:, 1] / self.pixel).astype(np.int64), 0, WIDTH - 1)
        found: _Array = values[rows, columns]
        return found

    def distance(self, values: _Array) -> _Array:
        """Return about how far, in micrometres, a point is from where a field is zero."""
        down, right = np.gradient(values, self.pixel)
        steep = np.hypot(down, right)
        return values / (steep + 0.2 * float(steep.mean()) + 1e-9)

    def smooth(self, scale: float) -> _Array:
        """Return smooth noise, about standard normal, with features of `scale` micrometres."""
        step = scale / self.pixel
        if step < 1.0:
            return self.rng.normal(size=(HEIGHT, WIDTH))
        shift = self.rng.random(2)
        row, rows = _spline(HEIGHT, step, float(shift[0]))
        column, columns = _spline(WIDTH, step, float(shift[1]))
        few = self.rng.normal(size=(int(row[-1]) + 3, int(column[-1]) + 3))
        # A quadratic spline between random numbers: down first, then across.
        tall = few[row] * rows[0][:, None]
        field = np.zeros((HEIGHT, WIDTH))
        for place in (1, 2):
            tall += few[row + place] * rows[place][:, None]
        for place in range(3):
            field += tall.take(column + place, axis=1) * columns[place]
        return 1.8 * field

    def streaks(self, along: _Array, across: _Array, length: float, width: float) -> _Array:
        """Return noise drawn out along fibres, about standard normal; sizes in micrometres."""
        table = self.rng.normal(size=(64, 32))
        y, x = across / width, along / length
        low_y, low_x = np.floor(y), np.floor(x)
        y, x = y - low_y, x - low_x
        row, column = low_y.astype(np.int64) % 64, low_x.astype(np.int64) % 32
        y, x = y * y * (3.0 - 2.0 * y), x * x * (3.0 - 2.0 * x)
        flat = table.ravel()
        below, beside = (row + 1) % 64 * 32, (column + 1) % 32
        upper = flat[row * 32 + column] * (1.0 - x) + flat[row * 32 + beside] * x
        lower = flat[below + column] * (1.0 - x) + flat[below + beside] * x
        return 1.4 * (upper * (1.0 - y) + lower * y)

    def _window(
        self, y0: float, x0: float, reach: float
    ) -> tuple[tuple[slice, slice], _Array, _Array]:
        """Return the part of the view around a point, and offsets from the point in it."""
        top, left = (max(0, math.floor((v - reach) / self.pixel)) for v in (y0, x0))
        bottom, right = (max(0, math.ceil((v + reach) / self.pixel)) for v in (y0, x0))
        view = (slice(top, bottom), slice(left, right))
        return view, self.y[view[0]] - y0, self.x[:, view[1]] - x0

    # The microscope.

    def photograph(self) -> NDArray[np.uint8]:
        """Return what the camera sees: uint8 (115, 175, 3)."""
        rng, slide = self.rng, self.slide
        change = slide.exposure
        chromatin = 0.62 * self.nuclei / (0.5 + 0.5 * np.maximum(self.nuclei, 1.0))
        chromatin *= np.maximum(0.9 + 0.24 * self.smooth(1.7), 0.2)
        blue = self.cover * self.haematoxylin * float(np.exp(0.06 * change * _clipped(rng)))
        blue += chromatin + 0.7 * np.minimum(self.dots, 1.0)
        pink = self.cover * self.eosin * float(np.exp(0.14 * change * _clipped(rng)))
        pink += 0.12 * np.minimum(self.nuclei, 1.0)
        thick = float(np.exp(0.10 * change * _clipped(rng))) * (1.0 + 0.05 * self.smooth(120.0))
        light = float(np.exp(0.025 * change * _clipped(rng))) * np.exp(0.012 * _clipped(rng, 3))
        slope = 0.03 * _clipped(rng, 2)
        dy = (np.arange(HEIGHT)[:, None] - 0.5 * HEIGHT) / WIDTH
        dx = (np.arange(WIDTH)[None, :] - 0.5 * WIDTH) / WIDTH
        side = rng.uniform(-0.3, 0.3, 2)
        shade = slide.vignette * 2.2 * ((dy - side[0]) ** 2 + (dx - side[1]) ** 2)
        gain = 1.0 + slope[0] * dy + slope[1] * dx - np.minimum(shade, 0.7)
        blur = slide.blur * float(np.exp(0.22 * _clipped(rng)))
        if rng.random() < 0.05:
            blur += rng.uniform(0.3, 0.9)  # out of focus
        picture = np.empty((HEIGHT, WIDTH, 3))
        common = rng.normal(size=(HEIGHT, WIDTH))
        for channel in range(3):
            density = blue * slide.haematoxylin[channel] + pink * slide.eosin[channel]
            density += self.blood * _BLOOD[channel] * (0.25 + 0.6 * slide.eosin[1])
            seen = np.exp(-thick * density) * (slide.background[channel] * light[channel]) * gain
            seen = ndimage.gaussian_filter(seen, blur, truncate=3.0)
            own = rng.normal(size=(HEIGHT, WIDTH))
            picture[..., channel] = seen + slide.noise * (0.8 * common + 0.6 * own)
        return np.clip(np.rint(picture), 0.0, 255.0).astype(np.uint8)


# -- what each lesion is made of -------------------------------------------------------------


def _adenosis(section: _Section) -> None:
    """Many small glands, crowded into lobules."""
    section.lobule(filled=0.1 + section.slide.hyperplasia, packed=1.21)


def _fibroadenoma(section: _Section) -> None:
    """Ducts pressed to slits in loose tissue, and some lobules."""
    if section.rng.random() < 0.65:
        section.ducts(leaves=False)
    else:
        section.lobule(filled=section.slide.hyperplasia)


def _phyllodes(section: _Section) -> None:
    """Leaf-like clefts in cellular connective tissue."""
    section.ducts(leaves=True)


def _tubular_adenoma(section: _Section) -> None:
    """Round tubules back to back."""
    section.lobule(filled=0.5 * section.slide.hyperplasia, packed=1.22)


def _ductal(section: _Section) -> None:
    """Nests and sheets of cells, or crooked glands where the grade is low."""
    rng, slide = section.rng, section.slide
    if rng.random() < slide.tubules:
        section.lobule(filled=0.35, packed=float(rng.uniform(0.9, 1.25)))
        return
    density = float(np.clip(rng.beta(2.0, 1.3), 0.12, 0.97))
    holes = float(rng.uniform(0.2, 0.9)) if rng.random() < 0.45 else 0.0
    section.nests(density, float(rng.uniform(35.0, 110.0)) * slide.scale, holes)


def _lobular(section: _Section) -> None:
    """Small cells in single file, sometimes a nest."""
    section.files()
    if section.rng.random() < 0.3:
        section.nests(0.3, 60.0)


def _mucinous(section: _Section) -> None:
    """Nests floating in mucin."""
    rng = section.rng
    section.mucin()
    if rng.random() < 0.25 * section.slide.tubules:
        section.lobule(filled=0.4)
    else:
        section.nests(float(rng.uniform(0.15, 0.6)), float(rng.uniform(40.0, 80.0)), 0.3)


def _papillary(section: _Section) -> None:
    """Fronds with a thick epithelium, or solid parts."""
    if section.rng.random() < 0.75:
        section.papillae()
    else:
        section.nests(0.6, 80.0, 0.5)


_LESIONS: dict[str, Callable[[_Section], None]] = {
    "A": _adenosis,
    "F": _fibroadenoma,
    "PT": _phyllodes,
    "TA": _tubular_adenoma,
    "DC": _ductal,
    "LC": _lobular,
    "MC": _mucinous,
    "PC": _papillary,
}


def _spline(length: int, step: float, shift: float) -> tuple[NDArray[np.int64], list[_Array]]:
    """Return the first of three neighbours for each pixel, and the weights of all three."""
    place = np.arange(length) / step + shift
    first = np.floor(place)
    part = place - first
    weights = [0.5 * (1.0 - part) ** 2, 0.5 + part - part * part, 0.5 * part * part]
    return first.astype(np.int64), weights


def _step(values: _Array, width: float) -> _Array:
    """Return 0 where values are negative, 1 where positive, a ramp of `width` between."""
    return np.clip(values / width + 0.5, 0.0, 1.0)


def _wavy(cosine: _Array, sine: _Array, waves: _Array) -> _Array:
    """Return 1 + waves of 2, 3 and 4 periods round a circle, given cosine and sine."""
    two_c, two_s = cosine * cosine - sine * sine, 2.0 * cosine * sine
    three_c, three_s = two_c * cosine - two_s * sine, two_s * cosine + two_c * sine
    four_c, four_s = two_c * two_c - two_s * two_s, 2.0 * two_c * two_s
    total = 1.0 + waves[0, 0] * two_c + waves[0, 1] * two_s
    total = total + waves[1, 0] * three_c + waves[1, 1] * three_s
    total = total + waves[2, 0] * four_c + waves[2, 1] * four_s
    return np.maximum(total, 0.35)


def _clipped(rng: np.random.Generator, size: int | None = None) -> _Array:
    """Return standard normal numbers, none beyond 2 (a scalar array without `size`)."""
    return np.clip(np.asarray(rng.normal(size=size)), -2.0, 2.0)


# -- files ---------------------------------------------------------------------------------

_THUMBS = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
_FINDER = bytes.fromhex("00000001") + b"Bud1" + bytes(248)
_FORK = bytes.fromhex("00051607000200004d6163204f532058") + bytes(106)


def _encode(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file's content, its colours reduced to 256."""
    reduced = Image.fromarray(picture).quantize(
        256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    buffer = io.BytesIO()
    reduced.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as PNG."""
    path.write_bytes(_encode(picture))


def _write_damaged(root: Path, slides: list[Slide]) -> None:
    """Write files that cannot be read, and one whose name has a subtype that nobody knows."""
    kinds = ("truncated", "empty", "text", "truncated", "unknown")
    for number, kind in enumerate(kinds):
        slide = slides[(3 * number) % len(slides)]
        view = slide.views[-1 - number % len(slide.views)]
        name = f"{view.name.rpartition('-')[0]}-{90 + number:03d}.png"
        content = b""
        if kind == "truncated":
            whole = _encode(draw_view(slide, view))
            content = whole[: len(whole) // 2]
        elif kind == "text":
            content = b"404 Not Found: this is not a picture.\n"
        elif kind == "unknown":
            content = _encode(draw_view(slide, view))
            name = name.replace(f"_{slide.subtype}-", "_XC-")
        (root / slide.folder / f"{view.magnification}X" / name).write_bytes(content)


def _write_strays(root: Path, slides: list[Slide]) -> None:
    """Write what file browsers leave behind: no pictures, whatever they are called."""
    first, last = slides[0], slides[-1]
    (root / first.folder / f"{first.views[0].magnification}X" / "Thumbs.db").write_bytes(_THUMBS)
    (root / last.folder / ".DS_Store").write_bytes(_FINDER)
    view = last.views[0]
    (root / last.folder / f"{view.magnification}X" / f"._{view.name}").write_bytes(_FORK)
