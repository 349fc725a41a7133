"""Draws a synthetic twin of the LGG set: brain slices in volumes, with tumours and their masks.

The twin has what makes the real set instructive: slices of one patient are cut from one
smooth solid, so neighbours are alike and a split by slices flatters; every patient has a
skull, a tilt, a scanner and colours of their own; the tumour is bright in FLAIR, and so is
much else (scalp, mucosa, rims of the ventricles, old spots in the white matter); its
border is soft, and whoever drew the mask was not exact; some patients lack a sequence;
the table ``data_mask.csv`` says wrong patients; a few files are damaged.

How a head is drawn: anatomy is a stack of solids (ellipsoids and tubes) in millimetres,
x to the patient's left, y to the back, z to the vertex, with the foramen of Monro near the
origin. Folds of the cortex are the zero surfaces of a smooth random field, stretched
towards the middle. Each voxel gets a brightness for each of the three sequences; coil,
blur, motion between the sequences and noise come last. Voxels are made by
sums, products and square roots alone, so that pixels are the same on every machine.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from helpers.paths import atomic_folder

VERSION: int = 1
"""Grows whenever a change here changes a pixel or a file name."""

SIZE = 128
"""Height and width of a slice in pixels (256 in the real set)."""
TABLE = "data_mask.csv"

_Array = NDArray[np.float32]
_Bytes = NDArray[np.uint8]
_Line = NDArray[np.floating]
_View = EllipsisType | tuple[slice, slice, slice]
_Point = tuple[float, float, float]


def draw(
    folder: Path, seed: int = 0, patients: int = 32, slices: tuple[int, int] = (20, 28)
) -> None:
    """Draw the sample into `folder`, in the layout of the real archive.

    `folder` gets `kaggle_3m/<patient>/<patient>_<n>.tif` (uint8 RGB: pre-contrast, FLAIR,
    post-contrast), beside each its `_mask.tif` (uint8, 0 or 255), and `data_mask.csv` with
    the real one's defect: the right number of rows for each patient, in the wrong places.
    Damaged and stray files come on top of the planned slices.

    Args:
        folder: must not exist yet, or be empty; appears at once when all is drawn.
        seed: rules every pixel and every name.
        patients: how many volumes, at least 1.
        slices: fewest and most slices of a volume; at least 4.

    Raises:
        ValueError: a number is too small.
        FileExistsError: `folder` has something in it.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be 0 or more.")
    if patients < 1 or slices[0] < 4 or slices[1] < slices[0]:
        raise ValueError(f"{patients} patients with {slices[0]} to {slices[1]} slices: at least "
                         "1 patient, and 4 slices or more, are needed.")  # fmt: skip
    plan = plan_patients(seed, patients, slices)
    # Two notebooks that start at once draw the same sample: the first to finish wins.
    with atomic_folder(folder, keep_existing=True) as root:
        rows: list[tuple[str, int, bool]] = []
        for patient in plan:
            images, masks = draw_volume(patient)
            own = root / "kaggle_3m" / patient.identifier
            own.mkdir(parents=True)
            for number, (image, mask) in enumerate(zip(images, masks, strict=True), start=1):
                _save(image, own / f"{own.name}_{number}.tif")
                _save(mask, own / f"{own.name}_{number}_mask.tif")
                rows.append((own.name, number, bool(mask.any())))
        rows += _write_damaged(root / "kaggle_3m", plan)
        _write_table(root / TABLE, rows, plan)


# -- the plan: who is scanned how, and where the tumour sits ---------------------------------


@dataclass(frozen=True)
class Tumour:
    """A glioma: its lobes, and how each sequence shows it.

    Lobes are `(x, y, z, radius)` in mm; brightness is a share of white matter's.
    """

    lobes: tuple[tuple[float, float, float, float], ...]
    light: _Point
    """Brightness in pre-contrast, FLAIR, post-contrast."""
    softness: float
    """Width of its border in mm."""
    swelling: float
    """How far, in mm, oedema reaches into the white matter around."""
    cyst: float
    """Share of its radius that is fluid, 0 for none."""
    ring: float
    """How much its rim takes up contrast, 0 for not at all."""
    push: float
    """How strongly it pushes the brain aside, 0-0.5."""
    patchy: float
    """How uneven it is."""


@dataclass(frozen=True)
class Patient:
    """One patient in one scanner: everything that their slices have in common."""

    identifier: str
    stream: np.random.SeedSequence
    heights: NDArray[np.float64]
    """Height of each slice's middle in mm, from the neck to the vertex."""
    thickness: float
    pixel: float
    """Width of a pixel in mm."""
    middle: tuple[float, float]
    """Row and column of the head's middle."""
    pitch: float
    roll: float
    """Nodding and turning of the head in the slice, radians."""
    scale: _Point
    bend: _Point
    """Asymmetry of the head (mm at 100 mm from the middle)."""
    ventricles: float
    """Width of the ventricles, 1 = typical."""
    shrunken: float
    """Width of the furrows between the folds in mm."""
    scalp: float
    spots: int
    """How many old bright spots lie in the white matter."""
    fat: _Point
    grey: _Point
    gain: _Point
    """Brightness of fat and grey matter beside white matter, and grey level of the latter."""
    coil: _Point
    """How much brighter it gets towards one side: along x, y and z."""
    noise: _Point
    cleared: float
    """The scanner writes 0 for air: for whatever is darker than so many times the noise."""
    shift: tuple[tuple[float, float], ...]
    """How far the head moved between the sequences, pixels."""
    fog: _Point
    """Grey level of the air in each sequence."""
    cut: tuple[float, ...]
    """How many mm of the lowest and highest slices each sequence leaves out."""
    markers: bool
    """Whether markers for surgery stick to the scalp."""
    missing: tuple[int, ...]
    """Sequences that were not made (FLAIR stands in their place)."""
    tumour: Tumour


# Where low-grade gliomas like to grow: middle (right side; the left is mirrored), frequency.
_PLACES: tuple[tuple[_Point, float], ...] = (
    ((30.0, -42.0, 20.0), 0.24),  # frontal
    ((17.0, -30.0, 42.0), 0.16),  # frontal, near the midline
    ((42.0, -14.0, -16.0), 0.20),  # temporal
    ((37.0, -8.0, 4.0), 0.16),  # insular
    ((34.0, 26.0, 36.0), 0.16),  # parietal
    ((27.0, 54.0, 10.0), 0.08),  # occipital
)
_SITES = ("CS", "DU", "EZ", "FG", "HT")


def plan_patients(seed: int, patients: int, slices: tuple[int, int]) -> list[Patient]:
    """Return everybody's head, tumour and scanner; sequences lack for every eighth patient."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    identifiers = _identifiers(rng, patients)
    counts = rng.integers(slices[0], slices[1] + 1, patients)
    places = (np.arange(patients) + 0.5) / patients
    kinds = rng.permutation(np.searchsorted(np.cumsum([p[1] for p in _PLACES]), places))
    order = rng.permutation(patients)
    lacking = {int(order[i]): ((0, 2) if i % 2 else (2,)) for i in range(patients // 8)}
    hazy = {int(order[-1])} if patients > 8 else set()
    plan = []
    for number in range(patients):
        stream = np.random.SeedSequence(seed, spawn_key=(1, number))
        kind = min(int(kinds[number]), len(_PLACES) - 1)
        plan.append(_plan_patient(stream, identifiers[number], int(counts[number]), kind,
                                  lacking.get(number, ()), number in hazy))  # fmt: skip
    return plan


def _identifiers(rng: np.random.Generator, patients: int) -> list[str]:
    """Return folder names like the real ones; codes begin with 9 or Z, as no real one does."""
    names = []
    codes = 9000 + rng.permutation(max(1000, patients))[:patients]
    for code in codes:
        site = _SITES[int(rng.choice(len(_SITES), p=(0.16, 0.34, 0.04, 0.2, 0.26)))]
        letters = "".join("ABKRTUW456"[int(place)] for place in rng.integers(0, 10, 2))
        text = f"Z{str(code)[-1]}{letters}" if rng.random() < 0.15 else str(code)
        date = f"{rng.integers(1994, 2005)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
        names.append(f"TCGA_{site}_{text}_{date}")
    if len({name.rpartition("_")[0] for name in names}) < patients:
        return _identifiers(rng, patients)
    return sorted(names)


def _plan_patient(
    stream: np.random.SeedSequence,
    identifier: str,
    count: int,
    kind: int,
    missing: tuple[int, ...],
    hazy: bool,
) -> Patient:
    """Return one patient: what chance gave them of everything."""
    rng = np.random.default_rng(stream)
    lowest, highest = rng.uniform(-74.0, -56.0), rng.uniform(73.0, 82.0)
    size = rng.normal(1.03, 0.03)
    level = float(np.exp(rng.normal(4.08, 0.20)))
    dull = rng.normal(0.0, 0.17, 3)
    fatness = np.clip(rng.normal(0.0, 0.22, 3), -0.4, 0.35)
    grain = (0.6 + 2.0 * rng.beta(1.0, 2.0)) * rng.uniform(0.7, 1.4, 3)
    old = rng.beta(1.2, 2.2)
    short = rng.random(3) < (0.25, 0.55, 0.45)
    scale = tuple(float(size * np.clip(rng.normal(1.0, 0.028), 0.93, 1.07)) for _ in range(3))
    return Patient(
        identifier=identifier,
        stream=stream,
        heights=np.linspace(lowest, highest, count) * scale[2],
        thickness=0.8 * (highest - lowest) / count,
        pixel=float(rng.choice((1.72, 1.88, 1.88, 2.03, 2.25)) * rng.uniform(0.98, 1.02)),
        middle=(SIZE / 2 + rng.normal(0.0, 3.2), SIZE / 2 + rng.normal(0.0, 2.5)),
        pitch=float(rng.normal(0.02, 0.12)),
        roll=float(rng.normal(0.0, 0.06)),
        scale=(scale[0], scale[1], scale[2]),
        bend=_three(rng.normal(0.0, 2.0, 3)),
        ventricles=float(0.75 + 0.55 * old + rng.uniform(-0.15, 0.25)),
        shrunken=float(0.35 + 1.1 * old + rng.uniform(0.0, 0.3)),
        scalp=float(rng.uniform(3.5, 7.5)),
        spots=int(rng.poisson(1.0 + 7.0 * old)),
        fat=_three(np.array((1.95, 1.6, 1.8)) * np.exp(fatness)),
        grey=_three(np.array((0.81, 1.19, 0.86)) + np.clip(rng.normal(0.0, 0.05, 3), -0.1, 0.1)),
        gain=_three(level * np.exp(dull)),
        coil=_three(rng.normal(0.0, (0.09, 0.13, 0.14))),
        noise=_three(grain * np.array((0.85, 1.15, 0.85))),
        cleared=float(rng.choice((0.0, 1.5, 2.6, 3.2), p=(0.15, 0.15, 0.3, 0.4))),
        shift=tuple((float(a), float(b)) for a, b in rng.normal(0.0, 0.28, (3, 2))),
        fog=_three(2.5 * rng.beta(0.5, 2.0, 3) + (np.array((70.0, 0.0, 0.0)) if hazy else 0.0)),
        cut=tuple(float(v) for v in rng.uniform(2.0, 12.0, 3) * short),
        markers=bool(rng.random() < 0.25),
        missing=missing,
        tumour=_plan_tumour(rng, kind),
    )


def _plan_tumour(rng: np.random.Generator, kind: int) -> Tumour:
    """Return a tumour at about the given place: large or small, plain or faint."""
    place = np.array(_PLACES[kind][0]) + rng.normal(0.0, 4.5, 3)
    place[0] = abs(place[0]) * rng.choice((-1.0, 1.0))
    radius = float(np.clip(np.exp(rng.normal(3.12, 0.27)), 12.0, 33.0))
    lobes = [(float(place[0]), float(place[1]), float(place[2]), radius)]
    for _ in range(int(rng.integers(1, 4))):
        way = rng.normal(size=3)
        at = place + way / np.sqrt((way**2).sum()) * radius * rng.uniform(0.6, 1.0)
        lobes.append((float(at[0]), float(at[1]), float(at[2]), radius * rng.uniform(0.4, 0.75)))
    bright = float(rng.choice((0.18, 0.42, 0.66), p=(0.33, 0.37, 0.3)) * rng.uniform(0.85, 1.2))
    dark = 1.0 - rng.uniform(0.12, 0.45)
    return Tumour(
        lobes=tuple(lobes),
        light=(dark, 1.15 + bright, dark * float(rng.uniform(0.9, 1.1))),
        softness=float(rng.uniform(3.5, 9.0)),
        swelling=float(rng.uniform(0.0, 11.0)),
        cyst=float(rng.uniform(0.3, 0.6)) if rng.random() < 0.22 else 0.0,
        ring=float(rng.uniform(0.5, 1.1)) if rng.random() < 0.22 else 0.0,
        push=float(rng.uniform(0.05, 0.4)),
        patchy=float(rng.uniform(0.03, 0.2)),
    )


def _three(values: NDArray[np.float64]) -> _Point:
    """Return three numbers as a tuple of plain floats."""
    first, second, third = (float(value) for value in values)
    return first, second, third


# -- one volume ------------------------------------------------------------------------------


def draw_volume(patient: Patient) -> tuple[_Bytes, _Bytes]:
    """Return a patient's slices and masks, from the neck to the vertex.

    Returns:
        Images, uint8 (slices, 128, 128, 3): pre-contrast, FLAIR, post-contrast; and masks,
        uint8 (slices, 128, 128) of 0 and 255.
    """
    head = _Head(patient)
    head.face()
    head.brain()
    head.middle_of_the_brain()
    head.tumour()
    return head.scan(), head.outline()


# Brightness of a tissue beside white matter: pre-contrast, FLAIR, post-contrast.
_BONE: _Point = (0.16, 0.15, 0.18)
_MARROW: _Point = (0.75, 0.55, 0.85)
_FLUID: _Point = (0.30, 0.17, 0.32)
_WHITE: _Point = (1.0, 0.95, 1.02)
_MUSCLE: _Point = (0.66, 0.44, 0.78)
_MUCOSA: _Point = (0.75, 1.35, 1.9)
_AIR: _Point = (0.03, 0.03, 0.03)
_VESSEL: _Point = (0.4, 0.3, 2.2)

# The right lateral ventricle as a tube: points with radius, mm.
_VENTRICLE: tuple[tuple[float, float, float, float], ...] = (
    (14.0, -35.0, 10.0, 2.6),
    (7.5, -22.0, 14.0, 3.8),
    (7.5, -4.0, 20.0, 4.2),
    (13.0, 17.0, 20.0, 4.8),
    (24.0, 32.0, 11.0, 5.6),
    (22.0, 47.0, 6.0, 2.8),
)
_TEMPORAL_HORN: tuple[tuple[float, float, float, float], ...] = (
    (24.0, 29.0, 6.0, 4.5),
    (33.0, 16.0, -9.0, 2.8),
    (31.0, -4.0, -19.0, 2.2),
)
_VESSELS: tuple[tuple[_Point, _Point], ...] = (
    ((0.0, 82.0, 10.0), (4.0, 4.5, 40.0)),
    ((0.0, 0.0, 71.0), (4.5, 60.0, 3.5)),
    ((0.0, -82.0, 20.0), (2.2, 2.5, 24.0)),
    ((0.0, 40.0, 2.0), (2.0, 14.0, 3.0)),
    ((0.0, 20.0, -13.0), (1.8, 1.8, 12.0)),
)
"""Middles and radii of the large vessels near the midline, mm."""
_FLAT = 0.6
"""Ventricles are higher than wide: heights count for so much in a tube's width."""
_SUB = 2
"""Planes that a slice is averaged from: what lies oblique in it gets blurred, as in truth."""


class _Head:
    """A head under construction: coordinates of every voxel, and its brightness."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.rng = np.random.default_rng(patient.stream.spawn(1)[0])
        steps = (np.arange(_SUB) + 0.5) / _SUB - 0.5
        heights = (patient.heights[:, None] + patient.thickness * steps).ravel()
        self.planes = heights
        row = (np.arange(SIZE) - patient.middle[0]) * patient.pixel
        column = (np.arange(SIZE) - patient.middle[1]) * patient.pixel
        self._place(heights[:, None, None], row[None, :, None], column[None, None, :])
        self.light = np.zeros((3, len(heights), SIZE, SIZE), np.float32)
        self.soft = 0.9 * patient.pixel

    def _place(self, w: _Line, v: _Line, u: _Line) -> None:
        """Work out each voxel's place in the head: turn, nod, scale and bend the scanner's axes."""
        one = self.patient
        cos, sin = math.cos(one.roll), math.sin(one.roll)
        nod, dip = math.cos(one.pitch), math.sin(one.pitch)
        # rows of the matrix from the scanner's (u, v, w) to the head's (x, y, z)
        turn = np.array(((cos, sin, 0.0), (-sin * nod, cos * nod, -dip),
                         (-sin * dip, cos * dip, nod)))  # fmt: skip
        self.turn = turn / np.array(one.scale)[:, None]
        x, y, z = ((r[0] * u + r[1] * v + r[2] * w).astype(np.float32) for r in self.turn)
        bend = [np.float32(value / 1e4) for value in one.bend]
        x += bend[0] * y * np.abs(y) + bend[1] * y * z
        y += bend[2] * x * z
        self.x, self.y, self.z = x, y, z

    # Solids.

    def window(self, centre: _Point, reach: _Point) -> tuple[slice, slice, slice] | None:
        """Return the part of the volume that holds a box around a point, or None."""
        back = np.linalg.inv(self.turn)
        at = back @ np.array(centre)
        half = np.abs(back) @ np.array(reach) + 5.0
        inside = np.flatnonzero(np.abs(self.planes - at[2]) <= half[2])
        if not len(inside):
            return None
        one = self.patient
        parts = [slice(int(inside[0]), int(inside[-1]) + 1)]
        for middle, axis in zip(one.middle, (1, 0), strict=True):
            place, size = at[axis], half[axis]
            low = math.floor((place - size) / one.pixel + middle)
            high = math.ceil((place + size) / one.pixel + middle) + 1
            if high <= 0 or low >= SIZE:
                return None
            parts.append(slice(max(0, low), min(SIZE, high)))
        return parts[0], parts[1], parts[2]

    def ball(self, centre: _Point, radii: _Point, view: _View = ..., inner: bool = False) -> _Array:
        """Return how deep each voxel lies in an ellipsoid, mm (negative outside)."""
        x, y, z = self._at(view, inner)
        a, b, c = (np.float32(1.0 / radius**2) for radius in radii)
        dx, dy, dz = (axis - np.float32(at) for axis, at in zip((x, y, z), centre, strict=True))
        for away in (dx, dy, dz):
            away *= away
        length = np.sqrt(a * dx + b * dy + c * dz)
        # distance to the surface is about (1 - length) * length / |gradient|
        depth: _Array = (1.0 - length) * length
        depth /= np.sqrt((a * a) * dx + (b * b) * dy + (c * c) * dz) + np.float32(1e-4)
        return depth

    def solid(self, centre: _Point, radii: _Point, inner: bool = False) -> _Array:
        """Return `ball` for the whole volume, but exact only within 20 mm of the ellipsoid."""
        depth = np.full(self.x.shape, -30.0, np.float32)
        view = self.window(centre, (radii[0] + 20.0, radii[1] + 20.0, radii[2] + 20.0))
        if view is not None:
            depth[view] = np.maximum(self.ball(centre, radii, view, inner), -30.0)
        return depth

    def tube(self, points: Sequence[tuple[float, float, float, float]], view: _View) -> _Array:
        """Return how deep each voxel lies in a bent tube of changing width, mm."""
        x, y, z = self._at(view, True)
        z = z * np.float32(_FLAT)
        depth = np.full(x.shape, -1e3, np.float32)
        for (ax, ay, az, ar), (bx, by, bz, br) in pairwise(points):
            az, bz = az * _FLAT, bz * _FLAT
            dx, dy, dz = bx - ax, by - ay, bz - az
            length = np.float32(dx * dx + dy * dy + dz * dz)
            along = (
                (x - ax) * np.float32(dx) + (y - ay) * np.float32(dy) + (z - az) * np.float32(dz)
            )
            along = np.clip(along / length, 0.0, 1.0)
            away = (x - ax - along * np.float32(dx)) ** 2
            away += (y - ay - along * np.float32(dy)) ** 2
            away += (z - az - along * np.float32(dz)) ** 2
            np.maximum(depth, ar + along * np.float32(br - ar) - np.sqrt(away), out=depth)
        return depth

    def _at(self, view: _View, inner: bool) -> tuple[_Array, _Array, _Array]:
        """Return the coordinates of a part of the volume; `inner` ones are pushed by the tumour."""
        if inner:
            return self.inner[0][view], self.inner[1][view], self.inner[2][view]
        return self.x[view], self.y[view], self.z[view]

    def share(self, depth: _Array, width: float = 0.0) -> _Array:
        """Return the share of each voxel that a solid fills, 0-1, its border `width` mm wide."""
        filled: _Array = np.clip(depth * np.float32(1.0 / max(width, self.soft)) + 0.5, 0.0, 1.0)
        return filled

    def paint(self, share: _Array, light: Sequence[float | _Array], view: _View = ...) -> None:
        """Lay a tissue over what is there, as far as it fills each voxel."""
        for channel in range(3):
            part = self.light[channel][view]
            part += share * (light[channel] - part)

    def lump(
        self,
        centre: _Point,
        radii: _Point,
        light: Sequence[float],
        *,
        inner: bool = False,
        strength: float = 1.0,
        width: float = 0.0,
    ) -> None:
        """Paint one ellipsoid."""
        view = self.window(centre, radii)
        if view is not None:
            filled = self.share(self.ball(centre, radii, view, inner), width)
            self.paint(filled * np.float32(strength), light, view)

    def pair(self, centre: _Point, radii: _Point, light: Sequence[float], **how: float) -> None:
        """Paint an ellipsoid on either side, not quite alike."""
        for side in (-1.0, 1.0):
            jitter = self.rng.normal(0.0, 0.6, 3)
            at = (side * centre[0] + jitter[0], centre[1] + jitter[1], centre[2] + jitter[2])
            size = self.rng.normal(1.0, 0.05, 3)
            wide = (radii[0] * size[0], radii[1] * size[1], radii[2] * size[2])
            self.lump(at, wide, light, inner=bool(how.get("inner")),
                      strength=how.get("strength", 1.0), width=how.get("width", 0.0))  # fmt: skip

    def mottle(self, fine: float) -> _Array:
        """Return smooth noise, about standard normal, features of about `fine` pixels."""
        few = (len(self.planes) // _SUB, SIZE, SIZE)
        # Nine even random numbers added up are normal enough; filters add far more.
        field = self.rng.random(few, dtype=np.float32) - np.float32(0.5)
        width = max(3, round(fine))
        for deep in (1, 3):
            field = ndimage.uniform_filter(field, (deep, width, width), mode="nearest")
        field = field[:, :, :] * np.float32(0.7) + ndimage.uniform_filter1d(
            field, 3, axis=0, mode="nearest"
        ) * np.float32(0.6)
        field /= np.sqrt(np.mean(field * field, dtype=np.float64)).astype(np.float32)
        noise: _Array = np.repeat(field, _SUB, axis=0)
        return noise

    def rough(self, nodes: tuple[int, int, int]) -> _Array:
        """Return a slow random field, about standard normal, drawn at a grid of `nodes`."""
        shape = self.x.shape
        few = 1.5 * self.rng.normal(size=nodes)
        both = zip(nodes, shape, strict=True)
        coordinates = [np.linspace(0.5, node - 1.5, many) for node, many in both]
        field = few.astype(np.float32)
        for axis, places in enumerate(coordinates):
            low = np.floor(places).astype(np.intp)
            part = (places - low).astype(np.float32)
            part = part * part * (3.0 - 2.0 * part)
            part = part.reshape([-1 if a == axis else 1 for a in range(3)])
            below = np.take(field, low, axis=axis)
            field = below + part * (np.take(field, low + 1, axis=axis) - below)
        return field

    # Anatomy.

    def face(self) -> None:
        """Paint scalp, skull, muscles, the face with its cavities, and the neck."""
        one = self.patient
        self.noise = self.mottle(4.0)
        self.slow = self.rough((6, 7, 7))
        vault = self._vault()
        low = np.clip((5.0 - self.z) / 40.0, 0.0, 1.0)  # 0 in the vault, 1 in the face
        cheeks = self.solid((0.0, -38.0, -60.0), (52.0, 52.0, 62.0))
        neck = self.solid((0.0, 24.0, -80.0), (71.0, 66.0, 76.0))
        nose = self.solid((0.0, -82.0, -58.0), (13.0, 27.0, 27.0))
        scalp = np.float32(one.scalp) * (1.0 + 0.09 * self.slow + 0.45 * low)
        skin = _merge(vault + np.float32(5.5) + scalp, _merge(cheeks, neck, 18.0), 12.0)
        skin = _merge(skin, nose, 16.0)
        skin += np.float32(0.6) * self.noise * low
        self.skin = skin
        inside = self.share(skin)
        # muscles, fat between them, bone here and there; a face has two like halves
        fine = self.mottle(3.0)
        both = np.float32(0.42) * self.noise + np.float32(0.24) * fine
        both = np.float32(0.6) * (both + both[:, :, ::-1]) + np.float32(0.35) * both
        muscle = np.clip(np.float32(0.80) + both, 0.0, 1.0)
        muscle -= np.float32(0.30) * np.clip(both - 0.35, 0.0, 1.0)
        muscle += np.float32(0.15) * np.abs(fine)
        fat = one.fat
        for channel in range(3):
            under = fat[channel] + (_MUSCLE[channel] - fat[channel]) * muscle
            self.light[channel] = inside * (fat[channel] + low * (under - fat[channel]))
        # the outermost layer is fat, and dim at the very skin
        rim = self.share(np.minimum(skin - 1.0, scalp + 1.0 - skin), 2.5) * inside
        uneven: _Array = 1.0 + np.float32(0.10) * self.noise + np.float32(0.12) * self.slow
        self.paint(rim, [np.float32(value) * uneven for value in fat])
        self._face_parts()
        self._skull(low, scalp)

    def _vault(self) -> _Array:
        """Return how deep each voxel lies in the brain's upper hull: wider behind than in front."""
        narrow = self.solid((0.0, -22.0, 2.0), (58.0, 64.0, 60.0))
        wide = self.solid((0.0, 14.0, 6.0), (68.0, 73.0, 66.0))
        self.vault = _merge(narrow, wide, 14.0) + np.float32(0.6) * self.slow
        return self.vault

    def _face_parts(self) -> None:
        """Paint what lies below the brain: muscles, sinuses, eyes, mouth, spine."""
        fat = self.patient.fat
        for place, size in (((54.0, -22.0, -66.0), (9.0, 22.0, 24.0)),  # chewing muscles
                            ((34.0, -14.0, -62.0), (9.0, 17.0, 18.0)),
                            ((24.0, 62.0, -72.0), (19.0, 15.0, 24.0)),  # neck
                            ((40.0, 46.0, -76.0), (13.0, 17.0, 24.0)),
                            ((62.0, -18.0, -14.0), (6.0, 24.0, 28.0))):  # fmt: skip
            self.pair(place, size, _MUSCLE, strength=0.85)
        self.pair((46.0, -4.0, -74.0), (5.0, 13.0, 26.0), _BONE)  # jaw
        self.lump((0.0, -34.0, -84.0), (24.0, 30.0, 20.0), (0.75, 0.7, 0.95))  # tongue
        self.lump((0.0, 14.0, -76.0), (17.0, 11.0, 16.0), _MARROW, strength=0.8)
        self.lump((0.0, -4.0, -72.0), (15.0, 7.0, 18.0), _AIR)  # throat
        # nose and its neighbours
        self.lump((0.0, -62.0, -46.0), (15.0, 31.0, 21.0), _MUCOSA)
        for at in (-11.0, -4.5, 3.5, 10.5):  # never straight
            for part in (-80.0, -66.0, -50.0):
                here = (at + self.rng.normal(0.0, 1.3), part + self.rng.normal(0.0, 2.0), -46.0)
                self.lump(here, (self.rng.uniform(1.2, 3.0), 9.0, 18.0), _AIR)
        self.pair((28.0, -55.0, -57.0), (14.0, 17.0, 15.0), _MUCOSA, strength=0.9)
        sick = self.rng.random() < 0.15  # a cold: sinuses full of mucus
        self.pair((28.0, -55.0, -57.0), (12.5, 15.5, 13.5), (0.6, 1.4, 0.8) if sick else _AIR)
        self.lump((0.0, -24.0, -36.0), (12.0, 13.0, 10.0), _AIR)  # sphenoid
        # orbits
        self.pair((31.0, -61.0, -28.0), (19.0, 21.0, 16.0), fat, strength=0.85)
        self.pair((20.0, -42.0, -27.0), (13.0, 18.0, 11.0), fat, strength=0.6)
        self.pair((22.0, -45.0, -28.0), (2.2, 18.0, 2.5), _MUSCLE)
        for side in (-9.0, 9.0):
            self.pair((29.0 + side, -54.0, -28.0), (2.0, 15.0, 6.0), _MUSCLE)
        self.pair((32.0, -70.0, -28.0), (12.6, 12.2, 12.2), (0.7, 0.8, 0.95))
        self.pair((32.0, -70.0, -28.0), (11.0, 10.6, 10.6), _FLUID)
        self.pair((32.5, -78.5, -28.0), (4.5, 2.2, 4.5), (0.7, 0.45, 0.75))
        if self.rng.random() < 0.8:  # frontal sinus
            self.lump((self.rng.normal(0.0, 4.0), -80.0, -10.0), (16.0, 6.0, 9.0), _AIR)
        # ears
        for side in (-1.0, 1.0):
            self.lump((side * 73.0, 18.0, -36.0), (6.0, 13.0, 20.0), fat, strength=0.5)

    def _skull(self, low: _Array, scalp: _Array) -> None:
        """Paint the bone around the brain's cavity, and the cavity's fluid."""
        floor = self.z + 21.0 - 0.08 * np.abs(self.y) + np.float32(1.2) * self.slow
        dome = np.minimum(self.vault, floor)
        temple = np.maximum(self.solid((41.0, -9.0, -19.0), (26.0, 40.0, 26.0)),
                            self.solid((-41.0, -9.0, -19.0), (26.0, 40.0, 26.0)))  # fmt: skip
        self.cerebrum = np.maximum(dome, temple + self.slow)
        little = np.maximum(self.solid((23.0, 46.0, -33.0), (34.0, 34.0, 28.0)),
                            self.solid((-23.0, 46.0, -33.0), (34.0, 34.0, 28.0)))  # fmt: skip
        little = _merge(little, self.solid((0.0, 38.0, -30.0), (24.0, 26.0, 24.0)), 10.0)
        little = np.minimum(little + self.slow, self.vault + 3.0 - 0.2 * np.minimum(self.z, 0.0))
        self.cerebellum = little
        stem = np.maximum(self.solid((0.0, 12.0, -26.0), (18.0, 16.0, 22.0)),
                          self.solid((0.0, 25.0, -66.0), (9.0, 8.5, 46.0)))  # fmt: skip
        self.stem = stem
        cavity = _merge(_merge(self.cerebrum, little, 6.0), stem, 6.0) + 1.8
        self.cavity = cavity
        behind = np.clip((self.y + 45.0) / 30.0, 0.15, 1.0)  # the orbits have thin walls
        thin = np.clip((self.vault - dome) / 10.0, 0.0, 1.0) * (1.0 - behind)
        wall = (4.6 + 0.5 * self.slow) * (1.0 - 0.6 * thin)
        wall += low * behind * (1.0 + 2.0 * self.noise)
        bone = self.share(cavity + wall) * self.share(self.skin - 0.7 * scalp)
        bone *= np.float32(1.0) - np.float32(0.75) * np.clip((-self.z - 58.0) / 14.0, 0.0, 1.0)
        self.paint(bone, _BONE)
        marrow = np.clip(1.0 - np.abs(cavity + 0.5 * wall) / np.float32(1.9), 0.0, 1.0)
        strength = 0.35 + 0.25 * low * np.clip(self.noise, -1.0, 1.5)
        self.paint(marrow * strength * bone, _MARROW)
        # the petrous ridges: dark wedges between temple and cerebellum
        self.pair((38.0, 17.0, -36.0), (24.0, 9.0, 11.0), _BONE, strength=0.9)
        self.pair((56.0, 22.0, -48.0), (13.0, 15.0, 16.0), _AIR, strength=0.8)
        self.paint(self.share(cavity), _FLUID)
        self.pair((15.0, -22.0, -22.0), (5.0, 11.0, 6.0), (0.6, 0.45, 1.7), strength=0.6)

    def brain(self) -> None:
        """Paint grey and white matter with their folds."""
        one = self.patient
        self._push()
        depth = np.maximum(self.cerebrum, np.maximum(self.cerebellum, self.stem))
        depth = depth - np.float32(0.5 * one.shrunken)
        furrow = self._folds(depth)
        self.furrow = furrow
        midline = np.abs(self.inner[0])
        self._cut_halves(midline)
        depth = np.minimum(depth, furrow)
        depth = np.minimum(depth, self.halves)
        self.depth = depth
        cortex = np.float32(3.4) + np.float32(0.5) * self.noise
        white = self.share(depth - cortex, 2.6)
        self.white = white
        filled = self.share(depth)
        tissue = [one.grey[c] + white * np.float32(_WHITE[c] - one.grey[c]) for c in range(3)]
        # fat of the mid-brain fibres is dense: the middle is a little brighter before contrast
        self.paint(filled, tissue)
        self.filled = filled
        little = self.share(self.cerebellum - 2.0, 4.0)
        leaves = np.abs((self.cerebellum * np.float32(1 / 5.5) + 0.25 * self.noise) % 1.0 - 0.5)
        for channel in range(3):
            dim = (leaves * 2.0 - 0.6) * np.float32(0.24 * (-1, 1, -1)[channel])
            self.light[channel] *= 1.0 + little * filled * dim

    def _push(self) -> None:
        """Work out where the tumour pushed the brain's inside: coordinates before it grew."""
        tumour = self.patient.tumour
        x0, y0, z0, radius = tumour.lobes[0]
        reach = 2.6 * radius
        dx, dy, dz = self.x - np.float32(x0), self.y - np.float32(y0), self.z - np.float32(z0)
        square = (dx * dx + dy * dy + dz * dz) * np.float32(1.0 / reach**2)
        grip = np.maximum(1.0 - square, 0.0) ** 2 * np.float32(tumour.push)
        # and nobody's brain is made of ellipsoids
        bent = [np.float32(size) * self.rough((11, 13, 13)) for size in (1.4, 2.0)]
        self.inner = (self.x - dx * grip + bent[0], self.y - dy * grip + bent[1],
                      self.z - dz * grip + np.float32(1.5) * bent[0])  # fmt: skip

    def _folds(self, depth: _Array) -> _Array:
        """Return the distance in mm to the nearest furrow, large where there is none.

        The field is looked up at a place nearer the surface than the voxel, so that its
        zero surfaces run inwards, as furrows do.
        """
        one = self.patient
        cell = 3.1  # mm
        cube = self.rng.random((46, 54, 46), dtype=np.float32) - np.float32(0.5)
        cube = ndimage.gaussian_filter(cube, 1.35, mode="wrap")
        cube /= np.float32(np.sqrt(np.mean(cube.astype(np.float64) ** 2)))
        distance = np.full(depth.shape, 50.0, np.float32)
        deepest = np.float32(11.0 + 3.0 * one.shrunken)
        near = np.nonzero((depth > -4.0) & (depth < deepest) & (self.cerebrum > -4.0))
        x, y, z = (part[near] for part in self.inner)
        z = z - np.float32(2.0)
        length = np.sqrt((x / 67.0) ** 2 + (y / 85.0) ** 2 + (z / 66.0) ** 2)
        pull = (np.float32(0.62) / np.maximum(length, 0.3) + np.float32(0.38)) / np.float32(cell)
        where = np.stack((x * pull + 23.0, y * pull + 27.0, z * pull + 23.0))
        value = ndimage.map_coordinates(cube, where, order=1, mode="wrap", output=np.float32)
        near_depth = np.maximum(depth[near], 0.0)
        # furrows grow thin with depth and end
        width = np.float32(0.5 + one.shrunken) * (1.0 - near_depth / deepest)
        distance[near] = np.abs(value) * np.float32(3.9) - width + near_depth * np.float32(0.06)
        return distance

    def _cut_halves(self, midline: _Array) -> None:
        """Work out the fissure between the halves, and those at the sides (Sylvius)."""
        one = self.patient
        bridge = self.solid((0.0, 3.0, 8.0), (60.0, 46.0, 30.0), inner=True)
        gap = midline - np.float32(0.5 + 0.5 * one.shrunken)
        halves = np.maximum(gap, bridge)
        below = np.maximum(halves, np.float32(-14.0) - self.inner[2])
        halves = np.where(self.cerebellum > -2.0, np.maximum(below, 1.0), halves)
        wide = 0.7 + 0.5 * one.shrunken
        for side in (-1.0, 1.0):
            leaf = self.solid((side * 38.0, -5.0, 3.0), (1.1 * wide, 15.0, 13.0), inner=True)
            mouth = self.solid((side * 55.0, -25.0, -3.0), (9.0, 1.7 * wide, 12.0), inner=True)
            cleft = self.solid((side * 45.0, -17.0, -1.0), (8.0, 1.2 * wide, 12.0), inner=True)
            halves = np.minimum(halves, -np.maximum(leaf, np.maximum(mouth, cleft)))
        self.halves = halves

    def middle_of_the_brain(self) -> None:
        """Paint grey kernels, ventricles, cisterns, vessels and old spots."""
        one, rng = self.patient, self.rng
        grey = (0.5 * (one.grey[0] + 1.0), one.grey[1], 0.5 * (one.grey[2] + 1.0))
        self.pair((11.0, 8.0, 5.0), (9.5, 15.0, 10.0), grey, inner=1, width=4.0)
        self.pair((14.0, -22.0, 9.0), (5.5, 9.0, 10.0), one.grey, inner=1, width=3.0)
        self.pair((25.0, -4.0, 3.0), (5.5, 16.0, 9.5), one.grey, inner=1, width=3.0)
        self._spots()
        self._ventricles()
        fluid = _FLUID
        self.lump((0.0, 4.0, -2.0), (1.6 + 1.6 * one.ventricles, 14.0, 10.0), fluid, inner=True)
        self.lump((0.0, 31.0, -32.0), (5.5, 3.6, 9.0), fluid, inner=True, width=3.0)
        self.lump((0.0, -9.0, -15.0), (13.0, 8.5, 6.0), fluid, inner=True, width=4.0)
        self.lump((0.0, 27.0, -7.0), (9.0, 3.0, 4.0), fluid, inner=True, width=3.0, strength=0.8)
        # vessels: bright after contrast, black in FLAIR when the blood runs fast
        for place, size in _VESSELS:
            self.lump(place, size, _VESSEL, strength=0.75)
        for side in (-1.0, 1.0):  # the transverse sinus
            view = self.window((side * 32.0, 58.0, -12.0), (36.0, 30.0, 20.0))
            if view is not None:
                path = ((0.0, 84.0, -4.0, 3.2), (side * 34.0, 75.0, -15.0, 3.2),
                        (side * 58.0, 40.0, -20.0, 3.0))  # fmt: skip
                self.paint(self.share(self.tube(path, view)) * np.float32(0.45), _VESSEL, view)
        self.pair((22.0, -12.0, -11.0), (14.0, 1.6, 1.8), _VESSEL, strength=0.6)
        self.pair((23.0, 30.0, 9.0), (2.2, 5.0, 4.0), (0.8, 0.9, 1.9), inner=1,
                  strength=float(rng.uniform(0.3, 0.9)))  # fmt: skip

    def _ventricles(self) -> None:
        """Paint the lateral ventricles, and the bright rim that FLAIR shows around them."""
        one, rng = self.patient, self.rng
        rim = float(rng.uniform(0.05, 0.45))
        for side in (-1.0, 1.0):
            wide = one.ventricles * float(np.clip(rng.normal(1.0, 0.1), 0.75, 1.3))
            view = self.window((side * 18.0, 5.0, 3.0), (26.0, 54.0, 34.0))
            if view is None:
                continue
            body = [(side * x, y, z, r * wide) for x, y, z, r in _VENTRICLE]
            horn = [(side * x, y, z, r * wide) for x, y, z, r in _TEMPORAL_HORN]
            depth = self.tube(body, view)
            ends = np.clip(np.abs(self.inner[1][view] + 2.0) / 32.0, 0.15, 1.0) ** 2
            halo = np.clip(1.0 - np.abs(depth + 1.5) / np.float32(5.5), 0.0, 1.0) * ends
            self.light[1][view] *= 1.0 + np.float32(rim) * halo * self.filled[view]
            depth = np.maximum(depth, self.tube(horn, view)) + 0.5 * self.noise[view]
            # the thin wall between the two
            depth = np.minimum(depth, np.abs(self.inner[0][view]) - np.float32(1.0))
            self.paint(self.share(depth), _FLUID, view)

    def _spots(self) -> None:
        """Paint old spots in the white matter, bright in FLAIR: the loader of false alarms."""
        rng = self.rng
        for _ in range(self.patient.spots):
            side = rng.choice((-1.0, 1.0))
            at = (side * rng.uniform(14.0, 34.0), rng.uniform(-40.0, 45.0), rng.uniform(8.0, 40.0))
            size = rng.uniform(1.5, 4.5) * rng.uniform(0.7, 1.5, 3)
            light = (0.85, float(rng.uniform(1.3, 1.9)), 0.85)
            self.lump(at, _three(size), light, strength=float(rng.uniform(0.5, 1.0)), width=4.0)

    def tumour(self) -> None:
        """Paint the tumour and work out how much of each voxel it has."""
        tumour = self.patient.tumour
        rough, fine = self.rough((7, 9, 9)), self.mottle(6.0)
        depth = np.full(self.x.shape, -50.0, np.float32)
        for x, y, z, radius in tumour.lobes:
            solid = self.solid((x, y, z), (radius, radius, 0.9 * radius))
            depth = _merge(depth, solid, 6.0)
        depth += rough * np.float32(0.16 * tumour.lobes[0][3]) + fine * np.float32(1.0)
        self.core = depth
        # it fills the folds from within, and stops at fluid, the midline and the surface
        room = np.minimum(self.cerebrum, np.maximum(self.depth, self.halves) + 2.0)
        brain = self.share(room - 1.0, 3.0)
        own_side = self.inner[0] * np.float32(math.copysign(1.0, tumour.lobes[0][0]))
        brain *= np.clip(own_side * np.float32(0.35) + 1.2, 0.0, 1.0)
        wet = np.clip((0.75 - self.light[0]) * 2.5, 0.0, 1.0)
        brain *= 1.0 - 0.85 * wet * (depth < 4.0)
        core = self.share(depth, tumour.softness) * brain
        reach = tumour.swelling * np.clip(0.7 + 0.8 * rough, 0.0, 2.0)
        around = self.share(depth + reach, 2.0 + 0.9 * tumour.swelling) * brain
        around *= 0.25 + 0.75 * self.white
        around = np.maximum(around - core, 0.0) * np.float32(0.75)
        self.tissue = core + around
        flare = 1.0 + np.float32(tumour.patchy) * np.clip(fine + 0.7 * rough, -1.6, 1.6)
        dull = 1.0 + (flare - 1.0) * np.float32(0.4)
        light = [tumour.light[0] * dull, tumour.light[1] * flare, tumour.light[2] * dull]
        swollen = (0.88, 1.0 + 0.75 * (tumour.light[1] - 1.0), 0.88)
        self.paint(around, swollen)
        self.paint(core, light)
        self._inside(depth, rough, core)

    def _inside(self, depth: _Array, rough: _Array, core: _Array) -> None:
        """Paint a cyst, and a rim that takes up contrast, where the tumour has them."""
        tumour = self.patient.tumour
        radius = tumour.lobes[0][3]
        if tumour.cyst:
            hollow = self.share(depth - radius * (1.0 - tumour.cyst) + 2.0 * rough, 2.5) * core
            self.paint(hollow, (0.42, 0.40, 0.42))
        if tumour.ring:
            near = (
                depth
                - np.float32(radius * (1.0 - max(tumour.cyst, 0.5)))
                + 4.0 * rough
                + self.noise
            )
            ring = np.clip(1.0 - np.abs(near) / np.float32(3.2), 0.0, 1.0) * core
            ring *= np.clip(0.5 + rough, 0.0, 1.0) * np.float32(tumour.ring)
            self.light[2] += ring

    # The scanner.

    def scan(self) -> _Bytes:
        """Return what the scanner saw: uint8 (slices, 128, 128, 3)."""
        one, rng = self.patient, self.rng
        count = len(one.heights)
        pictures = np.zeros((count, SIZE, SIZE, 3), np.uint8)
        x, y, z = (part[::_SUB] * np.float32(0.01) for part in (self.x, self.y, self.z))
        coil = 1.0 + one.coil[0] * x + one.coil[1] * y + one.coil[2] * z
        coil += np.float32(0.10) * (x * x + y * y)
        if one.markers:
            self._markers()
        for channel in range(3):
            light = self.light[channel].reshape(count, _SUB, SIZE, SIZE).mean(axis=1)
            light *= coil * np.float32(one.gain[channel])
            if one.cut[channel]:
                light *= self._covered(one.cut[channel], count)
            light = ndimage.gaussian_filter1d(light, rng.uniform(0.2, 0.5), axis=1, truncate=3.0)
            light = ndimage.gaussian_filter1d(light, rng.uniform(0.2, 0.5), axis=2, truncate=3.0)
            light = _moved(light, one.shift[channel] if channel != 1 else (0.0, 0.0))
            # noise of a magnitude image: that of two parts, never negative
            first = light + self._grain(count, one.noise[channel])
            second = self._grain(count, one.noise[channel])
            light = np.sqrt(first * first + second * second)
            light[light < one.cleared * one.noise[channel]] = 0.0
            light = np.maximum(light, np.float32(one.fog[channel]))
            # bright fat does not overflow: the archive squeezed its range
            light = np.where(light > 170.0, 170.0 + (light - 170.0) * 0.55, light)
            pictures[..., channel] = np.clip(np.rint(light), 0.0, 255.0).astype(np.uint8)
        for channel in one.missing:
            pictures[..., channel] = pictures[..., 1]
        return pictures

    def _covered(self, length: float, count: int) -> _Array:
        """Return 1 where a sequence's slab reaches and 0 where not; its end lies oblique."""
        one, rng = self.patient, self.rng
        tilt = rng.normal(0.0, 0.06, 2)
        row = ((np.arange(SIZE) - one.middle[0]) * one.pixel * tilt[0])[None, :, None]
        column = ((np.arange(SIZE) - one.middle[1]) * one.pixel * tilt[1])[None, None, :]
        height = one.heights[:, None, None] + row + column
        low, high = one.heights[0] + length, one.heights[-1] - 0.6 * length
        inside = np.clip(np.minimum(height - low, high - height) / 0.8 + 0.5, 0.0, 1.0)
        covered: _Array = inside.astype(np.float32)
        return covered

    def _grain(self, count: int, strength: float) -> _Array:
        """Return the scanner's noise: even random numbers, three added up, are normal enough."""
        raw = self.rng.random((3, count, SIZE, SIZE), dtype=np.float32)
        grain: _Array = (raw.sum(axis=0) - np.float32(1.5)) * np.float32(2.0 * strength)
        return grain

    def _markers(self) -> None:
        """Paint markers for the surgeon on the skin: bright dots outside of the head."""
        for _ in range(int(self.rng.integers(4, 8))):
            angle = self.rng.uniform(0.0, 2.0 * math.pi)
            away = 1.0 + self.patient.scalp / 60.0
            lift = self.rng.uniform(0.1, 0.6)
            flat = math.sqrt(1.0 - lift * lift)
            at = (80.0 * away * flat * math.cos(angle), 98.0 * away * flat * math.sin(angle),
                  4.0 + 80.0 * away * lift)  # fmt: skip
            self.lump(at, (3.2, 3.2, 4.5), (2.6, 1.6, 2.6))

    # The mask.

    def outline(self) -> _Bytes:
        """Return what somebody drew around the tumour: uint8 (slices, 128, 128), 0 or 255.

        They saw FLAIR, drew slice by slice with an unsteady hand, generously in one slice
        and tightly in the next, and overlooked the faint ends.
        """
        one, rng = self.patient, self.rng
        count = len(one.heights)
        tissue = self.tissue.reshape(count, _SUB, SIZE, SIZE).mean(axis=1)
        masks = np.zeros((count, SIZE, SIZE), np.uint8)
        habit = rng.uniform(0.36, 0.56)
        rows = rng.normal(size=(count, 22, 22)).astype(np.float32)
        for number in range(count):
            bar = habit + rng.uniform(-0.07, 0.07)
            if tissue[number].max() < bar:
                continue
            hand = np.repeat(np.repeat(rows[number], 6, axis=0), 6, axis=1)[:SIZE, :SIZE]
            hand = ndimage.uniform_filter(ndimage.uniform_filter(hand, 6), 6)
            blurred = ndimage.gaussian_filter(tissue[number], 0.8, truncate=3.0)
            drawn = blurred + np.float32(0.3) * hand > bar
            drawn &= tissue[number] > 0.12
            masks[number] = 255 * _large_parts(drawn, least=6)
        return masks


def _large_parts(mask: NDArray[np.bool_], least: int) -> _Bytes:
    """Return the mask without parts of fewer than `least` pixels, its small holes closed."""
    parts, count = ndimage.label(ndimage.binary_fill_holes(mask))
    if not count:
        return np.zeros(mask.shape, np.uint8)
    sizes = np.bincount(parts.ravel())
    keep = sizes >= max(least, int(0.04 * sizes[1:].max()))
    keep[0] = False
    kept: _Bytes = keep[parts].astype(np.uint8)
    return kept


def _merge(one: _Array, other: _Array, width: float) -> _Array:
    """Return the union of two solids, the notch between them filled over `width` mm."""
    near = np.maximum(np.float32(width) - np.abs(one - other), 0.0)
    both: _Array = np.maximum(one, other) + near * near * np.float32(0.25 / width)
    return both


def _moved(picture: _Array, by: tuple[float, float]) -> _Array:
    """Return slices moved by less than two pixels along rows and columns."""
    for axis, length in zip((1, 2), by, strict=True):
        whole = math.floor(length)
        part = np.float32(length - whole)
        near, far = np.roll(picture, whole, axis=axis), np.roll(picture, whole + 1, axis=axis)
        picture = near + part * (far - near)
    return picture


# -- files -----------------------------------------------------------------------------------


def _save(pixels: _Bytes, path: Path) -> None:
    """Write an image or a mask as a losslessly packed TIFF."""
    path.write_bytes(_packed(pixels))


def _packed(pixels: _Bytes) -> bytes:
    """Return an image as the bytes of a TIFF file."""
    buffer = io.BytesIO()
    # LZW packs nearly as well as deflate, in an eighth of the time
    Image.fromarray(pixels).save(buffer, format="TIFF", compression="tiff_lzw")
    return buffer.getvalue()


def _write_damaged(folder: Path, plan: list[Patient]) -> list[tuple[str, int, bool]]:
    """Write damaged and stray files; return table rows for those with a mask."""
    rows = []
    for place, kind in enumerate(("truncated", "empty", "no mask", "no image")):
        patient = plan[place * len(plan) // 4]
        number = len(patient.heights) + 1 + place
        stem = folder / patient.identifier / f"{patient.identifier}_{number}"
        image, mask = stem.with_name(stem.name + ".tif"), stem.with_name(stem.name + "_mask.tif")
        last = stem.with_name(f"{patient.identifier}_{len(patient.heights)}.tif")
        if kind == "truncated":
            # unpacked, so that the head of the file says what should follow
            buffer = io.BytesIO()
            Image.open(last).convert("RGB").save(buffer, format="TIFF", compression="raw")
            image.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        elif kind != "no image":
            image.write_bytes(b"" if kind == "empty" else last.read_bytes())
        if kind != "no mask":
            _save(np.zeros((SIZE, SIZE), np.uint8), mask)
            rows.append((patient.identifier, number, False))
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(248))
    first = plan[0].identifier
    apple = bytes.fromhex("0005160700020000") + bytes(74)  # what macOS leaves beside a file
    (folder / first / f"._{first}_1.tif").write_bytes(apple)
    (folder / plan[-1].identifier / "Thumbs.db").write_bytes(
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
    )
    return rows


def _write_table(path: Path, rows: list[tuple[str, int, bool]], plan: list[Patient]) -> None:
    """Write `data_mask.csv` as the real one came about: two orders side by side.

    Somebody listed each patient as often as they have slices, patient by patient, and
    beside it all files slice number by slice number. Paths and `mask` belong together;
    `patient_id` belongs to neither, though a count by patient looks right.
    """
    order = {one.identifier: place for place, one in enumerate(sorted(plan, key=_reversed_name))}
    by_patient = sorted(rows, key=lambda row: (order[row[0]], row[1]))
    by_slice = sorted(rows, key=lambda row: (row[1], order[row[0]]))
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("patient_id", "image_path", "mask_path", "mask"))
        for (wrong, _, _), (patient, number, positive) in zip(by_patient, by_slice, strict=True):
            stem = f"{patient}/{patient}_{number}"
            writer.writerow((wrong, f"{stem}.tif", f"{stem}_mask.tif", int(positive)))


def _reversed_name(patient: Patient) -> str:
    """Return a key that puts patients into no order a reader would guess, as a disk does."""
    return patient.identifier[::-1]
