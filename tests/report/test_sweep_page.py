"""The page of a sweep: what it says of sweeps of every kind, also of those that went wrong."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_sweep import MadeSweep, MadeTrial, example, write_sweep

from raycxr.errors import DataError
from raycxr.report.searched_parameter import SHORT
from raycxr.report.sweep_page import sweep_page
from raycxr.report.sweep_results import SweepResults, read_results
from raycxr.storage.location import Location

HOSTILE = "<img src=x onerror=alert(1)> & 'film'"
NAN = float("nan")
SPACE: dict[str, dict[str, Any]] = {
    "model.name": {"choice": ["unet", "fpn"]},
    "loss": {"choice": [{"bce": 1, "dice": 1}, {"dice": 1}]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
}
UNET = {"model.name": "unet", "loss": {"bce": 1, "dice": 1}, "optimizer.lr": 1e-3}
FPN = {"model.name": "fpn", "loss": {"dice": 1}, "optimizer.lr": 1e-2}


class Balance(HTMLParser):
    """Refuses tags that are closed in another order than opened."""

    EMPTY = ("meta", "img", "br", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        assert tag not in ("script", "link", "img")
        # Nothing is fetched.
        assert all(str(value).startswith("#") for name, value in attrs if name in ("href", "src"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def results_of(folder: Path, sweep: MadeSweep) -> SweepResults:
    write_sweep(Location(folder / "sweep"), sweep)
    return read_results(Location(folder / "sweep"))


def page_of(folder: Path, sweep: MadeSweep) -> str:
    """The page, after a look at whether it is whole, well-formed and alone."""
    page = sweep_page(results_of(folder, sweep))
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)
    assert not re.search(r"url\(|@import", page.partition("</style>")[0])
    assert not re.search(r"\b(nan|inf|None)\b", text_of(page))
    return page


def text_of(page: str) -> str:
    body = page.partition("<body>")[2]
    return unescape(re.sub(r"<[^>]*>", " ", body))


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_a_whole_sweep(tmp_path: Path) -> None:
    page = page_of(tmp_path, example(40))
    assert headings(page) == [
        "Best candidate",
        "Parameters and value",
        "Which parameters decide",
        "Best value by model.name and loss",
        "Learning curves",
        "Cost and quality",
        "All trials",
    ]
    assert page.count("<tbody id='c") == 40


@pytest.mark.slow
def test_two_hundred_trials_stay_small(tmp_path: Path) -> None:
    assert len(page_of(tmp_path, example(200))) < 1_000_000


def test_figures_at_the_head(tmp_path: Path) -> None:
    trials = [
        MadeTrial(0, UNET, [0.5] * 10, seconds=100),
        MadeTrial(1, FPN, [0.4] * 3, "stopped", epochs=10, seconds=30),
        MadeTrial(2, UNET, [0.4], "failed", "out of memory", epochs=10, seconds=10),
    ]
    text = " ".join(text_of(page_of(tmp_path, MadeSweep(trials, SPACE, "interrupted", tune={"trials": 8}))).split())
    assert "sweep, interrupted; the highest dice.mean on validation wins" in text
    assert "3 candidates of 8" in text
    assert "3 trials 1 finished, 1 stopped, 1 failed" in text
    assert "14 epochs trained of 30 planned" in text
    # The nine epochs of the failed one are not saved, they are lost.
    assert "23.3 % of the epochs saved 7 by stopping early" in text
    assert "2 min 20 s of training within 2 h 29 min" in text


def test_best_and_runner_up(tmp_path: Path) -> None:
    trials = [MadeTrial(0, FPN, [0.5, 0.9]), MadeTrial(1, UNET, [0.5, 0.94, 0.93], bundle=True)]
    page = page_of(tmp_path, MadeSweep(trials, SPACE))
    text = text_of(page)
    assert "It is 0.04 ahead of the runner-up." in text
    assert f"raycxr pull {tmp_path}/sweep/trial-0001 DEST" in text
    assert re.search(r"best\s+trial-0001\s+runner-up\s+trial-0000\s+dice.mean\s+0.9400\s+0.9000", text)
    assert re.search(r"loss\s+bce\+dice\s+dice", text)


def test_a_loss_is_best_where_it_is_lowest(tmp_path: Path) -> None:
    trials = [MadeTrial(0, FPN, [0.5, 0.3]), MadeTrial(1, UNET, [0.5, 0.2])]
    results = results_of(tmp_path, MadeSweep(trials, SPACE, metric="loss", mode="min"))
    assert results.best is not None
    assert results.best.number == 1
    assert "the lowest loss" in text_of(sweep_page(results))


def test_members_are_averaged_and_the_lead_measured_by_their_range(tmp_path: Path) -> None:
    trials = [
        *(MadeTrial(0, UNET, [value], member=f"seed {n}") for n, value in enumerate((0.90, 0.92, 0.94))),
        *(MadeTrial(1, FPN, [value], member=f"seed {n}") for n, value in enumerate((0.91, 0.91, 0.91))),
    ]
    page = page_of(tmp_path, MadeSweep(trials, SPACE))
    text = text_of(page)
    assert "0.01 ahead of the runner-up, which is less than its own trials differ (0.04)" in text
    assert "mean of 3, 0.9000 to 0.9400" in text
    assert "There is no bundle in" in text
    assert f"{tmp_path}/sweep/trial-0000-seed-2/best" in text
    assert page.count("<tr class='member'>") == 6


def test_a_candidate_with_a_failed_member_does_not_count(tmp_path: Path) -> None:
    trials = [
        MadeTrial(0, UNET, [0.99], member="fold 1"),
        MadeTrial(0, UNET, [], "failed", "lost its node", "fold 2"),
        MadeTrial(1, FPN, [0.9]),
    ]
    results = results_of(tmp_path, MadeSweep(trials, SPACE))
    assert [candidate.number for candidate in results.ranked] == [1]
    text = text_of(sweep_page(results))
    assert "It is the only candidate with a value so far." in text
    assert "lost its node" in text


def test_no_trial_yet(tmp_path: Path) -> None:
    page = page_of(tmp_path, MadeSweep([], SPACE, "running"))
    assert "No trial has begun yet." in page
    assert headings(page) == []


def test_no_value_yet_says_which_run(tmp_path: Path) -> None:
    page = page_of(tmp_path, MadeSweep([MadeTrial(0, UNET, [], "running"), MadeTrial(1, FPN, [], "running")], SPACE))
    assert "No candidate has a value yet. Running: trial-0000, trial-0001." in page
    assert headings(page) == ["All trials"]


def test_everything_failed(tmp_path: Path) -> None:
    reason = "CUDA out of memory - lower train.batch_size"
    page = page_of(tmp_path, MadeSweep([MadeTrial(n, UNET, [0.5], "failed", reason) for n in range(3)], SPACE))
    assert "All trials failed; the table tells why." in page
    assert page.count(reason) == 3


def test_one_trial_of_one_epoch(tmp_path: Path) -> None:
    page = page_of(tmp_path, MadeSweep([MadeTrial(0, UNET, [0.5])], SPACE))
    assert "1 candidate has a final value; with fewer than 8 nothing can be said." in page


def test_epochs_without_a_value(tmp_path: Path) -> None:
    trials = [MadeTrial(0, UNET, [0.5, NAN, 0.7]), MadeTrial(1, FPN, [NAN, NAN])]
    page = page_of(tmp_path, MadeSweep(trials, SPACE))
    assert "1 candidate without a value not shown." in page


def test_names_are_only_text(tmp_path: Path) -> None:
    long = "one value that goes on and on_" * 20
    trials = [
        MadeTrial(n, {"model.name": HOSTILE, "a.note": long, "b": ["<b>", 1], "c": None}, [0.5 + n / 100], "finished")
        for n in range(9)
    ]
    trials.append(MadeTrial(9, UNET, [], "failed", HOSTILE))
    space: dict[str, dict[str, Any]] = {"model.name": {"choice": [HOSTILE, "x"]}, "b": {"choice": [["<b>", 1], [2]]}}
    page = page_of(tmp_path, MadeSweep(trials, space, tune={"searcher": HOSTILE, "scheduler": None}))
    assert "<img" not in page
    assert "<b>'" not in page
    assert HOSTILE in text_of(page)
    charts = [ElementTree.fromstring(chart) for chart in re.findall("<svg.*?</svg>", page, re.DOTALL)]
    assert max(len(label.text or "") for chart in charts for label in chart.iter("text")) < SHORT + 4


def test_no_parameters_at_all(tmp_path: Path) -> None:
    page = page_of(tmp_path, MadeSweep([MadeTrial(n, {}, [0.5 + n / 100]) for n in range(9)], {}))
    assert "or the same parameters, to tell what decides" in page


def test_a_place_that_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path} is no sweep") as refused:
        read_results(Location(tmp_path))
    assert refused.value.remedy
