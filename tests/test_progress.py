"""Progress bars: there for a person, silent otherwise."""

import sys

import pytest

from helpers.progress import progress, progress_in_bytes, unattended


def _watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that somebody sits at a terminal; pytest sets its variable before each phase."""
    monkeypatch.delenv("TUTORIALS_UNATTENDED", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_a_test_is_unattended() -> None:
    """Under pytest nobody watches."""
    assert unattended()


def test_a_batch_run_is_unattended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's variable silences the bar, even at a terminal."""
    _watch(monkeypatch)
    assert not unattended()
    monkeypatch.setenv("TUTORIALS_UNATTENDED", "1")
    assert unattended()
    monkeypatch.setenv("TUTORIALS_UNATTENDED", "0")
    assert not unattended()


def test_output_into_a_file_is_unattended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal and no kernel: a bar would only fill a file."""
    _watch(monkeypatch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert unattended()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert not unattended()


def test_items_pass_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """Unattended, items come through and nothing is printed."""
    assert list(progress(range(5), "counting")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_a_person_sees_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Watched, the description and the total show; the items are the same."""
    _watch(monkeypatch)
    assert list(progress(iter("abc"), "reading images", total=3)) == ["a", "b", "c"]
    assert "reading images" in capsys.readouterr().err


def test_nothing_is_read_ahead() -> None:
    """Items are taken one at a time, so that an endless iterable works."""
    taken = []

    def endless() -> object:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    items = progress(endless(), "counting")
    assert [next(items), next(items)] == [0, 1]
    assert taken == [0, 1]


def test_bytes_are_counted_from_where_an_earlier_call_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar begins at what has come before and ends at the whole file."""
    chunks = [bytes(2_000_000), bytes(1_000_000)]
    assert list(progress_in_bytes(iter(chunks), "cells.zip", 8_000_000, 5_000_000)) == chunks
    assert capsys.readouterr() == ("", "")  # nobody watches
    _watch(monkeypatch)
    assert list(progress_in_bytes(iter(chunks), "cells.zip", 8_000_000, 5_000_000)) == chunks
    bar = capsys.readouterr().err
    assert "cells.zip" in bar
    assert "5.00M/8.00M" in bar
