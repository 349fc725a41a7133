"""Turns what runs left in a folder into a table (Markdown, CSV) and one HTML page.

Everything is read from the ``results.json`` files, the figures and the logs that stand
there; nothing is run again, so a report can be rebuilt anywhere the folder was copied to.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import helpers
from helpers import pooling, results, sweep
from helpers.paths import atomic_file

LOG = "log.txt"
POOLED = "pooled.csv"
MOST_WITH_PICTURES = 20  # runs whose pictures a page carries inside; about half a megabyte each


@dataclass(frozen=True)
class Entry:
    """One run as a report shows it."""

    folder: Path
    record: results.Record | None  # None where it did not finish or cannot be read
    problem: str  # why not, else ""
    broken: bool = False  # there is a results.json, and it cannot be read

    @property
    def status(self) -> str:
        """``"finished"``, ``"interrupted"``, ``"failed"`` or ``"unreadable"``."""
        if self.broken:
            return "unreadable"
        if self.problem.startswith("interrupted"):
            return "interrupted"
        return "finished" if self.record else "failed"

    @property
    def title(self) -> str:
        """The tutorial's name for people."""
        return str(self.record["title"]) if self.record else results.title_of(self.folder.name)

    @property
    def notebook(self) -> Path | None:
        """The executed copy, if it is there."""
        return next(iter(sorted(self.folder.glob("*.ipynb"))), None)


@dataclass(frozen=True)
class Picture:
    """A figure of a run, ready for the page."""

    name: str
    alt: str
    source: str  # data: address with the whole file
    width: int  # pixels
    height: int


def collect(folder: str | os.PathLike[str]) -> list[Entry]:
    """Return every run below a folder, at any depth, in the order of paths and notebooks.

    Args:
        folder: a run's own folder, or one above it. Hidden folders are passed over.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
    """
    top = Path(folder)
    if not top.is_dir():
        raise FileNotFoundError(f"There is no folder {top}.")
    entries = [read(place) for place in _run_folders(top)]
    if not entries:
        raise FileNotFoundError(f"There is no {results.FILE_NAME} and no log of a run in {top}.")
    return sorted(entries, key=_order)


def read(folder: Path) -> Entry:
    """Return what one run left in its folder."""
    try:
        return Entry(folder, results.load(folder), "")
    except FileNotFoundError:
        return Entry(folder, None, _last_word(folder))
    except (OSError, ValueError) as error:
        return Entry(folder, None, str(error), broken=True)


def build(folder: str | os.PathLike[str], entries: Sequence[Entry] | None = None) -> Path:
    """Return the path of ``report.html``; ``results.md`` and ``results.csv`` stand beside it.

    Where one recipe was run several times, ``pooled.csv`` does, too.

    Args:
        folder: where runs are, at any depth, and where the files go.
        entries: from :func:`collect`; ``None`` collects them.

    Raises:
        FileNotFoundError: there is nothing to report.
    """
    top = Path(folder).absolute()
    entries = collect(top) if entries is None else entries
    files = {
        "results.csv": as_csv(entries, top),
        "results.md": as_markdown(entries, top),
        "report.html": as_html(entries, top),
    }
    if _pooled(entries):
        files[POOLED] = as_pooled_csv(entries)
    else:
        (top / POOLED).unlink(missing_ok=True)  # of other runs, that have gone
    for name, text in files.items():
        with atomic_file(top / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return top / "report.html"


def as_text(entries: Sequence[Entry]) -> str:
    """Return the table that a terminal shows: a line for each main figure.

    Below the runs stand the means of those that differ in seed and fold alone.
    """
    top = Path(os.path.commonpath([entry.folder.absolute().parent for entry in entries]))
    rows: list[tuple[str, ...]] = [
        ("notebook", "status", "time", "memory", "main figures (95 % interval)")
    ]
    for entry in entries:
        first = (_inside(entry.folder, top), entry.status, *_cost(entry))
        rows.extend(_in_rows(first, [f"{name} {value}" for name, value, _ in _main(entry)]))
    pooled = _pooled(entries)
    for group in pooled:
        first = (group.name, f"mean of {group.runs} runs", "", "")
        figures = group.figures.items()
        rows.extend(_in_rows(first, [f"{results.label(name)} {one}" for name, one in figures]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    below = [textwrap.fill(pooling.NOTE, 100)] if pooled else []
    below += [f"{_inside(entry.folder, top)}: {entry.problem}" for entry in entries
              if entry.problem]  # fmt: skip
    return "\n".join([*lines, *([""] if below else []), *below])


def as_markdown(entries: Sequence[Entry], top: Path) -> str:
    """Return the table as Markdown, a row for each run; then one for each recipe run often.

    Args:
        entries: the runs.
        top: the folder that links are relative to.
    """
    lines = [
        "| run | status | main figures (95 % interval) | data | time | memory |",
        "|---|---|---|---|---:|---:|",
    ]
    for entry in entries:
        figures = "<br>".join(f"{name} {value}" for name, value, _ in _main(entry))
        link = f"[{_inside(entry.folder, top)}]({_link(entry.folder, top)})"
        cells = [link, entry.status, figures or entry.problem, _data(entry), *_cost(entry)]
        lines.append(_row(cells))
    pooled = _pooled(entries)
    if pooled:
        lines += [
            "",
            "| recipe | runs | seeds | folds | main figures, mean |",
            "|---|---:|---|---|---|",
        ]
    for group in pooled:
        means = "<br>".join(f"{results.label(name)} {one}" for name, one in group.figures.items())
        cells = [group.name, str(group.runs), _list(group.seeds), _list(group.folds), means]
        lines.append(_row(cells))
    lines += ["", pooling.NOTE] if pooled else []
    return "\n".join(lines) + "\n"


def as_csv(entries: Sequence[Entry], top: Path) -> str:
    """Return every figure of every run as CSV, a row for each figure.

    A run without figures has one row with its status and the other columns empty.

    Args:
        entries: the runs.
        top: the folder that the column ``run`` is relative to.
    """
    common = ("tutorial", "profile", "seed", "fold", "backend", "device")
    columns = ("value", "low", "high", "n", "unit")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["run", "status", *common, "synthetic", "figure", *columns, "seconds", "peak_memory_mb"]
    )
    for entry in entries:
        start = [_inside(entry.folder, top), entry.status]
        record = entry.record
        if record is None:
            writer.writerow([*start, *[""] * (len(common) + len(columns) + 4)])
            continue
        start += [record[name] for name in common] + [record["data"]["synthetic"]]
        end = [record["seconds"], record["peak_memory_mb"]]
        for name, figure in record["figures"].items():
            writer.writerow([*start, name, *(figure[column] for column in columns), *end])
    return text.getvalue()


def as_pooled_csv(entries: Sequence[Entry]) -> str:
    """Return the means of runs that differ in seed and fold alone, a row for each figure.

    The column ``kind`` says whether ``low`` and ``high`` are an interval or a range.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["tutorial", "profile", "setting", "seeds", "folds", "figure", "runs", "value", "low",
         "high", "kind"]
    )  # fmt: skip
    for group in _pooled(entries):
        start = [group.tutorial, group.profile, group.setting]
        start += [_list(group.seeds, " "), _list(group.folds, " ")]
        for name, one in group.figures.items():
            numbers = [round(number, 6) for number in (one.value, one.low, one.high)]
            writer.writerow([*start, name, one.runs, *numbers, one.kind])
    return text.getvalue()


def as_html(entries: Sequence[Entry], top: Path) -> str:
    """Return the page: one self-contained text, figures inside, no script, no address outside.

    Args:
        entries: the runs.
        top: the folder that links are relative to.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = results.label
    template = environment.get_template("report.html.j2")
    finished = sum(entry.status == "finished" for entry in entries)
    return template.render(
        name=top.name,
        made=datetime.now().astimezone(),
        version=helpers.__version__,
        runs=[
            _view(entry, number, top, with_pictures=len(entries) <= MOST_WITH_PICTURES)
            for number, entry in enumerate(entries, start=1)
        ],
        pooled=[_pooled_view(group) for group in _pooled(entries)],
        note=pooling.NOTE,
        finished=finished,
        failed=len(entries) - finished,
        standing=sweep.standing(top),
    )


def pictures(folder: Path) -> list[Picture]:
    """Return the figures of a run, each with the alt text from its ``Description``.

    A file that is no readable PNG is left out: the page shows what there is.

    Args:
        folder: the run's folder; figures are ``figures/*.png`` in it.
    """
    from PIL import Image

    found = []
    for path in sorted((folder / "figures").glob("*.png")):
        name = results.label(re.sub(r"^\d+[-_]", "", path.stem))
        try:
            with Image.open(path) as image:
                image.load()
                width, height = image.size
                alt = str(image.info.get("Description") or f"Figure: {name}")
        except (OSError, SyntaxError, ValueError):
            continue
        code = base64.b64encode(path.read_bytes()).decode("ascii")
        found.append(Picture(name, alt, f"data:image/png;base64,{code}", width, height))
    return found


def duration(seconds: float) -> str:
    """Return a time for people: ``48 s``, ``12 min 05 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _run_folders(top: Path) -> Iterator[Path]:
    """Yield the folders that a run was written into."""
    for place, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if results.FILE_NAME in files or (LOG in files and _is_log(Path(place) / LOG)):
            folders[:] = []  # a run's folder holds its figures and model, no other run
            yield Path(place)


def _is_log(path: Path) -> bool:
    """Return whether a file is the log of one of our runs, and not somebody else's."""
    with path.open(encoding="utf-8", errors="replace") as log:
        return " run of " in log.readline()


def _order(entry: Entry) -> tuple[str, str, str]:
    """Return the key by which runs are sorted: their folder's parent, then the number."""
    notebook = entry.notebook
    return str(entry.folder.parent), notebook.name if notebook else "99", entry.folder.name


def _log_end(folder: Path, lines: int) -> list[str]:
    """Return the last lines of a run's log without their times."""
    path = folder / LOG
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    stamp = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ?")
    return [stamp.sub("", line) for line in text.splitlines()[-lines:]]


def _last_word(folder: Path) -> str:
    """Return why a run has no results, as the last line of its log has it."""
    lines = _log_end(folder, 1)
    if not lines:
        return "it left no results and no log"
    last = lines[0]
    if last.startswith("FAILED: ") or last.startswith("interrupted"):
        return last.removeprefix("FAILED: ")
    return f"it has not finished; the last line of its log: {last}"


def _main(entry: Entry) -> list[tuple[str, str, str]]:
    """Return name, text with interval and base of the figures that a table shows."""
    if entry.record is None:
        return []
    return [_figure(name, entry.record["figures"][name]) for name in entry.record["main"]]


def _figure(name: str, figure: dict[str, Any]) -> tuple[str, str, str]:
    over = f"{figure['n']:,} {figure['unit']}".strip()
    return results.label(name), results.with_interval(figure), over


def _cost(entry: Entry) -> tuple[str, str]:
    """Return time and memory of a run for people."""
    if entry.record is None:
        return "", ""
    memory = entry.record["peak_memory_mb"]
    if memory is None:
        return duration(entry.record["seconds"]), ""
    text = f"{memory / 1024:.1f} GiB" if memory >= 1024 else f"{memory:.0f} MiB"
    return duration(entry.record["seconds"]), text


def _data(entry: Entry) -> str:
    """Return what a run's data were, in a few words."""
    if entry.record is None:
        return ""
    data = entry.record["data"]
    kind = "synthetic" if data["synthetic"] else "real"
    return f"{kind}, {data['images']:,} images, {results.patients_of(data)}"


def _inside(path: Path, top: Path) -> str:
    """Return a path as seen from the report's folder."""
    path = path.absolute()
    inside = path.relative_to(top) if path.is_relative_to(top) else path
    return path.name if inside == Path() else inside.as_posix()


def _link(path: Path, top: Path) -> str:
    """Return the address of a file for a page that stands in the report's folder."""
    return quote(Path(os.path.relpath(path.absolute(), top)).as_posix())


def _strip(figure: dict[str, Any]) -> dict[str, float] | None:
    """Return where a figure and its interval lie between 0 and 1, in percent; None outside."""
    if not 0 <= figure["low"] <= figure["high"] <= 1:
        return None
    low, value, high = (100 * figure[key] for key in ("low", "value", "high"))
    return {"low": low, "width": high - low, "value": value}


def _pooled(entries: Sequence[Entry]) -> list[pooling.Pooled]:
    """Return the means of runs that differ in seed and fold alone."""
    return pooling.pool(entry.record for entry in entries if entry.record)


def _row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    line = " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {line} |"


def _in_rows(first: tuple[str, ...], figures: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each figure; what they have in common stands in the first alone."""
    figures = figures or [""]
    empty = ("",) * len(first)
    return [(*(empty if number else first), figure) for number, figure in enumerate(figures)]


def _list(values: Sequence[object], separator: str = ", ") -> str:
    """Return seeds or folds in a cell; the notebook's own fold is a dash."""
    return separator.join("\N{EN DASH}" if value is None else str(value) for value in values)


def _pooled_view(group: pooling.Pooled) -> dict[str, Any]:
    """Return what the template shows of several runs of one recipe."""
    setting = f"{group.profile}, {group.setting}" if group.setting else group.profile
    figures = [(results.label(name), str(one)) for name, one in group.figures.items()]
    return {
        "title": group.title,
        "setting": setting,
        "runs": group.runs,
        "seeds": _list(group.seeds),
        "folds": _list(group.folds),
        "figures": figures,
    }


def _view(entry: Entry, number: int, top: Path, *, with_pictures: bool) -> dict[str, Any]:
    """Return what the template shows of a run."""
    record = entry.record
    figures = {} if record is None else record["figures"]
    rows: list[dict[str, Any]] = []
    for key, figure in figures.items():
        name, text, over = _figure(key, figure)
        rows.append({"name": name, "text": text, "over": over, "strip": _strip(figure)})
    shown = set() if record is None else {results.label(name) for name in record["main"]}
    log, card = entry.folder / LOG, entry.folder / "model_card.md"
    files = {"executed notebook": entry.notebook, "log": log, "model card": card}
    if not with_pictures:
        files["pictures"] = entry.folder / "figures"
    seconds, memory = _cost(entry)
    return {
        "anchor": f"run-{number}",
        "place": _inside(entry.folder, top),
        "title": entry.title,
        "status": entry.status,
        "problem": entry.problem,
        "record": record,
        "data": _data(entry),
        "seconds": seconds,
        "memory": memory,
        "main": [row for name, *_ in _main(entry) for row in rows if row["name"] == name],
        "others": [row for row in rows if row["name"] not in shown],
        "pictures": pictures(entry.folder) if with_pictures else [],
        "log_end": [] if record else _log_end(entry.folder, 15),
        "links": [
            (name, _link(path, top)) for name, path in files.items() if path and path.exists()
        ],
    }
