"""Stores the figures of a sample run in tests/expected, and compares a later run with them.

    python -m tools.expected FOLDER     (`make expected` makes a fresh FOLDER first)

How far a figure may lie from the stored one comes from its own interval: another processor
adds up in another order, and training then ends a little elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.paths import atomic_file

EXPECTED = Path(__file__).resolve().parent.parent / "tests" / "expected"
# A quarter of the 95 % interval's width is half of what chance in the choice of patients
# explains to either side; the patients are the same in both runs, so this is generous.
SHARE = 0.25
# What no processor changes: which images there are, and how they were split.
EXACT = ("images", "patients", "left_out", "split_hash", "synthetic")
SETTINGS = ("tutorial", "profile", "seed", "fold")

Record = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Store the figures of every run in a folder; return 1 where there is none."""
    if len(arguments) != 1:
        print("expected: name one folder of a sample run", file=sys.stderr)
        return 2
    runs = sorted(Path(arguments[0]).glob("*/results.json"))
    if not runs:
        print(f"expected: no */results.json in {arguments[0]}", file=sys.stderr)
        return 1
    EXPECTED.mkdir(parents=True, exist_ok=True)
    for run in runs:
        record = json.loads(run.read_text(encoding="utf-8"))
        with atomic_file(EXPECTED / f"{record['tutorial']}.json") as temporary:
            text = json.dumps(essence(record), indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        print(f"tests/expected/{record['tutorial']}.json: {len(record['figures'])} figures")
    return 0


def essence(record: Record) -> dict[str, Any]:
    """Return what of a `results.json` is stored: settings, data, figures; no times or versions."""
    return {
        **{name: record[name] for name in SETTINGS},
        "data": {name: record["data"][name] for name in EXACT if name in record["data"]},
        "figures": dict(sorted(record["figures"].items())),
    }


def differences(stored: Record, record: Record) -> list[str]:
    """Return how a run differs from the stored figures by more than it may.

    Args:
        stored: from `tests/expected`, as `essence` made it.
        record: a `results.json`.
    """
    found = []
    fresh = essence(record)
    for name in SETTINGS:
        if stored[name] != fresh[name]:
            found.append(f"{name}: {fresh[name]!r}, stored is {stored[name]!r}")
    for name, value in stored["data"].items():
        if fresh["data"].get(name) != value:
            found.append(f"data.{name}: {fresh['data'].get(name)!r}, stored is {value!r}")
    for name in sorted(stored["figures"].keys() ^ fresh["figures"].keys()):
        found.append(f"{name}: only in the {'stored' if name in stored['figures'] else 'new'} run")
    for name in sorted(stored["figures"].keys() & fresh["figures"].keys()):
        old, new = stored["figures"][name], fresh["figures"][name]
        allowed = tolerance(old)
        if not abs(new["value"] - old["value"]) <= allowed:  # so that NaN differs, too
            found.append(
                f"{name}: {new['value']:.4g}, stored is {old['value']:.4g} "
                f"({old['low']:.4g} to {old['high']:.4g}), allowed are {allowed:.2g} either way"
            )
        if (old["n"], old["unit"]) != (new["n"], new["unit"]):
            found.append(
                f"{name}: over {new['n']} {new['unit']}, stored is {old['n']} {old['unit']}"
            )
    return found


def tolerance(figure: Record) -> float:
    """Return how far a fresh figure may lie from this stored one.

    A share without any width (all right, or all wrong) may move by one case; a count must
    be the same.
    """
    width: float = figure["high"] - figure["low"]
    if width > 0:
        return SHARE * width
    share = isinstance(figure["value"], float) and 0 <= figure["value"] <= 1
    return 1 / figure["n"] if share and figure["n"] > 0 else 1e-9


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
