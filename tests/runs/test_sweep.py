"""A sweep in storage: its trials, its candidates, and which of them is the best."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sweep import MadeSweep, MadeTrial, write_sweep

from raycxr.config.sections import Config
from raycxr.errors import DataError
from raycxr.runs.metric import Mode
from raycxr.runs.record import start_record
from raycxr.runs.sweep import (
    SWEEP,
    Candidate,
    Trial,
    candidates,
    is_sweep,
    parameter_text,
    ranked,
    read_sweep,
    read_trials,
    short,
)
from raycxr.storage.location import Location

NAN = float("nan")
DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}


def trial(candidate: int, curve: Sequence[float], status: str = "finished", member: str | None = None) -> Trial:
    history = [{"validation": {"dice": {"mean": value}}, "seconds": 2.0} for value in curve]
    place = Location("/sweep") / f"{candidate} {member}"
    return Trial(place, candidate, member, {"optimizer.lr": candidate}, status, None, len(curve), history)


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = [
        MadeTrial(0, {"loss": {"dice": 1}}, [0.5, NAN, 0.7], seconds=6),
        MadeTrial(1, {"loss": {"bce": 1}}, [], "failed", "no memory", "seed 1", epochs=9),
    ]
    place = Location(tmp_path / "sweep")
    write_sweep(place, MadeSweep(made))
    # An ordinary run that lies there, and a folder without one, are no trials.
    start_record(place / "stray", Config(), DATASET, 1)
    (place / "other" / "notes.txt").write_text("")
    first, second = read_trials(place)
    assert (first.candidate, first.member, first.parameters, first.status) == (
        0,
        None,
        {"loss": {"dice": 1}},
        "finished",
    )
    assert (second.candidate, second.member, second.status, second.reason) == (1, "seed 1", "failed", "no memory")
    assert (first.epochs_planned, second.epochs_planned, second.history) == (3, 9, [])
    assert [str(value) for value in first.curve("dice.mean")] == ["0.5", "nan", "0.7"]
    assert first.seconds == pytest.approx(6)
    assert read_sweep(place)["metric"] == "dice.mean"


def test_the_value_of_a_trial_is_its_best_epoch() -> None:
    curve = trial(0, [NAN, 0.4, 0.9, 0.2])
    assert [curve.value("dice", mode) for mode in ("max", "min")] == [0.9, 0.2]
    best = curve.best_entry("dice", "max")
    assert best is not None
    assert best["validation"]["dice"]["mean"] == 0.9
    undefined = trial(0, [NAN, NAN])
    for metric in ("dice", "auc"):
        assert undefined.value(metric, "max") is None
        assert undefined.best_entry(metric, "max") is None
    assert [str(value) for value in curve.curve("auc")] == ["nan"] * 4


def test_a_candidate_has_the_mean_of_its_trials() -> None:
    def value(*trials: Trial) -> float | None:
        return Candidate(0, {}, trials).value("dice", "max")

    assert value(trial(0, [0.4, 0.5]), trial(0, [0.7, 0.1])) == pytest.approx(0.6)
    assert value(trial(0, [0.5]), trial(0, [0.9], "failed")) is None
    assert value(trial(0, [0.5]), trial(0, [])) is None
    assert value(trial(0, [0.5], "running")) == 0.5


@given(
    st.lists(st.lists(st.one_of(st.just(NAN), st.integers(0, 5).map(float)), max_size=3), max_size=6),
    st.sampled_from(["max", "min"]),
)
def test_candidates_are_ranked_and_of_equal_ones_the_earlier_is_first(curves: list[list[float]], mode: Mode) -> None:
    found = ranked([trial(number, curve) for number, curve in enumerate(curves)], "dice", mode)
    values = [candidate.value("dice", mode) for candidate in found]
    known = [value for value in values if value is not None]
    assert len(known) == len(values) == sum(any(value == value for value in curve) for curve in curves)
    assert known == sorted(known, reverse=mode == "max")
    pairs = [(value, candidate.number) for value, candidate in zip(known, found, strict=True)]
    assert all(one[0] != other[0] or one[1] < other[1] for one, other in itertools.pairwise(pairs))


def test_those_whose_further_seeds_were_spared_come_last() -> None:
    trials = [trial(0, [0.9], "stopped", "seed 0"), trial(2, [0.2], "failed", "seed 0")]
    trials += [trial(1, [0.5], member="seed 0"), trial(1, [0.7], member="seed 1")]
    assert [candidate.number for candidate in candidates(trials)] == [0, 1, 2]
    assert [candidate.number for candidate in ranked(trials, "dice", "max")] == [1, 0]


def test_what_is_no_sweep_is_told(tmp_path: Path) -> None:
    place = Location(tmp_path / "sweep")
    assert not is_sweep(place)
    with pytest.raises(DataError, match=r"sweep is no sweep: no sweep\.json - see raycxr runs"):
        read_sweep(place)
    for text, part in (("{", "is not valid JSON"), ("[]", "is not the record of a sweep"), ("{}", "not the record")):
        (place / SWEEP).write_text(text)
        with pytest.raises(DataError, match=part):
            read_sweep(place)
    (place / SWEEP).write_text(json.dumps({"space": {}}))
    assert is_sweep(place)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-4, "0.0003"),
        (0.000312345, "0.000312"),
        (1.0, "1"),
        (8, "8"),
        (True, "True"),
        (None, "none"),
        ("unet", "unet"),
        ({"bce": 1, "dice": 1.0}, "bce+dice"),
        ({"bce": 0.5, "tversky": 1}, "0.5 bce+tversky"),
        ({"name": "unet", "image_head": True, "freeze_encoder": False}, "name unet+image_head+freeze_encoder False"),
        ([16, 32], "[16, 32]"),
    ],
)
def test_a_value_in_few_characters(value: Any, text: str) -> None:
    assert parameter_text(value) == text


def test_a_key_in_few_characters() -> None:
    keys = ["optimizer.lr", "model.name", "loss_settings.focal.gamma", "loss", "augment.preset"]
    assert [short(key) for key in keys] == ["lr", "model", "gamma", "loss", "preset"]
