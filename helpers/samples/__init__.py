"""Synthetic twins of the datasets: this package finds the drawer of each by its name."""

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from helpers.paths import data_home, explained


class _Drawer(Protocol):
    """What a module of this package offers."""

    VERSION: int

    def draw(self, folder: Path, seed: int = 0) -> None:
        """Draw the sample into `folder`."""


def draw(name: str, folder: str | Path, seed: int = 0) -> None:
    """Draw the synthetic twin of dataset `name` into `folder`, all of it or nothing.

    Args:
        name: name of a dataset, as `"malaria"`.
        folder: where the sample shall lie; it must not exist yet, or be empty.
        seed: rules every pixel; the same seed gives the same pixels on every machine.

    Raises:
        ValueError: no sample has that name, or the seed is negative.
        FileExistsError: `folder` has something in it.
        OSError: it cannot be written; says what to do.
    """
    drawer, place = _drawer(name), Path(folder).absolute()
    try:
        drawer.draw(place, seed=seed)
    except FileExistsError:
        raise
    except OSError as error:
        below_home = place.is_relative_to(data_home())
        what = f"The synthetic sample in {place}"
        raise explained(error, what, below_home=below_home) from error


def version(name: str) -> int:
    """Return the version of the drawing of dataset `name`: it grows when pixels change.

    Args:
        name: name of a dataset, as `"malaria"`.

    Raises:
        ValueError: no sample has that name.
    """
    return _drawer(name).VERSION


def names() -> tuple[str, ...]:
    """Return the names of the datasets that have a synthetic twin, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def _drawer(name: str) -> _Drawer:
    """Return the module that draws dataset `name`."""
    if name not in names():
        raise ValueError(
            f"There is no synthetic sample called {name!r}. Samples: {', '.join(names())}."
        )
    return cast(_Drawer, importlib.import_module(f"{__name__}.{name}"))
