"""Writes Colab and Binder badges into the notebooks' title cells and the README.

    make badges REPOSITORY=owner/name

They stand between `<!-- badges -->` and `<!-- /badges -->`; a second call replaces them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import quote, unquote

import nbformat

from helpers.paths import atomic_file
from tools.notebooks import text_of

CHECKOUT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- badges -->", "<!-- /badges -->"
COLAB = "https://colab.research.google.com"
BINDER = "https://mybinder.org"
BRANCH = "main"

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[\w.-]{1,100}")
_BLOCK = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
_COLAB_LINK = re.compile(re.escape(COLAB) + r"/github/([^/\s]+/[^/\s]+)/blob/[^/\s]+/([^\s)\"]+)")
_BINDER_LINK = re.compile(
    re.escape(BINDER) + r"/v2/gh/([^/\s]+/[^/\s]+)/[^/\s]+\?labpath=([^\s)\"]+)"
)


def main(arguments: list[str]) -> int:
    """Write the badges for the repository named; return 2 and say why where it is no name."""
    repository = arguments[0] if len(arguments) == 1 else ""
    try:
        for path in write(repository, CHECKOUT):
            print(f"{path.relative_to(CHECKOUT)}: badges written")
    except ValueError as error:
        print(f"badges: {error}", file=sys.stderr)
        return 2
    return 0


def write(repository: str, checkout: Path) -> list[Path]:
    """Return the files that were changed: every notebook, and the README.

    Args:
        repository: `owner/name`, as in the address of the repository on GitHub.
        checkout: the folder with `README.md` and `notebooks/`.

    Raises:
        ValueError: the name is not of this form, or a file has no place for badges;
            nothing is written.
    """
    if not _REPOSITORY.fullmatch(repository) or repository.endswith((".git", "/.", "/..")):
        raise ValueError(
            f"{repository!r} is no repository on GitHub: call  make badges REPOSITORY=owner/name"
        )
    notebooks = sorted((checkout / "notebooks").glob("*.ipynb"))
    texts = {path: _with_badges(path, repository, checkout) for path in notebooks}
    readme = checkout / "README.md"
    texts[readme] = _readme(readme, repository, notebooks)
    changed = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        with atomic_file(path) as temporary:
            temporary.write_text(texts[path], encoding="utf-8")
    return changed


def badges(repository: str, path: str) -> str:
    """Return the two badges of one notebook, as one line of Markdown.

    Args:
        repository: `owner/name`.
        path: the notebook's path in the repository, with `/`.
    """
    colab = f"{COLAB}/github/{repository}/blob/{BRANCH}/{quote(path)}"
    binder = f"{BINDER}/v2/gh/{repository}/{BRANCH}?labpath={quote(path, safe='')}"
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab}) "
        f"[![Launch on Binder]({BINDER}/badge_logo.svg)]({binder})"
    )


def links(text: str) -> list[tuple[str, str]]:
    """Return (repository, path) of every badge in a text."""
    found = _COLAB_LINK.findall(text) + _BINDER_LINK.findall(text)
    return [(repository, unquote(path)) for repository, path in found]


def complaints(checkout: Path) -> list[str]:
    """Return the badges that do not lead to their own notebook, or to another repository."""
    wrong = []
    repositories: set[str] = set()
    existing = {f"notebooks/{path.name}" for path in (checkout / "notebooks").glob("*.ipynb")}
    for path in [*sorted((checkout / "notebooks").glob("*.ipynb")), checkout / "README.md"]:
        own = path.relative_to(checkout).as_posix()
        allowed = existing if path.name == "README.md" else {own}
        text = path.read_text(encoding="utf-8")
        found = links(text)
        # Every address of the two services must have been understood.
        if len(found) != len(re.findall(r"blob/|labpath=|urlpath=|filepath=", _badge_lines(text))):
            wrong.append(f"{own}: a badge's address is of an unknown form")
        for repository, target in found:
            repositories.add(repository)
            if target not in allowed:
                wrong.append(f"{own}: a badge leads to {target}")
    if len(repositories) > 1:
        wrong.append(f"the badges name several repositories: {sorted(repositories)}")
    return wrong


def _badge_lines(text: str) -> str:
    """Return the lines of a text that link to Colab or Binder."""
    return "\n".join(
        line for line in text.splitlines() if f"{COLAB}/github" in line or f"{BINDER}/v2" in line
    )


def _with_badges(path: Path, repository: str, checkout: Path) -> str:
    """Return a notebook's text with its badges in its first cell."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        raise ValueError(f"{path.name}: the first cell is no Markdown, where the badges belong")
    line = badges(repository, path.relative_to(checkout).as_posix())
    block = f"{BEGIN}\n{line}\n{END}"
    if _BLOCK.search(first.source):
        first.source = _BLOCK.sub(lambda _: block, first.source, count=1)
    else:  # below the title
        title, _, rest = first.source.partition("\n")
        first.source = f"{title}\n\n{block}\n\n{rest.lstrip()}".rstrip()
    return text_of(notebook)


def _readme(path: Path, repository: str, notebooks: list[Path]) -> str:
    """Return the README's text with one line of badges a tutorial."""
    text = path.read_text(encoding="utf-8")
    if not _BLOCK.search(text):
        raise ValueError(f"{path.name} has no line '{BEGIN}' and '{END}': say where they belong")
    lines = [
        f"- `{notebook.stem}` {badges(repository, f'notebooks/{notebook.name}')}"
        for notebook in notebooks
    ]
    block = "\n".join([BEGIN, "", *lines, "", END])
    return _BLOCK.sub(lambda _: block, text, count=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
