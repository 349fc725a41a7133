"""The upload button: a button for a person, a sentence for a batch run."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import ipywidgets
import pytest

from helpers import upload as upload_module
from helpers.images import UnreadableImageError
from helpers.upload import upload


def press(box: Any, name: str, content: bytes) -> None:
    """Do what a browser does when a file was chosen."""
    file = {
        "name": name,
        "type": "image/png",
        "size": len(content),
        "content": memoryview(content),
        "last_modified": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    }
    box.children[0].value = (file,)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a person sit in front of it."""
    monkeypatch.setattr(upload_module, "unattended", lambda: False)


def test_a_batch_run_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    shown = upload(lambda _: pytest.fail("nothing was uploaded"), label="Choose a cell")
    assert shown is None
    assert capsys.readouterr().out == "«Choose a cell»: run this cell in JupyterLab for a button.\n"


@pytest.mark.usefixtures("watched")
def test_an_uploaded_file_is_shown_and_gone_afterwards() -> None:
    seen: list[tuple[str, bytes]] = []
    paths: list[Path] = []

    def show(path: Path) -> None:
        seen.append((path.name, path.read_bytes()))
        paths.append(path)

    box = upload(show, label="Choose a cell")
    button = box.children[0]
    assert isinstance(button, ipywidgets.FileUpload)
    assert button.description == "Choose a cell"
    assert not button.multiple
    assert seen == []
    press(box, "a cell 图.png", b"pixels")
    assert seen == [("a cell 图.png", b"pixels")]
    press(box, "b.png", b"others")
    assert seen[1:] == [("b.png", b"others")]
    assert not any(path.exists() or path.parent.exists() for path in paths)


@pytest.mark.usefixtures("watched")
def test_a_name_cannot_lead_out_of_the_folder() -> None:
    seen: list[Path] = []
    press(upload(seen.append), "../../evil.png", b"pixels")
    assert [path.name for path in seen] == ["evil.png"]
    assert ".." not in seen[0].parts


@pytest.mark.usefixtures("watched")
def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def show(_: Path) -> None:
        raise UnreadableImageError("damaged or not an image (no format that is known)")

    press(upload(show), "notes.txt", b"no picture")
    # clearing the output writes control characters where there is no notebook
    assert capsys.readouterr().out.endswith(
        "notes.txt cannot be used: damaged or not an image (no format that is known)\n"
    )
