"""Results of a job must not lie where they vanish with it; told before any cluster is asked."""

from __future__ import annotations

import pytest
from command_line import call


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["predict", "s3://b/runs/a", "s3://b/films", "--out", "masks"], "--out masks"),
        (["synth", "jsrt", "--out", "films", "--count", "3"], "--out films"),
        (["evaluate", "s3://b/runs/a", "--out", "out/a"], "--out out/a"),
        (["pull", "s3://b/runs", "best"], "DEST best"),
        (["inspect", "s3://b/set", "--html", "set.html"], "--html set.html"),
    ],
)
def test_places_that_vanish(capsys: pytest.CaptureFixture[str], command: list[str], told: str) -> None:
    status, _, error = call(capsys, "submit", "--address", "http://127.0.0.1:1", "--", *command)
    assert status == 2
    assert f"{told} would lie in the job's own folder" in error


def test_places_that_stay(capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("s3://b/masks", "/shared/masks"):
        command = ["predict", "s3://b/runs/a", "s3://b/films", "--out", out]
        status, _, error = call(capsys, "submit", "--address", "http://127.0.0.1:1", "--", *command)
        assert status == 1
        assert "no Ray cluster answers" in error
