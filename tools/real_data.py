"""Records runs on real images, and writes their table into docs/real-data-results.md.

    python -m tools.real_data RUN… --machine "two processor cores, no GPU"

takes the `results.json` of each run folder into docs/real-data (figures, intervals, seeds,
seconds; no path, no picture) and writes the page's tables anew. What stands outside the
markers of the page is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers import pooling, registry, results
from helpers.paths import atomic_file

CHECKOUT = Path(__file__).resolve().parent.parent
RECORDS = CHECKOUT / "docs" / "real-data"
PAGE = CHECKOUT / "docs" / "real-data-results.md"
KEPT = ("tutorial", "profile", "backend", "device", "seed", "fold", "data", "figures", "main")
# Parameters that say where something lies on one machine, or that the name says already.
LEFT_OUT = ("data_dir", "output_dir", "profile", "seed", "fold")
AS_EVER = (("weights", "auto"), ("precision", "auto"))

Record = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Take the runs named into the records, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.real_data", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders that hold a results.json")
    parser.add_argument("--machine", help="what the runs ran on, in words")
    given = parser.parse_args(arguments)
    if given.runs and not given.machine:
        parser.error("say on which --machine the runs ran")
    for folder in given.runs:
        record = results.load(folder)
        if record["data"]["synthetic"]:
            parser.error(f"{folder} is a run on the synthetic sample: it says nothing here")
        write(RECORDS / f"{name_of(record)}.json", to_text(essence(record, given.machine)))
    write(PAGE, page())
    return 0


def essence(record: Record, machine: str) -> Record:
    """Return what of a `results.json` is recorded: no path, nothing of one machine's folders."""
    kept = {key: record[key] for key in KEPT}
    kept["parameters"] = {
        key: value
        for key, value in record["parameters"].items()
        if value is not None and key not in LEFT_OUT and (key, value) not in AS_EVER
    }
    kept |= {"seconds": round(record["seconds"]), "machine": machine}
    return kept | {"keras": record["versions"].get("keras")}


def name_of(record: Record) -> str:
    """Return the file name of a record: one run for each setting, the last one counts."""
    given = essence(record, "")["parameters"]
    changed = [f"{key}-{value}" for key, value in sorted(given.items())]
    parts = [record["data"]["name"], record["profile"], f"seed{record['seed']}",
             f"fold{0 if record['fold'] is None else record['fold']}", *changed]  # fmt: skip
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(parts))


def page(text: str | None = None, records: Sequence[Record] | None = None) -> str:
    """Return the page's text with fresh tables between its markers.

    Raises:
        ValueError: images have records and no markers on the page.
    """
    text = PAGE.read_text(encoding="utf-8") if text is None else text
    records = _stored() if records is None else records
    for images in sorted({record["data"]["name"] for record in records}):
        start, end = f"<!-- runs of {images} -->", f"<!-- /runs of {images} -->"
        if start not in text or end not in text:
            raise ValueError(f"{PAGE.name} has no lines {start} and {end}: add them.")
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        chosen = [record for record in records if record["data"]["name"] == images]
        text = f"{before}{start}\n{table(chosen)}\n{end}{after}"
    return text


def table(records: Sequence[Record]) -> str:
    """Return a Markdown table of the runs on the same images, those of one setting averaged."""
    main_figures = list(dict.fromkeys(name for record in records for name in record["main"]))
    titles = [results.label(name) for name in main_figures]
    lines = [
        f"| profile | seed, fold | test patients | {' | '.join(titles)} | time | machine |",
        "|---|---|---|" + "---|" * (len(main_figures) + 2),
    ]
    for setting in sorted({_setting(record) for record in records}):
        runs = sorted((record for record in records if _setting(record) == setting),
                      key=lambda run: (run["seed"], str(run["fold"])))  # fmt: skip
        for run in runs:
            found = [_with_interval(run["figures"].get(name)) for name in main_figures]
            fold = 0 if run["fold"] is None else run["fold"]
            tested = run["data"]["parts"]["test"]
            known = run["data"].get("patients_known", True)
            patients = f"{tested['patients']}" if known else f"unknown, {tested['images']} images"
            lines.append(
                f"| {setting} | {run['seed']}, {fold} | {patients} | {' | '.join(found)} | "
                f"{run['seconds'] / 60:.1f} min | {run['machine']} |"
            )
        if len(runs) > 1:
            means = [_mean(runs, name) for name in main_figures]
            lines.append(f"| **mean of {len(runs)} runs** | | | {' | '.join(means)} | | |")
    return "\n".join(lines)


def to_text(record: Record) -> str:
    """Return a record as JSON text."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file of this checkout, all at once, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(CHECKOUT)}: written")


def _setting(record: Record) -> str:
    given = ", ".join(f"{key} {value}" for key, value in sorted(record["parameters"].items()))
    return f"`{record['profile']}`" + (f" with {given}" if given else "")


def _with_interval(figure: Record | None) -> str:
    return "—" if figure is None else results.with_interval(figure)


def _mean(runs: Sequence[Record], name: str) -> str:
    if not any(name in run["figures"] for run in runs):
        return "—"
    value, _, limits = str(pooling.mean(runs, name)).partition(" ")
    return f"**{value}** {limits}"


def _stored() -> list[Record]:
    known = set(registry.names())
    records = [json.loads(path.read_text("utf-8")) for path in sorted(RECORDS.glob("*.json"))]
    return [record for record in records if record["tutorial"] in known]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
