"""The rules that every notebook obeys: each a function from a notebook to what is wrong with it.

`tests/test_notebooks.py` applies them to the committed notebooks; while writing, call
`python -m tools.notebook_rules notebooks/03_malaria.ipynb`. A complaint says where and what.
"""

from __future__ import annotations

import ast
import io
import json
import re
import statistics
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

Rule = Callable[[NotebookNode], list[str]]

HEADINGS = (
    "1. Set-up",
    "2. Parameters",
    "3. Look",
    "4. Split",
    "5. Prepare",
    "6. Baselines",
    "7. Model",
    "8. Train",
    "9. Evaluate",
    "10. Look inside",
    "11. Predict",
    "12. Keep",
    "13. What the source got wrong",
)
# Between these two a tutorial may have sections of its own, without a number: what only one
# dataset asks (of a tumour also "where?") needs its test patients, and no other heading moves.
OWN_SECTIONS = ("9. Evaluate", "10. Look inside")
# The parameters that mean the same in every tutorial: annotation and default.
PARAMETERS: dict[str, tuple[str, object]] = {
    "profile": ("str", "sample"),
    "data_dir": ("str | None", None),
    "output_dir": ("str | None", None),
    "seed": ("int", 0),
    "fold": ("int | str | None", None),
    "image_size": ("int | None", None),
    "batch_size": ("int | None", None),
    "epochs": ("int | None", None),
    "backbone": ("str | None", None),
    "weights": ("str", "auto"),
    "max_images": ("int | None", None),
    "precision": ("str", "auto"),
}
ENGINES = frozenset({"tensorflow", "jax", "torch"})
MAX_BYTES = 1_000_000
MAX_LINES = 25
MAX_MEDIAN_LINES = 6
# 8 to 12 words of prose for each line of code is the aim; a test leaves some room.
PROSE = (7.0, 14.0)
MIN_ALT = 20

# A slash that begins a folder of a real machine: not that of an address, a fraction or a tag.
_ABSOLUTE = re.compile(
    r"(?<![\w.:/~<-])/(?:home|root|Users|work|tmp|var|opt|usr|mnt|srv|private|content|kaggle)"
    r"/[^\s'\"<>)]*|\b[A-Za-z]:\\\\?[\w.]+|\bfile://\S+"
)
# What another kernel, device or machine would have printed otherwise.
_DEVICE = re.compile(
    r"\b(?:CPU|GPU|TPU|MPS)\b|(?i:\b(?:gpu|cuda|nvidia|tesla)\b)|TFRT_CPU|KERAS_BACKEND"
    r"|\b(?:mixed_)?b?float(?:16|32)\b|\b(?:tensorflow|jax|torch) on\b|images?/s\b"
    r"|\b[0-9]+(?:\.[0-9]+)? ?(?:ms|s|sec|seconds?|min|minutes?|hours?)\b(?:/step)?"
)
_RANDOM_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){0,3}(?:-[0-9a-f]{12})?")
_READABLE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_FILE_NAME = re.compile(r"[\w./-]+\.(?:png|jpe?g|svg|gif)", re.IGNORECASE)
_FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1\s*$", re.MULTILINE | re.DOTALL)
_MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(\s*([^)\s]*)[^)]*\)")
_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_WORD = re.compile(r"[^\W_][\w'’-]*")


def format_is_current(notebook: NotebookNode) -> list[str]:
    """Return what speaks against format 4.5, the first one with cell ids."""
    version = f"{notebook.get('nbformat')}.{notebook.get('nbformat_minor')}"
    if version != "4.5":
        return [f"the format is {version}, not 4.5"]
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    return []


def kernel_is_python3(notebook: NotebookNode) -> list[str]:
    """Return what is wrong with the kernel: a private kernel's name exists on one machine only."""
    name = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"the kernel is {name!r}, not 'python3'"]


def ids_are_readable(notebook: NotebookNode) -> list[str]:
    """Return the cells whose id is missing, repeated, or random instead of telling."""
    complaints = []
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells, start=1):
        name = cell.get("id", "")
        if not name:
            complaints.append(f"cell {number} has no id")
        elif _RANDOM_ID.fullmatch(name) or not _READABLE_ID.fullmatch(name):
            complaints.append(f"cell {number}: the id {name!r} is not readable, like 'split-proof'")
        elif name in seen:
            complaints.append(f"cell {number}: the id {name!r} is there twice")
        seen.add(name)
    return complaints


def parameters_are_declared(notebook: NotebookNode) -> list[str]:
    """Return what is wrong with the one cell tagged `parameters`."""
    tagged = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} code cells are tagged 'parameters', not one"]
    cell = tagged[0]
    complaints = []
    commented = _commented_lines(cell.source)
    for statement in _tree(cell).body:
        where = f"cell {cell.id}, line {statement.lineno}"
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            complaints.append(f"{where}: not an annotated parameter such as  seed: int = 0  # …")
            continue
        name = statement.target.id
        try:
            value = ast.literal_eval(statement.value) if statement.value else None
        except ValueError:
            complaints.append(f"{where}: {name} is derived, a parameter must be a literal")
            continue
        annotation = ast.unparse(statement.annotation)
        if not _fits(value, annotation):
            complaints.append(f"{where}: {name} is {value!r}, which is no {annotation}")
        if "=" in str(value):
            complaints.append(f"{where}: {name} has an '=' in its text, which papermill misreads")
        if statement.end_lineno not in commented:
            complaints.append(f"{where}: {name} has no comment")
    return complaints


def parameters_are_shared(notebook: NotebookNode) -> list[str]:
    """Return where the parameters that all tutorials share differ in type or default."""
    complaints = []
    found = parameters(notebook)
    for name, expected in PARAMETERS.items():
        if name not in found:
            complaints.append(f"the shared parameter {name} is missing")
        elif found[name] != expected:
            shown = "{0} = {1!r}".format
            complaints.append(
                f"the parameter {name} is {shown(*found[name])}, elsewhere {shown(*expected)}"
            )
    return complaints


def anatomy_is_fixed(notebook: NotebookNode) -> list[str]:
    """Return where the level-2 headings differ from the series' order."""
    found = _without_own_sections([text for level, text in _headings(notebook) if level == 2])
    for position, expected in enumerate(HEADINGS):
        actual = found[position] if position < len(found) else "nothing"
        if actual != expected:
            return [f"level-2 heading {position + 1} is {actual!r}, not {expected!r}"]
    extra = found[len(HEADINGS) :]
    return [f"level-2 headings after the last one: {extra}"] if extra else []


def title_says_all(notebook: NotebookNode) -> list[str]:
    """Return what the part before the first section lacks: title, licence, time, warning."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["the first cell is not Markdown that begins with the title, '# …'"]
    complaints = []
    if sum(level == 1 for level, _ in _headings(notebook)) != 1:
        complaints.append("there is more than one level-1 heading")
    opening = " ".join(_before_first_section(notebook).split())
    for what, pattern in (
        ("'not for clinical use'", r"not for clinical use"),
        ("the data's licence", r"licen[cs]e"),
        ("how long it runs", r"(?:minute|second|hour)s?\b"),
    ):
        if not re.search(pattern, opening, re.IGNORECASE):
            complaints.append(f"the title part does not say {what}")
    return complaints


def is_executed(notebook: NotebookNode) -> list[str]:
    """Return whether cells were left out or run in another order than they stand in."""
    cells = _code(notebook)
    if not cells:
        return ["there is no code cell"]
    counts = [cell.get("execution_count") for cell in cells]
    for position, (cell, count) in enumerate(zip(cells, counts, strict=True), start=1):
        if count != position:
            return [f"cell {cell.id} has the execution count {count}, not {position}: run it again"]
    return []


def outputs_are_clean(notebook: NotebookNode) -> list[str]:
    """Return the cells with an error or a message on stderr in their outputs."""
    complaints = []
    for cell in _code(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                complaints.append(f"cell {cell.id} failed: {output.ename}: {output.evalue}")
            elif output.output_type == "stream" and output.name == "stderr":
                first = (output.text.strip() or "(blank)").splitlines()[0]
                complaints.append(f"cell {cell.id} wrote to stderr: {first[:100]}")
    return complaints


def paths_are_relative(notebook: NotebookNode) -> list[str]:
    """Return the absolute paths in sources and outputs: they lead nowhere on another machine."""
    return [
        f"cell {cell.id}: absolute path {found.group()!r} in its {where}"
        for cell in notebook.cells
        for where, text in _texts(cell)
        for found in _ABSOLUTE.finditer(text)
    ]


def no_trailing_semicolons(notebook: NotebookNode) -> list[str]:
    """Return the cells with a `;` at the end of a line, which nbval does not honour."""
    return [
        f"cell {cell.id}: a ';' ends the line {line.strip()!r}; assign to _ instead"
        for cell in _code(notebook)
        for line in cell.source.splitlines()
        if line.rstrip().endswith(";") and not line.lstrip().startswith("#")
    ]


def cells_are_short(notebook: NotebookNode) -> list[str]:
    """Return where code cells are too long: one alone, or the median of all."""
    lengths = {cell.id: _lines(cell.source) for cell in _code(notebook)}
    complaints = [
        f"cell {name} has {length} lines, more than {MAX_LINES}"
        for name, length in lengths.items()
        if length > MAX_LINES
    ]
    median = statistics.median(lengths.values()) if lengths else 0
    if median > MAX_MEDIAN_LINES:
        complaints.append(f"the median code cell has {median:g} lines, over {MAX_MEDIAN_LINES}")
    return complaints


def prose_carries_code(notebook: NotebookNode) -> list[str]:
    """Return whether there is too little or too much prose for the code."""
    lines = sum(_lines(cell.source, comments=False) for cell in _code(notebook))
    words = sum(len(_WORD.findall(_prose(cell.source))) for cell in _markdown(notebook))
    ratio = words / max(lines, 1)
    if PROSE[0] <= ratio <= PROSE[1]:
        return []
    return [
        f"{words} words for {lines} lines of code are {ratio:.1f} words a line, "
        f"not {PROSE[0]:g} to {PROSE[1]:g}"
    ]


def images_have_alt_text(notebook: NotebookNode) -> list[str]:
    """Return the images that are missing, or that who cannot see them would learn nothing of."""
    complaints = []
    for cell in _code(notebook):
        for output in cell.outputs:
            for kind in output.get("data", {}):
                if kind.startswith("image/"):
                    alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
                    complaints += _alt_complaints(alt, f"cell {cell.id}: its {kind}")
    for cell in _markdown(notebook):
        source = _FENCE.sub("", cell.source)
        # A badge is a button: its name is its text.
        for image in _MARKDOWN_IMAGE.finditer(source):
            least = 5 if "badge" in image[2] else MIN_ALT
            complaints += _alt_complaints(image[1], f"cell {cell.id}: image {image[2]}", least)
            kind, _, name = image[2].partition(":")
            if kind == "attachment" and name not in cell.get("attachments", {}):
                complaints.append(f"cell {cell.id}: no picture {name} is attached to it")
        for tag in _HTML_IMAGE.findall(source):
            alt = re.search(r"alt\s*=\s*[\"']([^\"']*)", tag)
            complaints += _alt_complaints(alt[1] if alt else "", f"cell {cell.id}: an <img>")
    return complaints


def file_is_small(notebook: NotebookNode) -> list[str]:
    """Return whether the file is too large to look at its differences."""
    size = len(json.dumps(notebook, ensure_ascii=False, indent=1).encode())
    return [] if size < MAX_BYTES else [f"{size:,} bytes are not under {MAX_BYTES:,}"]


def installs_only_in_setup(notebook: NotebookNode) -> list[str]:
    """Return the cells outside the set-up section that install packages."""
    return [
        f"cell {cell.id}: 'pip install' belongs into the set-up section"
        for section, cell in _by_section(notebook)
        if section != 1 and re.search(r"\b(?:pip|conda|uv) install\b", cell.source)
    ]


def imports_only_in_setup(notebook: NotebookNode) -> list[str]:
    """Return the imports outside the set-up section, and the tag that its cell lacks."""
    complaints = []
    for section, cell in _by_section(notebook):
        if cell.cell_type != "code" or not _imports(cell):
            continue
        if section != 1:
            complaints.append(f"cell {cell.id}: imports belong into the set-up section")
        elif "nbval-ignore-output" not in cell.metadata.get("tags", []):
            # Versions and devices differ, and an import may log: nbval must not compare them.
            complaints.append(f"cell {cell.id} imports but is not tagged 'nbval-ignore-output'")
    return complaints


def devices_stay_in_setup(notebook: NotebookNode) -> list[str]:
    """Return the outputs outside the set-up section that tell a device, a precision or seconds.

    A notebook is the same reading whatever kernel ran it: only its first output names that.
    """
    return [
        f"cell {cell.id}: {found.group()!r} in its output depends on the kernel: it belongs into "
        f"the set-up section or into results.json"
        for section, cell in _by_section(notebook)
        if section != 1 and cell.cell_type == "code"
        for where, text in _texts(cell)
        if where == "output"
        for found in _DEVICE.finditer(text)
    ]


def engines_stay_in_backend(notebook: NotebookNode) -> list[str]:
    """Return the imports of an engine under Keras: only helpers/backend.py may."""
    return [
        f"cell {cell.id} imports {name}: use keras, or helpers.backend"
        for cell in _code(notebook)
        for name in sorted(_imports(cell) & ENGINES)
    ]


def ends_with_results(notebook: NotebookNode) -> list[str]:
    """Return whether the last code cell fails to call `results.save`."""
    cells = _code(notebook)
    calls = [ast.unparse(n.func) for n in _nodes(cells[-1]) if isinstance(n, ast.Call)]
    return [] if "results.save" in calls else ["the last code cell does not call results.save"]


# What the template obeys too, and what only a tutorial does.
STYLE: tuple[Rule, ...] = (
    format_is_current,
    kernel_is_python3,
    ids_are_readable,
    parameters_are_declared,
    is_executed,
    outputs_are_clean,
    paths_are_relative,
    no_trailing_semicolons,
    cells_are_short,
    images_have_alt_text,
    file_is_small,
    installs_only_in_setup,
    imports_only_in_setup,
    devices_stay_in_setup,
    engines_stay_in_backend,
)
TUTORIAL: tuple[Rule, ...] = (
    *STYLE,
    prose_carries_code,  # the template is about prose: it has little code to carry
    parameters_are_shared,
    anatomy_is_fixed,
    title_says_all,
    ends_with_results,
)


def rules_for(path: Path) -> tuple[Rule, ...]:
    """Return the rules that apply to a notebook, told by its file name."""
    return TUTORIAL if re.match(r"\d\d_", path.name) else STYLE


def parameters(notebook: NotebookNode) -> dict[str, tuple[str, object]]:
    """Return annotation and default of each parameter, by name; what is no literal is left out."""
    found: dict[str, tuple[str, object]] = {}
    for cell in _code(notebook):
        if "parameters" not in cell.metadata.get("tags", []):
            continue
        for node in _tree(cell).body:
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(node.value, ast.Constant)
            ):
                found[node.target.id] = (ast.unparse(node.annotation), node.value.value)
    return found


def imported_modules(source: str) -> set[str]:
    """Return the top-level names of the modules that Python source imports."""
    return _imported(ast.walk(ast.parse(source)))


def main(arguments: list[str]) -> int:
    """Print what is wrong with the notebooks named; return 1 if anything is."""
    wrong = 0
    for name in arguments:
        notebook = nbformat.read(name, as_version=nbformat.NO_CONVERT)
        for rule in rules_for(Path(name)):
            for complaint in rule(notebook):
                wrong += 1
                print(f"{name}: {complaint}")
    print(f"{wrong} complaints." if wrong else "Nothing to complain about.")
    return min(wrong, 1)


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _markdown(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def _tree(cell: NotebookNode) -> ast.Module:
    """Return the cell's syntax tree; IPython's own lines (`%…`, `!…`) count as `pass`."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.MULTILINE))


def _nodes(cell: NotebookNode) -> Iterator[ast.AST]:
    return ast.walk(_tree(cell))


def _imports(cell: NotebookNode) -> set[str]:
    return _imported(_nodes(cell))


def _imported(nodes: Iterator[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {
                argument.value.partition(".")[0]
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            }
    return names


def _headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    return [heading for cell in _markdown(notebook) for heading in _cell_headings(cell.source)]


def _cell_headings(source: str) -> list[tuple[int, str]]:
    found = re.findall(r"^(#{1,6})\s+(.*?)\s*#*$", _FENCE.sub("", source), flags=re.MULTILINE)
    return [(len(marks), text) for marks, text in found]


def _without_own_sections(headings: list[str]) -> list[str]:
    """Return the headings without those that a tutorial may have for itself."""
    if not set(OWN_SECTIONS) <= set(headings):
        return headings
    start, end = (headings.index(name) for name in OWN_SECTIONS)
    between = [text for text in headings[start + 1 : end] if text[:1].isdigit()]
    return headings[: start + 1] + between + headings[end:]


def _by_section(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Yield each cell with the number of its section; 0 before the first level-2 heading."""
    section = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section += sum(level == 2 for level, _ in _cell_headings(cell.source))
        yield section, cell


def _before_first_section(notebook: NotebookNode) -> str:
    texts = []
    for section, cell in _by_section(notebook):
        if section > 0:
            break
        if cell.cell_type == "markdown":
            texts.append(cell.source)
    return "\n".join(texts)


def _lines(source: str, *, comments: bool = True) -> int:
    """Return how many lines are not blank; with `comments=False`, nor a comment alone."""
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and (comments or not line.startswith("#")) for line in lines)


def _prose(source: str) -> str:
    """Return what one reads of Markdown: no code blocks, addresses, tags or comments."""
    text = _FENCE.sub(" ", source)
    text = re.sub(r"<!--.*?-->|<[^>]+>", " ", text, flags=re.DOTALL)
    text = _MARKDOWN_IMAGE.sub(" ", text)
    return re.sub(r"\]\([^)]*\)|https?://\S+", " ", text)


def _texts(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield ("source" or "output", text) for everything in a cell that can be read."""
    yield "source", cell.source
    for output in cell.get("outputs", []):
        yield "output", "".join(output.get("text", ""))
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield "output", data if isinstance(data, str) else json.dumps(data)


def _commented_lines(source: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def _fits(value: object, annotation: str) -> bool:
    """Return whether a literal is of one of the types of an annotation such as `int | None`."""
    name = "None" if value is None else type(value).__name__
    allowed = {part.split("[")[0].strip() for part in annotation.split("|")}
    return name in allowed or (name == "int" and "float" in allowed)


def _alt_complaints(alt: str, what: str, least: int = MIN_ALT) -> list[str]:
    if not alt.strip():
        return [f"{what} has no alt text"]
    if len(alt.strip()) < least:
        return [f"{what}: the alt text {alt!r} is too short to tell what is seen"]
    if _FILE_NAME.fullmatch(alt.strip()):
        return [f"{what}: the alt text is a file name, {alt!r}"]
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
