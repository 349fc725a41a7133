"""Several runs of one recipe as one row: the mean of each main figure, and how far to trust it.

Runs are no independent samples: their training parts overlap, and some have tested the very
same patients. An interval that took them for independent would be too narrow. So:

* Runs that tested the same patients are averaged first.
* Where several test parts remain (folds, or seeds that deal the patients anew), the interval
  is the corrected resampled t-interval: the variance of the mean of J runs is taken as
  s² (1/J + n_test/n_rest), s² being the variance between them and n the number of patients,
  with J − 1 degrees of freedom. (Nadeau and Bengio, "Inference for the Generalization
  Error", Machine Learning 52, 2003; for repeated cross-validation: Bouckaert and Frank,
  "Evaluating the Replicability of Significance Tests", PAKDD 2004.) Of fewer than three test
  parts no variance can be told: then it is the range of the runs, and called so.
* Where all runs tested the same patients (an official test part, or figures over all folds),
  two things may have fallen otherwise: the patients, for which each run has its own interval,
  and the training, which differs from run to run. Both distances are added as squares:
  the mean distance of the runs' own limits, and t s/√J. (Zou and Donner, "Construction of
  confidence limits about effect measures", Statistics in Medicine 27, 2008.)

What no interval here can show is another collection of images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from helpers import results

NOTE = (
    "Means of several runs have an interval over their test parts, corrected for the overlap of "
    "their training parts (Nadeau and Bengio, 2003); where all tested the same patients, one over "
    "patients and runs. Of fewer than three test parts there is only the range."
)
FEWEST = 3  # test parts that an interval over them needs

# Such a figure may be negative, even where no run's own interval is.
_IS_DIFFERENCE = re.compile(r"(^|_)(gain|fall|difference)(_|$)")
# Parameters that tell runs of one recipe apart, or where one machine keeps their results.
_NOT_THE_RECIPE = ("output_dir", "seed", "fold")
# Those that a row says already, or that only say where the images lie.
_NOT_SHOWN = (*_NOT_THE_RECIPE, "profile", "data_dir")


@dataclass(frozen=True)
class Mean:
    """The mean of one figure over several runs.

    Attributes:
        value: the mean; each test part counts the same.
        low: lower end of the 95 % interval, or the lowest run.
        high: upper end of the 95 % interval, or the highest run.
        kind: ``"interval"`` or ``"range"``.
        runs: how many runs have this figure.
    """

    value: float
    low: float
    high: float
    kind: str
    runs: int

    def __str__(self) -> str:
        """Return the mean with its interval, or its range, which is called so."""
        text = results.with_interval({"value": self.value, "low": self.low, "high": self.high})
        if self.kind != "range":
            return text
        return f"{text[:-1]}, range)" if text.endswith(")") else f"{text} (range)"


@dataclass(frozen=True)
class Pooled:
    """The runs of one recipe, as one row of a table."""

    tutorial: str
    title: str
    profile: str
    setting: str  # parameters besides; "" where there are none
    seeds: tuple[int, ...]
    folds: tuple[int | str | None, ...]
    runs: int
    figures: dict[str, Mean]  # the main ones

    @property
    def name(self) -> str:
        """What tells it from the others: tutorial, profile, other parameters."""
        return f"{self.tutorial}, {self.profile}" + (f", {self.setting}" if self.setting else "")


def pool(records: Iterable[results.Record]) -> list[Pooled]:
    """Return a row for each recipe that was run more than once, in the order of the records.

    A recipe is tutorial, profile, backend, data and all parameters but seed and fold. A run
    that repeats another one's seed and split says nothing new and is passed over.

    Args:
        records: contents of ``results.json`` files.
    """
    recipes: dict[Hashable, dict[Hashable, results.Record]] = {}
    for record in records:
        same = recipes.setdefault(_recipe(record), {})
        same.setdefault((record["seed"], record["data"]["split_hash"]), record)
    return [_pooled(list(runs.values())) for runs in recipes.values() if len(runs) > 1]


def mean(runs: Sequence[results.Record], name: str) -> Mean:
    """Return the mean of a figure over the runs that have it.

    Args:
        runs: of one recipe; at least one has the figure.
        name: of the figure.
    """
    runs = [run for run in runs if name in run["figures"]]
    tests = _grouped(runs, _test_part)
    found = None
    if any(_is_over_everybody(run, name) for run in runs):
        # The fold does not matter for it: only another seed makes another figure.
        by_seed = _grouped(runs, lambda run: run["seed"])
        means = [_average(one, name) for one in by_seed.values()]
        if len(means) == 1 or not any(run["data"]["synthetic"] for run in runs):
            found = _over_one_test(means)
        elif len(means) >= FEWEST:  # each seed has drawn patients of its own: nothing overlaps
            found = over_tests([one["value"] for one in means], share=0.0)
    elif None in tests:
        pass  # written before runs said what they tested
    elif len(tests) == 1:
        found = _over_one_test([run["figures"][name] for run in runs])
    elif len(tests) >= FEWEST and all(map(share_tested, runs)):
        share = fmean(share_tested(run) or 0.0 for run in runs)
        found = over_tests([_average(one, name)["value"] for one in tests.values()], share)
    if found is None:
        values = [run["figures"][name]["value"] for run in runs]
        return Mean(fmean(values), min(values), max(values), "range", len(runs))
    value, low, high = found
    if all(0 <= run["figures"][name]["low"] <= run["figures"][name]["high"] <= 1 for run in runs):
        high = min(high, 1.0)  # a share
        low = low if _IS_DIFFERENCE.search(name) else max(low, 0.0)
    return Mean(value, low, high, "interval", len(runs))


def _pooled(runs: Sequence[results.Record]) -> Pooled:
    """Return the row of several runs of one recipe."""
    first = runs[0]
    names = dict.fromkeys(name for run in runs for name in run["main"])
    return Pooled(
        tutorial=first["tutorial"],
        title=first["title"],
        profile=first["profile"],
        setting=_setting(first["parameters"]),
        seeds=tuple(dict.fromkeys(run["seed"] for run in runs)),
        folds=tuple(dict.fromkeys(run["fold"] for run in runs)),
        runs=len(runs),
        figures={name: mean(runs, name) for name in names},
    )


def _recipe(record: results.Record) -> Hashable:
    """Return what runs have in common that differ by chance alone."""
    data = record["data"]
    parameters = {
        name: value for name, value in record["parameters"].items() if name not in _NOT_THE_RECIPE
    }
    return (
        *(record[name] for name in ("tutorial", "profile", "backend")),
        *(data[name] for name in ("name", "synthetic")),
        tuple(sorted(parameters.items())),
    )


def _setting(parameters: Mapping[str, Any]) -> str:
    """Return the parameters that somebody has set, but for those that a row says already."""
    chosen = {name: value for name, value in parameters.items() if name not in _NOT_SHOWN}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if chosen.get("weights") == "auto":
        del chosen["weights"]
    return ", ".join(f"{name} {value}" for name, value in sorted(chosen.items()))


def _test_part(run: results.Record) -> Hashable:
    """Return what is equal for runs that tested the same images, ``None`` where nobody knows."""
    data = run["data"]
    if "test_hash" not in data:
        return None
    # Drawn images of another seed are others, under the same names.
    return data["test_hash"], run["seed"] if data["synthetic"] else None


def _is_over_everybody(run: results.Record, name: str) -> bool:
    """Return whether a figure is over more patients than were tested: over all five folds."""
    tested = run["data"].get("parts", {}).get("test")
    return tested is not None and int(run["figures"][name]["n"]) > int(tested["patients"])


def share_tested(run: results.Record) -> float | None:
    """Return how many patients were tested for each one that was not."""
    parts = {part: one["patients"] for part, one in run["data"].get("parts", {}).items()}
    tested = parts.pop("test", 0)
    rest = sum(parts.values())
    return tested / rest if tested and rest else None


def _grouped(
    runs: Sequence[results.Record], key: Callable[[results.Record], Hashable]
) -> dict[Hashable, list[results.Record]]:
    """Return the runs that have a key in common, by that key."""
    groups: dict[Hashable, list[results.Record]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _average(runs: Sequence[results.Record], name: str) -> dict[str, float]:
    """Return a figure's mean value and limits over runs of the same patients."""
    figures = [run["figures"][name] for run in runs]
    return {key: fmean(figure[key] for figure in figures) for key in ("value", "low", "high")}


def over_tests(values: Sequence[float], share: float) -> tuple[float, float, float]:
    """Return the mean and the corrected resampled t-interval.

    Args:
        values: one for each test part, three at least.
        share: patients tested for each one that was not.
    """
    half = _quantile(len(values)) * stdev(values) * math.sqrt(1 / len(values) + share)
    middle = fmean(values)
    return middle, middle - half, middle + half


def _over_one_test(figures: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """Return the mean and an interval over patients and trainings.

    Args:
        figures: value, low and high of each training, all tested on the same patients. The
            mean of their distances bounds that of the mean model from above: equal, if all
            err on the same patients.
    """
    count = len(figures)
    middle = fmean(figure["value"] for figure in figures)
    below = fmean(figure["value"] - figure["low"] for figure in figures)
    above = fmean(figure["high"] - figure["value"] for figure in figures)
    trained = 0.0
    if count > 1:
        values = [figure["value"] for figure in figures]
        trained = _quantile(count) * stdev(values) / math.sqrt(count)
    return middle, middle - math.hypot(below, trained), middle + math.hypot(above, trained)


def _quantile(count: int) -> float:
    """Return the 97.5 % quantile of Student's t for so many values."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.975))
