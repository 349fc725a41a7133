"""Draws a synthetic twin of the NIH malaria cells: red blood cells, some with a parasite.

The twin has what makes the real set instructive: every patient's slide has its
own stain, light, sharpness and share of infected cells, so that a split by cells
flatters; platelets, stain debris and precipitate lie on healthy cells; young rings
are hard to see; a few labels are wrong; a few files are damaged.

How a cell is drawn: layers of dye (haemoglobin, parasite's cytoplasm, chromatin,
pigment) are painted as optical densities, light passes through them (Beer-Lambert),
the microscope blurs it, the camera adds noise, and the segmentation cuts the cell
out along a slightly ragged line and paints the rest black.
"""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from helpers.paths import atomic_folder

VERSION: int = 2
"""Grows whenever a change here changes a pixel or a file name."""

CLASSES = ("Parasitized", "Uninfected")
LABEL_NOISE = 0.022
"""Share of the cells that lie in the wrong class folder."""

_Array = NDArray[np.float64]
_Colour = tuple[float, float, float]

# Typical colours of a red cell's body on real slides (8-bit red, green, blue), how
# much patients differ, how often each occurs, and which colour the parasite's
# chromatin and cytoplasm add (optical density for red, green, blue).
_STAINS: tuple[tuple[_Colour, _Colour, float, _Colour, _Colour], ...] = (
    ((205, 149, 148), (7, 8, 6), 0.42, (0.42, 1.35, 0.36), (0.17, 0.36, 0.06)),  # salmon
    ((172, 163, 180), (9, 9, 4), 0.36, (0.29, 1.05, 0.07), (0.16, 0.36, 0.02)),  # violet-grey
    ((150, 143, 174), (5, 6, 3), 0.09, (0.32, 1.00, 0.10), (0.18, 0.36, 0.03)),  # blue-violet
    ((188, 112, 148), (5, 6, 6), 0.05, (0.50, 1.20, 0.40), (0.20, 0.40, 0.10)),  # magenta
    ((187, 157, 146), (6, 5, 5), 0.08, (0.48, 1.20, 0.35), (0.20, 0.36, 0.06)),  # beige
)


def draw(folder: Path, seed: int = 0, patients: int = 40, cells: int = 1000) -> None:
    """Draw the sample into `folder`, in the layout of the real archive.

    `folder` gets `cell_images/Parasitized`, `cell_images/Uninfected` (PNG files,
    `Thumbs.db`, a few damaged files beyond the `cells`) and NLM's two patient maps.
    About three quarters of the patients have both kinds of cell. One slide is seen
    under two microscopes, so there is one id more than there are patients.

    Args:
        folder: must not exist yet, or be empty; appears at once when all is drawn.
        seed: rules every pixel and every name.
        patients: how many people, at least 2.
        cells: how many readable pictures in all, at least 4 a patient.

    Raises:
        ValueError: a number is too small.
        FileExistsError: `folder` has something in it.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more.")
    if patients < 2 or cells < 4 * patients:
        raise ValueError(f"{patients} patients with {cells} cells: at least 2 patients and "
                         "4 cells for each are needed.")  # fmt: skip
    slides = _plan(seed, patients, cells)
    # Two notebooks that start at once draw the same sample: the first to finish wins.
    with atomic_folder(folder, keep_existing=True) as root:
        for class_name in CLASSES:
            (root / "cell_images" / class_name).mkdir(parents=True)
        for slide in slides:
            for cell in slide.cells:
                picture = draw_cell(slide, cell)
                _save(picture, root / "cell_images" / cell.folder / cell.name)
        damaged = _write_damaged(root / "cell_images", slides)
        for class_name in CLASSES:
            (root / "cell_images" / class_name / "Thumbs.db").write_bytes(_THUMBS)
            _write_map(root, class_name, slides, damaged)


# -- the plan: who has which slide, which cells, which labels ------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell to be drawn: its file, what it truly is, and its own random stream."""

    name: str
    infected: bool
    folder: str
    image: int
    stream: np.random.SeedSequence


@dataclass
class Slide:
    """One patient's slide under one microscope: everything its cells have in common."""

    identifier: str
    mixed: bool
    body: _Array
    """Haemoglobin's optical density in a cell's body, red, green, blue."""
    background: _Array
    """Colour of the empty slide, 0-255."""
    chromatin: _Array
    cytoplasm: _Array
    strength: float
    """How strongly the parasites took the stain, 1 = well."""
    radius: float
    """Typical radius of a red cell in pixels."""
    pallor: float
    sharpness: float
    """Standard deviation of the blur in pixels."""
    noise: float
    """Standard deviation of the camera's noise, grey levels."""
    halo: float
    """How far, in pixels, the segmentation cuts outside the cell."""
    ragged: float
    """Share of cells with a torn outline."""
    debris: float
    """Share of cells with specks of stain."""
    platelets: float
    """Share of healthy cells that a platelet lies on."""
    remnants: float
    """Share of healthy cells with a remnant of the nucleus (Howell-Jolly body)."""
    precipitate: bool
    """Whether fine stain precipitate covers the slide."""
    images: list[_Array] = field(default_factory=list)
    """For each photographed field: brightness and its slopes along y and x."""
    cells: list[Cell] = field(default_factory=list)


def _plan(seed: int, patients: int, cells: int) -> list[Slide]:
    """Return the slides of all patients with the cells to draw on each."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    counts = _share_out(rng, patients, cells)
    mixed = max(1, round(0.75 * patients))
    identifiers = _identifiers(rng, patients, mixed)
    stains = _deal_stains(rng, patients)
    smudged = {1, mixed} if patients > 3 else {1}  # one mixed and one healthy patient
    slides: list[Slide] = []
    for number in range(patients):
        own = np.random.SeedSequence(seed, spawn_key=(1, number))
        slide = _prepare_slide(np.random.default_rng(own), identifiers[number],
                               stains[number], number < mixed, number in smudged)  # fmt: skip
        if number == 0:
            slides += _two_microscopes(slide, seed, counts[number])
        else:
            _fill(slide, (2, number), seed, counts[number])
            slides.append(slide)
    return slides


def _share_out(rng: np.random.Generator, patients: int, cells: int) -> list[int]:
    """Return how many cells each patient gets: unequal, 12-45 at the usual size."""
    mean = cells / patients
    low, high = max(4, math.ceil(0.48 * mean)), max(5, math.floor(1.8 * mean))
    drawn = 0.48 * mean + 1.32 * mean * rng.beta(1.3, 2.0, patients)
    counts = [min(high, max(low, round(value))) for value in drawn]
    number = 0
    while sum(counts) != cells:
        step = 1 if sum(counts) < cells else -1
        place = number % patients
        if low <= counts[place] + step <= high:
            counts[place] += step
        number += 1
    return counts


def _identifiers(rng: np.random.Generator, patients: int, mixed: int) -> list[str]:
    """Return one slide id a patient, in the archive's several ways of writing them."""
    numbers = sorted(48 + int(step) for step in rng.permutation(max(190, patients))[: patients - 1])
    shuffled = [numbers[place] for place in rng.permutation(len(numbers))]
    names = ["C47P8thin"]
    for place, number in enumerate(shuffled, start=1):
        healthy = place >= mixed
        person = f"P{number - 39}" if number < 188 else ""
        if number < 61:
            name = f"C{number}{person}thinF"
        elif healthy and number % 3 == 0:
            name = f"C{number}{person}N{'_' if number < 90 else ''}ThinF"
        else:
            name = f"C{number}{person}{'_' if 70 < number < 77 else ''}ThinF"
        names.append(name)
    return names


def _deal_stains(rng: np.random.Generator, patients: int) -> list[int]:
    """Return the stain of each patient, each as often as in `_STAINS`, in random order."""
    edges = np.cumsum([stain[2] for stain in _STAINS])
    edges /= edges[-1]
    places = (np.arange(patients) + 0.5) / patients
    kinds = np.searchsorted(edges, places)
    return [int(kind) for kind in rng.permutation(kinds)]


def _prepare_slide(
    rng: np.random.Generator, identifier: str, stain: int, mixed: bool, precipitate: bool
) -> Slide:
    """Return a slide without cells: its stain, its microscope and its camera."""
    typical, spread, _, chromatin, cytoplasm = _STAINS[stain]
    colour = np.array(typical) + np.array(spread) * (0.9 * _clipped(rng) + 0.7 * _clipped(rng, 3))
    clear = (226.0, 205.0, 186.0) if typical[0] > typical[2] else (205.0, 206.0, 208.0)
    background = np.array(clear) + 8.0 * _clipped(rng) + 4.0 * _clipped(rng, 3)
    background = np.clip(background, colour + 16.0, 250.0)
    hue = rng.normal(0.0, 0.12, 3)
    return Slide(
        identifier=identifier,
        mixed=mixed,
        body=np.log(background / colour),
        background=background,
        chromatin=np.array(chromatin) * np.exp(np.clip(hue, -0.25, 0.25)),
        cytoplasm=np.array(cytoplasm) * np.exp(np.clip(rng.normal(0.0, 0.15, 3), -0.3, 0.3)),
        strength=float(np.clip(np.exp(rng.normal(0.28, 0.22)), 0.75, 1.8)),
        radius=float(rng.uniform(54.0, 72.0)),
        pallor=float(rng.uniform(0.45, 0.95) if rng.random() < 0.3 else rng.uniform(0.0, 0.3)),
        sharpness=float(rng.uniform(0.8, 2.5)),
        noise=float(rng.uniform(0.3, 1.6)),
        halo=float(rng.uniform(-3.0, 1.2)),
        ragged=float(rng.beta(0.4, 2.6)),
        debris=float(rng.uniform(0.01, 0.12)),
        platelets=float(rng.beta(0.8, 17.0)),
        remnants=float(rng.beta(0.5, 16.0)),
        precipitate=precipitate,
    )


def _two_microscopes(slide: Slide, seed: int, count: int) -> list[Slide]:
    """Return one stained slide seen through two microscopes, the cells shared out."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    tint = np.clip(1.0 + 0.05 * _clipped(rng, 3), 0.9, 1.08)
    twins = []
    for number, suffix in enumerate(("_Original_Motic", "OriginalOlympusCX21")):
        twin = Slide(**{**slide.__dict__, "identifier": slide.identifier + suffix,
                        "images": [], "cells": []})  # fmt: skip
        if number:
            twin.background = np.clip(slide.background * tint, 0.0, 250.0)
            twin.radius = slide.radius * 0.86
            twin.sharpness = 2.6 - 0.6 * slide.sharpness
        half = count // 2 if number else count - count // 2
        _fill(twin, (2, 0, number), seed, half)
        twins.append(twin)
    return twins


def _fill(slide: Slide, key: tuple[int, ...], seed: int, count: int) -> None:
    """Give a slide its photographed fields and the cells in them, some labelled wrongly."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    prevalence = 0.33 + 0.65 * float(rng.beta(0.8, 0.75)) if slide.mixed else 0.0
    infected = round(prevalence * count)
    if slide.mixed:
        infected = min(count - 1, max(1, infected))
    fields = int(rng.integers(2, 6))
    stamps = _time_stamps(rng, slide.identifier, fields)
    for _ in range(fields):
        slide.images.append(np.array([1.0 + 0.035 * _clipped(rng), 0.03 * _clipped(rng),
                                      0.03 * _clipped(rng)]))  # fmt: skip
    order = rng.permutation(count)
    where = rng.integers(0, fields, count)
    wrong = rng.random(count) < LABEL_NOISE * 4 / 3  # healthy patients have none
    places = {image: iter(rng.permutation(max(196, count))[:count] + 1) for image in range(fields)}
    for number in range(count):
        is_infected = bool(order[number] < infected)
        labelled = is_infected != bool(slide.mixed and wrong[number])
        image = int(where[number])
        name = f"{slide.identifier}_IMG_{stamps[image]}_cell_{next(places[image])}.png"
        stream = np.random.SeedSequence(seed, spawn_key=(4, *key, number))
        slide.cells.append(Cell(name, is_infected, CLASSES[0] if labelled else CLASSES[1],
                                image, stream))  # fmt: skip


def _time_stamps(rng: np.random.Generator, identifier: str, fields: int) -> list[str]:
    """Return `date_time` of each photographed field, minutes apart on one day of 2015."""
    day = f"2015{int(rng.integers(6, 11)):02d}{int(rng.integers(1, 29)):02d}"
    start = int(rng.integers(9 * 3600, 16 * 3600))
    stamps = []
    for _ in range(fields):
        start += int(rng.integers(20, 400))
        letter = "a" if identifier.startswith("C5") else ""
        stamps.append(f"{day}_{start // 3600:02d}{start // 60 % 60:02d}{start % 60:02d}{letter}")
    return stamps


# -- one cell ------------------------------------------------------------------------------


def draw_cell(slide: Slide, cell: Cell) -> NDArray[np.uint8]:
    """Return one cell cut out of its slide, black outside: uint8 (height, width, 3)."""
    rng = np.random.default_rng(cell.stream)
    paint = _Paint(rng, slide)
    paint.body()
    if cell.infected:
        paint.parasites()
    else:
        paint.distractions()
    if rng.random() < slide.debris * (0.5 if cell.infected else 1.0):
        paint.specks(int(rng.integers(1, 4)), 1.0)
    if slide.precipitate and rng.random() < 0.85:
        paint.specks(int(rng.integers(4, 14)), 0.8)
    return paint.photograph(slide.images[cell.image])


class _Paint:
    """Layers of dye on a square patch of slide with one cell in its middle."""

    def __init__(self, rng: np.random.Generator, slide: Slide) -> None:
        self.rng, self.slide = rng, slide
        luck = rng.random()
        scale = float(np.exp(0.075 * _clipped(rng)))
        if luck < 0.025:
            scale *= float(rng.uniform(0.36, 0.7))  # a fragment
        self.clump = bool(luck > 0.985)  # two cells that nobody told apart
        self.radius = slide.radius * scale
        reach = 2.45 if self.clump else 1.3
        self.half = math.ceil(reach * self.radius + 4.0)
        size = 2 * self.half + 1
        self.y = np.arange(-self.half, self.half + 1, dtype=np.float64)[:, None]
        self.x = self.y.T
        self.thickness = np.zeros((size, size))
        self.chromatin = np.zeros((size, size))
        self.cytoplasm = np.zeros((size, size))
        self.pigment = np.zeros((size, size))
        self.clear = np.zeros((size, size))
        self.outline = np.zeros((size, size))

    # The body.

    def body(self) -> None:
        """Paint the red cell itself: outline, pale centre, shading, neighbours."""
        rng, radius = self.rng, self.radius
        inside, distance = self._shape(0.0, 0.0, radius)
        torn = rng.random() < self.slide.ragged
        if torn or rng.random() < 0.10:
            inside = np.minimum(inside, self._bites(int(rng.integers(1, 4 if torn else 2))))
        if torn:
            tear = self.smooth(float(rng.uniform(7.0, 16.0))) * float(rng.uniform(2.0, 7.0))
            tear += self.smooth(5.0) * float(rng.uniform(0.5, 2.0))
            side = rng.uniform(0.0, 2.0 * math.pi)
            weight = np.clip(0.3 + (self.y * math.sin(side) + self.x * math.cos(side)) / radius,
                             0.0, 1.2)  # fmt: skip
            inside = inside + tear * weight
        self.thickness = self._profile(inside, distance)
        self.outline = inside
        if self.clump or rng.random() < 0.09:
            self._neighbour()
        self.thickness *= 1.0 + 0.025 * self.smooth(self.radius / 2.5)
        self.thickness *= 1.0 + 0.012 * self.smooth(5.0)
        self.thickness *= float(np.exp(0.08 * _clipped(rng)))

    def _shape(self, y0: float, x0: float, radius: float) -> tuple[_Array, _Array]:
        """Return pixels inside an irregular round outline (negative outside), and radius."""
        rng = self.rng
        dy, dx = self.y - y0, self.x - x0
        distance = np.hypot(dy, dx)
        sizes = [0.16 * rng.normal() / order**1.9 * (1.6 if order == 2 else 1.0)
                 for order in range(2, 8)]  # fmt: skip
        inside = radius * self._wavy(dy, dx, sizes) - distance
        for _ in range(int(rng.integers(0, 3))):  # pressed flat by a neighbour
            angle = rng.uniform(0.0, 2.0 * math.pi)
            wall = radius * rng.uniform(0.82, 1.05)
            inside = np.minimum(inside, wall - dx * math.cos(angle) - dy * math.sin(angle))
        return inside, distance

    def _profile(self, inside: _Array, distance: _Array) -> _Array:
        """Return thickness: 1 in the body, less in the pale centre, falling to 0 at the edge."""
        rng, radius = self.rng, self.radius
        pallor = min(0.72, self.slide.pallor * float(rng.uniform(0.4, 1.3)))
        y0, x0 = 0.12 * radius * rng.normal(size=2)
        width = radius * rng.uniform(0.22, 0.5)
        stretch, angle = rng.uniform(0.75, 1.0), rng.uniform(0.0, math.pi)
        along = (self.x - x0) * math.cos(angle) + (self.y - y0) * math.sin(angle)
        across = (self.y - y0) * math.cos(angle) - (self.x - x0) * math.sin(angle)
        squared = (along**2 + (across / stretch) ** 2) / width**2
        # Products, not powers above 2: numpy's general power is fifty times slower.
        if rng.random() < 0.7:
            shape = 1.0 / (1.0 + squared * (0.6 + 0.5 * squared))
        else:
            shape = 1.0 / (1.0 + squared * squared * squared)
        edge = np.clip(inside / rng.uniform(3.0, 6.0), 0.0, 1.0)
        rim = rng.uniform(-0.03, 0.10) * (distance / radius) ** 2
        return edge * (2.0 - edge) * (1.0 - pallor * shape + rim)

    def _bites(self, count: int) -> _Array:
        """Return a field that is negative where the segmentation bit a piece off."""
        rng, left = self.rng, np.full_like(self.thickness, 1e3)
        for _ in range(count):
            angle = rng.uniform(0.0, 2.0 * math.pi)
            size = self.radius * rng.uniform(0.15, 0.7)
            away = self.radius * rng.uniform(0.92, 1.05) + size * rng.uniform(0.2, 0.7)
            left = np.minimum(left, np.hypot(self.y - away * math.sin(angle),
                                             self.x - away * math.cos(angle)) - size)  # fmt: skip
        return left + 1.2 * self.smooth(5.0)

    def _neighbour(self) -> None:
        """Paint a touching cell, of which the segmentation took a sliver (or all of it)."""
        rng, radius = self.rng, self.radius
        angle = rng.uniform(0.0, 2.0 * math.pi)
        other = radius * rng.uniform(0.85, 1.1)
        away = (radius + other) * (
            rng.uniform(0.86, 1.0) if self.clump else rng.uniform(0.95, 1.02)
        )
        away = min(away, self.half - other) if self.clump else away
        y0, x0 = away * math.sin(angle), away * math.cos(angle)
        inside, _ = self._shape(y0, x0, other)
        edge = np.clip(inside / 4.0, 0.0, 1.0)
        beyond = edge * (2.0 - edge) * rng.uniform(0.85, 1.1)
        overlap = rng.uniform(0.0, 0.5) * np.minimum(self.thickness, beyond)
        self.thickness = np.maximum(self.thickness, beyond) + overlap
        if not self.clump:
            cut = radius * rng.uniform(0.95, 1.22)
            inside = np.minimum(inside, cut - self.x * math.cos(angle) - self.y * math.sin(angle))
            inside = inside + 1.5 * self.smooth(5.0)
        self.outline = np.maximum(self.outline, inside)

    # Parasites.

    def parasites(self) -> None:
        """Paint one parasite or more, of the stages in their usual proportion."""
        rng = self.rng
        strength = self.slide.strength * float(np.clip(np.exp(0.2 * rng.normal()), 0.6, 1.4))
        kind = rng.random()
        if kind < 0.76:
            for _ in range(1 + (rng.random() < 0.20) + (rng.random() < 0.05)):
                self._ring(strength)
        elif kind < 0.94:
            self._trophozoite(strength)
        elif kind < 0.99:
            self._schizont(strength)
        else:
            self._gametocyte(strength)
        if rng.random() < 0.14:  # stippling of the host cell
            self.specks(int(rng.integers(5, 16)), 0.28 * strength)

    def _ring(self, strength: float) -> None:
        """Paint a ring: thin band of cytoplasm, paler vacuole, one or two dots of chromatin."""
        rng, radius = self.rng, self.radius
        young = rng.random() < 0.45
        y0, x0 = self._place(0.93 if rng.random() < 0.3 else 0.78, inside=True)
        size = radius * (rng.uniform(0.11, 0.20) if young else rng.uniform(0.18, 0.33))
        stretch = rng.uniform(0.65, 1.0)
        tilt, start = rng.uniform(0.0, math.pi, 2) * np.array([1.0, 2.0])
        view, dy, dx = self._window(y0, x0, 2.2 * size)
        along = dx * math.cos(tilt) + dy * math.sin(tilt)
        across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / stretch
        distance = np.hypot(along, across)
        facing = (along * math.cos(start) + across * math.sin(start)) / np.maximum(distance, 1e-9)
        width = size * rng.uniform(0.12, 0.26) * (1.0 - rng.uniform(0.0, 0.45) * facing)
        band = np.exp(-(((distance - size) / np.maximum(width, 0.7)) ** 2))
        if rng.random() < 0.5:  # an open ring
            band *= np.clip(0.9 + rng.uniform(0.5, 1.1) * facing, 0.05, 1.0)
        faint = rng.uniform(0.15, 0.7) if young else rng.uniform(0.4, 1.1)
        self.cytoplasm[view] += faint * strength * band
        hollow = (distance / (0.75 * size)) ** 2
        self.clear[view] += rng.uniform(0.0, 0.35) * np.exp(-hollow * hollow)
        dot = radius * (rng.uniform(0.065, 0.11) if young else rng.uniform(0.08, 0.135))
        for number in range(1 + (rng.random() < 0.18)):
            angle = start + number * rng.uniform(0.6, 3.0)
            out, side = size * math.cos(angle), size * stretch * math.sin(angle)
            self.dot(self.chromatin,
                     y0 + out * math.sin(tilt) + side * math.cos(tilt),
                     x0 + out * math.cos(tilt) - side * math.sin(tilt),
                     dot, strength * rng.uniform(0.6, 1.2) * (0.75 if young else 1.0))  # fmt: skip

    def _trophozoite(self, strength: float) -> None:
        """Paint a growing parasite: an irregular body, chromatin, some pigment."""
        rng, radius = self.rng, self.radius
        y0, x0 = self._place(0.65, inside=True)
        size = radius * rng.uniform(0.15, 0.32)
        view, dy, dx = self._window(y0, x0, 1.9 * size)
        distance = np.hypot(dy, dx)
        edge = self._wavy(dy, dx, [0.42 * rng.normal() / order for order in range(2, 6)])
        depth = np.clip((size * np.maximum(edge, 0.25) - distance) / (0.35 * size) + 0.5, 0.0, 1.0)
        grain = self.smooth(5.0)[view]
        self.cytoplasm[view] += (strength * rng.uniform(0.6, 1.1) * depth
                                 * np.maximum(1.0 + 0.22 * grain, 0.2))  # fmt: skip
        if rng.random() < 0.5:
            hole = size * rng.uniform(0.25, 0.45)
            off = 0.35 * size * rng.normal(size=2)
            squared = ((dy - off[0]) ** 2 + (dx - off[1]) ** 2) / hole**2
            self.cytoplasm[view] *= 1.0 - 0.8 * np.exp(-(squared**2))
        spread = 0.4 * size
        for _ in range(1 + (rng.random() < 0.3)):
            off = spread * rng.normal(size=2)
            dot = radius * rng.uniform(0.06, 0.12)
            dark = strength * rng.uniform(0.6, 1.2)
            self.dot(self.chromatin, y0 + off[0], x0 + off[1], dot, dark)
        for _ in range(int(rng.integers(0, 5))):
            off = spread * rng.normal(size=2)
            self.dot(self.pigment, y0 + off[0], x0 + off[1], 0.022 * radius, rng.uniform(0.3, 0.8))

    def _schizont(self, strength: float) -> None:
        """Paint a dividing parasite: many dots around a clump of pigment."""
        rng, radius = self.rng, self.radius
        y0, x0 = self._place(0.4, inside=True)
        size = radius * rng.uniform(0.25, 0.45)
        self.dot(self.cytoplasm, y0, x0, 1.15 * size, strength * rng.uniform(0.4, 0.9))
        for _ in range(int(rng.integers(6, 19))):
            angle, away = rng.uniform(0.0, 2.0 * math.pi), size * math.sqrt(rng.uniform(0.04, 0.9))
            dot, dark = radius * rng.uniform(0.045, 0.07), strength * rng.uniform(0.4, 0.9)
            y1, x1 = y0 + away * math.sin(angle), x0 + away * math.cos(angle)
            self.dot(self.chromatin, y1, x1, dot, dark)
        self.dot(self.pigment, y0, x0, radius * rng.uniform(0.05, 0.09), rng.uniform(0.6, 1.0))

    def _gametocyte(self, strength: float) -> None:
        """Paint a sexual stage: a crescent with its chromatin and pigment in the middle."""
        rng, radius = self.rng, self.radius
        angle, bend = rng.uniform(0.0, 2.0 * math.pi), radius * rng.uniform(0.9, 1.5)
        along = self.x * math.cos(angle) + self.y * math.sin(angle)
        across = self.y * math.cos(angle) - self.x * math.sin(angle)
        arc = np.hypot(along, across - bend) - bend
        length = radius * rng.uniform(0.5, 0.66)
        width = radius * rng.uniform(0.15, 0.21)
        squared = (along / length) ** 2
        taper = np.clip(1.0 - squared * squared, 0.0, 1.0)
        body = np.clip((width * taper - np.abs(arc)) / (0.4 * width), 0.0, 1.0)
        body *= across < bend
        self.cytoplasm += strength * rng.uniform(0.8, 1.3) * body
        for _ in range(int(rng.integers(4, 9))):
            off = 0.10 * radius * rng.normal(size=2)
            self.dot(self.pigment, off[0], off[1], 0.025 * radius, rng.uniform(0.4, 0.9))
        self.dot(self.chromatin, 0.0, 0.0, 0.12 * radius, 0.45 * strength)

    # What looks like a parasite and is none.

    def distractions(self) -> None:
        """Paint what lies on a healthy cell now and then."""
        rng = self.rng
        if rng.random() < self.slide.platelets:
            self._platelet()
        if rng.random() < self.slide.remnants:  # a remnant of the nucleus (Howell-Jolly body)
            y0, x0 = self._place(0.75)
            self.dot(self.chromatin, y0, x0, self.radius * rng.uniform(0.035, 0.075),
                     rng.uniform(0.4, 1.0))  # fmt: skip
        if rng.random() < 0.025:
            self._air()
        if rng.random() < 0.03:  # a fold or scratch
            angle = rng.uniform(0.0, math.pi)
            off = self.radius * rng.uniform(-0.6, 0.6)
            line = self.x * math.cos(angle) + self.y * math.sin(angle) - off
            self.cytoplasm += rng.uniform(0.1, 0.3) * np.exp(-((line / rng.uniform(1.5, 4.0)) ** 2))

    def _platelet(self) -> None:
        """Paint a platelet on the cell or at its edge: granular, violet, with a pale hem."""
        rng, radius = self.rng, self.radius
        y0, x0 = self._place(1.0)
        size = radius * rng.uniform(0.11, 0.24)
        view, dy, dx = self._window(y0, x0, 2.0 * size)
        grain = self.smooth(4.0)[view]
        distance = np.hypot(dy, dx * rng.uniform(0.7, 1.3)) * (1.0 + 0.15 * self.smooth(6.0)[view])
        squared = (distance / size) ** 2
        body = 1.0 / (1.0 + squared * squared)
        hem = np.exp(-(((distance - 1.25 * size) / (0.25 * size)) ** 2))
        strength = rng.uniform(0.4, 0.9)
        self.chromatin[view] += strength * body * np.maximum(0.5 + 0.25 * grain, 0.0)
        self.cytoplasm[view] += strength * 0.6 * body
        self.clear[view] += 0.3 * hem
        self.outline[view] = np.maximum(self.outline[view], size * 1.2 - distance)

    def _air(self) -> None:
        """Paint a white refractile spot with a dark hem: water or air under the cover."""
        rng, radius = self.rng, self.radius
        y0, x0 = self._place(0.7)
        size = radius * rng.uniform(0.06, 0.22)
        view, dy, dx = self._window(y0, x0, 2.2 * size)
        distance = np.hypot(dy, dx * rng.uniform(0.6, 1.4)) / size
        self.clear[view] += rng.uniform(0.4, 1.0) / (1.0 + (distance * distance) ** 2)
        self.pigment[view] += rng.uniform(0.0, 0.12) * np.exp(-(((distance - 1.2) / 0.25) ** 2))

    def specks(self, count: int, strength: float) -> None:
        """Paint specks of stain of a size near that of chromatin."""
        rng = self.rng
        for _ in range(count):
            y0, x0 = self._place(1.05)
            size = self.radius * float(np.clip(0.030 * np.exp(0.45 * rng.normal()), 0.012, 0.085))
            self.dot(self.chromatin, y0, x0, size, strength * rng.uniform(0.3, 1.0))

    # Strokes.

    def _wavy(self, dy: _Array, dx: _Array, sizes: list[float]) -> _Array:
        """Return 1 + waves around the point where dy = dx = 0: the first goes round twice."""
        # The place along a square's edge stands for the angle: it needs no arc tangent.
        # 512 steps lead from -1 to 1 with dy below 0, 512 back; between the two halves
        # the square's place is the same, so a table of angles is looked up exactly.
        place = np.linspace(-1.0, 1.0, 512)
        height = 1.0 - np.abs(place)
        angles = np.arctan2(np.append(-height, height), np.append(place, place))
        table = np.ones(1024)
        for order, size in enumerate(sizes, start=2):
            table += size * np.cos(order * angles + self.rng.uniform(0.0, 2.0 * math.pi))
        steps = dx / (np.abs(dx) + np.abs(dy) + 1e-9)
        steps *= 255.5
        steps += 256.0 + 512.0 * (dy > 0.0)
        entries: _Array = table.take(steps.astype(np.intp))
        return entries

    def dot(self, layer: _Array, y0: float, x0: float, size: float, strength: float) -> None:
        """Add a soft-edged, slightly oval spot of radius `size` pixels to a layer."""
        stretch, angle = self.rng.uniform(0.6, 1.0), self.rng.uniform(0.0, math.pi)
        size = max(size, 1.0)
        view, dy, dx = self._window(y0, x0, 2.2 * size)
        along = dx * math.cos(angle) + dy * math.sin(angle)
        across = (dy * math.cos(angle) - dx * math.sin(angle)) / stretch
        squared = (along**2 + across**2) / size**2
        layer[view] += strength / (1.0 + squared * squared * squared)

    def smooth(self, scale: float) -> _Array:
        """Return smooth noise, about standard normal, with features of `scale` pixels."""
        step = max(2, round(scale))
        size = self.thickness.shape[0]
        few = size // step + 3
        field = self.rng.normal(size=(few, few))
        for axis in (0, 1):
            field = np.repeat(field, step, axis=axis)
            field = ndimage.uniform_filter1d(field, step, axis=axis, mode="nearest")
            field = ndimage.uniform_filter1d(field, step, axis=axis, mode="nearest")
        return 1.9 * field[step : step + size, step : step + size]

    def _place(self, reach: float, inside: bool = False) -> tuple[float, float]:
        """Return a point, evenly spread up to `reach` radii from the cell's middle.

        With `inside`, a point that a bite or a tear took away is drawn again.
        """
        y0 = x0 = 0.0
        for _ in range(12):
            angle = self.rng.uniform(0.0, 2.0 * math.pi)
            away = self.radius * reach * math.sqrt(self.rng.random())
            y0, x0 = away * math.sin(angle), away * math.cos(angle)
            if not inside or self.outline[round(y0) + self.half, round(x0) + self.half] > 1.0:
                break
        return y0, x0

    def _window(
        self, y0: float, x0: float, reach: float
    ) -> tuple[tuple[slice, slice], _Array, _Array]:
        """Return the part of the patch around a point, and offsets from the point in it."""
        low_y, low_x = (max(0, math.floor(v - reach) + self.half) for v in (y0, x0))
        high_y, high_x = (max(0, math.ceil(v + reach) + self.half + 1) for v in (y0, x0))
        view = (slice(low_y, high_y), slice(low_x, high_x))
        return view, self.y[view[0]] - y0, self.x[:, view[1]] - x0

    # The microscope.

    def photograph(self, light: _Array) -> NDArray[np.uint8]:
        """Return what the camera sees of the cell, cut out and black outside: uint8 RGB."""
        slide, rng = self.slide, self.rng
        mask = self._segment()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        wide = tuple(slice(max(0, part.start - 6), part.stop + 6) for part in box)
        inner = tuple(slice(part.start - more.start, part.stop - more.start)
                      for part, more in zip(box, wide, strict=True))  # fmt: skip
        thickness = self.thickness[wide] * (1.0 - np.minimum(self.clear[wide], 1.0))
        dyes = [(thickness, slide.body), (self.cytoplasm[wide], slide.cytoplasm),
                (self.chromatin[wide], slide.chromatin),
                (self.pigment[wide], np.array([0.9, 0.9, 1.1]))]  # fmt: skip
        dyes = [(layer, colour) for layer, colour in dyes if layer.any()]
        gain = light[0] * (1.0 + light[1] * self.y[wide[0]] / self.radius
                           + light[2] * self.x[:, wide[1]] / self.radius)  # fmt: skip
        blur = slide.sharpness * float(np.exp(0.18 * _clipped(rng)))
        height, width = mask[box].shape
        picture = np.zeros((height, width, 3))
        grain, other = self._grain((height, width)), self._grain((height, width + 6))
        for channel in range(3):
            density = np.zeros_like(thickness)
            for layer, colour in dyes:
                density -= layer * colour[channel]
            seen = np.exp(density, out=density)
            seen *= slide.background[channel] * gain
            seen = ndimage.gaussian_filter(seen, blur * (1.0, 0.92, 1.1)[channel], truncate=3.0)
            mixed = 0.8 * grain + 0.6 * other[:, 3 * channel : 3 * channel + width]
            picture[..., channel] = seen[inner] + slide.noise * mixed
        picture = np.clip(np.rint(picture), 1.0, 255.0) * mask[box][..., None]
        return picture.astype(np.uint8)

    def _grain(self, shape: tuple[int, int]) -> _Array:
        """Return noise as a colour camera leaves it: correlated over neighbouring pixels."""
        # Nine even random numbers add up to one that is normal enough.
        raw = (self.rng.random((shape[0] + 2, shape[1] + 2)) - 0.5) * math.sqrt(12.0)
        rows = raw[:-2] + 2.0 * raw[1:-1] + raw[2:]
        both = rows[:, :-2] + 2.0 * rows[:, 1:-1] + rows[:, 2:]
        return both / 6.0

    def _segment(self) -> NDArray[np.bool_]:
        """Return the mask that the archive's segmentation would cut out: one piece, no holes."""
        rng = self.rng
        ragged = 0.5 * self.smooth(4.0) * rng.uniform(0.2, 1.2)
        mask: NDArray[np.bool_] = self.outline + self.slide.halo + ragged > 0.0
        pieces, count = ndimage.label(mask)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            mask = pieces == int(np.argmax(sizes))
        if ndimage.label(~mask)[1] > 1:  # cheaper than filling what has no hole
            mask = np.asarray(ndimage.binary_fill_holes(mask))
        return mask


def _clipped(rng: np.random.Generator, size: int | None = None) -> _Array:
    """Return standard normal numbers, none beyond 2 (a scalar array without `size`)."""
    return np.clip(np.asarray(rng.normal(size=size)), -2.0, 2.0)


# -- files ---------------------------------------------------------------------------------

_THUMBS = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
"""Stands for the thumbnail cache that a file browser left in the real archive."""


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as PNG."""
    Image.fromarray(picture).save(path, format="PNG", compress_level=2)


def _write_damaged(folder: Path, slides: list[Slide]) -> list[tuple[str, str]]:
    """Write files that cannot be read as pictures; return their class and name."""
    donors = [slide for slide in slides if slide.mixed][:2] + slides[-1:]
    damaged = []
    for number, kind in enumerate(("truncated", "empty", "text", "truncated")):
        donor = donors[number % len(donors)]
        class_name = CLASSES[number % 2] if donor.mixed else CLASSES[1]
        cell = donor.cells[number % len(donor.cells)]
        name = f"{cell.name.rpartition('_')[0]}_{197 + len(donor.cells) + number}.png"
        if kind == "truncated":
            buffer = io.BytesIO()
            Image.fromarray(draw_cell(donor, cell)).save(buffer, format="PNG")
            content = buffer.getvalue()[: len(buffer.getvalue()) // 2]
        else:
            content = b"" if kind == "empty" else b"404 Not Found: this is not a picture.\n"
        (folder / class_name / name).write_bytes(content)
        damaged.append((class_name, name))
    return damaged


def _write_map(
    root: Path, class_name: str, slides: list[Slide], damaged: list[tuple[str, str]]
) -> None:
    """Write NLM's map of one class: `id,['name', 'name'],,,` a line, no header, equal commas.

    The list is plain text: its commas are those of the table, nothing is quoted, and
    short lines are filled with empty cells, as a spreadsheet leaves them.
    """
    lines: dict[str, list[str]] = {}
    for slide in sorted(slides, key=lambda one: one.identifier):
        names = [cell.name for cell in slide.cells if cell.folder == class_name]
        start = f"{slide.identifier}_IMG_"
        names += [n for where, n in damaged if where == class_name and n.startswith(start)]
        if names:
            lines[slide.identifier] = sorted(names)
    longest = max(len(names) for names in lines.values())
    text = "".join(
        f"{identifier},{names!r}{',' * (longest - len(names))}\r\n"
        for identifier, names in lines.items()
    )
    path = root / f"patientid_cellmapping_{class_name.lower()}.csv"
    path.write_bytes(text.encode("ascii"))
