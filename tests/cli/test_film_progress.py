from __future__ import annotations

import io
import sys
import time

import pytest

from raycxr.cli.film_progress import FilmProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with FilmProgress("ingest") as progress:
        progress(10, 40)
        assert progress.bar is not None
        progress(40, 40)
        assert (progress.bar.n, progress.bar.total, progress.bar.initial) == (40, 40, 10)
    assert "ingest" in terminal.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 11.0, 31.0, 32.0, 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with FilmProgress("ingest") as progress:
        for done in (100, 150, 250, 255, 400):
            progress(done, 500)
    assert capsys.readouterr().err.splitlines() == [
        "ingest: 250 of 500 films, 5.0 a second",
        "ingest: 400 of 500 films, 5.0 a second",
    ]
