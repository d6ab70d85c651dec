"""How long a pass over the batches waits for them, and what is shown of it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from raycxr.dataset.films import Batch
from raycxr.storage.location import Location
from raycxr.training import step_times
from raycxr.training.progress import epoch_line
from raycxr.training.session import LocalSession
from raycxr.training.step_times import GAUGE_SECONDS, StepTimes


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Shown:
    """Gauges that remember."""

    def __init__(self) -> None:
        self.figures: list[dict[str, float]] = []

    def show(self, figures: Mapping[str, float]) -> None:
        self.figures.append(dict(figures))


class FirstOfTwo(LocalSession):
    """A worker whose colleague spent nine tenths of its pass waiting."""

    world_size = 2

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        return values + torch.tensor([0.0, 0.9], dtype=values.dtype)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(step_times, "time", clock)
    return clock


def batches(clock: Clock, seconds: float, count: int) -> Iterator[Batch]:
    """Batches of four films, each of which takes so long to come."""
    for _ in range(count):
        clock.now += seconds
        yield Batch(torch.zeros(4, 2, 2), torch.zeros(4, 2, 2), list("abcd"), torch.ones(4, dtype=torch.bool))


def test_the_share_of_waiting(clock: Clock, tmp_path: Path) -> None:
    times = StepTimes()
    seen = 0
    for batch in times.over(batches(clock, 0.25, 3)):
        clock.now += 0.75
        seen += len(batch)
        times.step()
    assert seen == 12
    assert times.wait_share(LocalSession(Location(tmp_path), 1, "max", False)) == pytest.approx(0.25)
    # The others wait for the one that waits longest.
    assert times.wait_share(FirstOfTwo(Location(tmp_path), 1, "max", False)) == pytest.approx(0.9)


def test_figures_are_of_the_steps_since_the_last_ones(clock: Clock) -> None:
    shown = Shown()
    times = StepTimes(shown)
    for _ in times.over(batches(clock, GAUGE_SECONDS / 4, 5)):
        clock.now += GAUGE_SECONDS / 4
        times.step()
    expected = {"images_per_second": 8 / GAUGE_SECONDS, "data_wait_share": 0.5, "step_seconds": GAUGE_SECONDS / 2}
    # Every few seconds, and what is left when the epoch is over.
    assert shown.figures == [pytest.approx(expected)] * 3


def test_the_line_of_an_epoch_tells_speed_and_waiting() -> None:
    entry = {
        "epoch": 3,
        "train": {"loss": 0.5},
        "validation": {"loss": 0.25, "dice": {"lungs": 0.9, "mean": 0.9}},
        "images_per_second": 12.34,
        "data_wait": 0.041,
        "seconds": 2.0,
        "best": True,
    }
    assert "  12.3 images/s, 4 % waiting for data  2.0 s  best" in epoch_line(entry, 10)
    mean = {key: value for key, value in entry.items() if key != "data_wait"} | {"swa_epochs": 2}
    assert "  12.3 images/s  2.0 s  best" in epoch_line(mean, 10)
