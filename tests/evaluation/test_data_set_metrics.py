"""Figures of lesions that many films do not have: against scikit-learn, and in every place where they are shown."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from raycxr.evaluation.data_set_metrics import data_set_metrics
from raycxr.evaluation.evaluate import Evaluation, FilmResult
from raycxr.evaluation.film_metrics import measure_film
from raycxr.evaluation.page import report_page
from raycxr.evaluation.summary import film_table, summarise, summary_json, summary_text
from raycxr.metrics.presence import PRESENCE

CLASSES = ("lungs", "lesion")


def film(number: int, lesion: bool, found: bool, score: float) -> FilmResult:
    """A film of 20 x 20 pixels with lungs, perhaps with a lesion, and perhaps with one predicted beside it."""
    truth = np.zeros((2, 20, 20), bool)
    truth[0, 2:12, 2:12] = True
    truth[1, 14:18, 4:8] = lesion
    prediction = truth.copy()
    prediction[1] = False
    prediction[1, 14:18, 6:10] = found
    probabilities = np.where(prediction, 0.9, 0.05).astype(np.float32)
    scores = np.array([0.99, score])
    measures = measure_film(CLASSES, prediction, truth, probabilities, scores, 1.0, 2.0)
    return FilmResult(f"film{number}", f"patient{number}", measures)


def evaluation_of(films: list[FilmResult], unit: str = "mm") -> Evaluation:
    return Evaluation("data/siim", "0123", "test", CLASSES, unit, 2.0, films)


LESION = np.array([True, True, True, False, False, False, False, False])
FOUND = np.array([True, True, False, True, False, False, False, False])
SCORES = np.array([0.9, 0.6, 0.3, 0.7, 0.3, 0.2, 0.1, 0.0])


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of([film(number, *about) for number, about in enumerate(zip(LESION, FOUND, SCORES, strict=True))])


def test_figures_by_hand_and_by_scikit_learn(evaluation: Evaluation) -> None:
    metrics = summarise(evaluation, 500)["metrics"]
    # Two lesions found with a Dice of 0.5, one missed, one seen where none is, four films left empty.
    assert metrics["siim_score"] == {"lesion": 5 / 8, "mean": 5 / 8}
    assert metrics["siim_score"]["lesion"] == metrics["dice"]["lesion"]
    assert metrics["floor"]["lesion"] == 5 / 8
    assert metrics["dice_positive"]["lesion"] == pytest.approx(1 / 3)
    assert metrics["positives_found"]["lesion"] == pytest.approx(recall_score(LESION, FOUND))
    assert metrics["negatives_empty"]["lesion"] == pytest.approx(recall_score(~LESION, ~FOUND))
    assert metrics["auc"]["lesion"] == pytest.approx(roc_auc_score(LESION, SCORES))
    assert metrics["image_calibration_error"]["lesion"] < 0.5
    assert list(metrics["calibration_error"]) == ["lungs", "lesion", "mean"]
    assert metrics["calibration_error"]["lungs"] == pytest.approx(0.05 * 0.75 + 0.1 * 0.25, abs=1e-4)


def test_intervals_agree_with_resampled_films(evaluation: Evaluation) -> None:
    intervals = summarise(evaluation, 4000)["intervals"]
    generator, samples = np.random.default_rng(1), []
    won = (SCORES[:, None] > SCORES) + (SCORES[:, None] == SCORES) / 2
    for _ in range(4000):
        drawn = generator.integers(8, size=8)
        if 0 < LESION[drawn].sum() < 8:
            samples.append(won[np.ix_(drawn[LESION[drawn]], drawn[~LESION[drawn]])].mean())
    low, high = np.quantile(samples, [0.025, 0.975])
    assert intervals["auc"]["lesion"] == pytest.approx([low, high], abs=0.05)
    assert intervals["siim_score"]["lesion"] == pytest.approx(intervals["dice"]["lesion"], abs=0.07)
    assert summarise(evaluation, 4000)["intervals"] == intervals


def test_a_mean_over_classes_is_over_those_that_have_it() -> None:
    films = [film(number, number % 2 == 0, number < 3, number / 8) for number in range(6)]
    found = data_set_metrics([item.measures for item in films], CLASSES, 0, 200)
    assert found["auc"]["mean"] == found["auc"]["lesion"]
    errors = found["calibration_error"]
    assert errors["mean"].value == pytest.approx((errors["lungs"].value + errors["lesion"].value) / 2)
    for estimates in found.values():
        for estimate in estimates.values():
            assert estimate.low <= estimate.value + 1e-9
            assert estimate.value <= estimate.high + 1e-9


def test_without_empty_films_there_is_nothing_to_leave_empty() -> None:
    metrics = summarise(evaluation_of([film(number, True, True, 0.5) for number in range(3)]), 100)["metrics"]
    assert not set(PRESENCE) & set(metrics)


def test_without_any_lesion_only_the_empty_films_count() -> None:
    summary = summarise(evaluation_of([film(number, False, number == 0, 0.5) for number in range(4)]), 100)
    metrics = summary["metrics"]
    assert metrics["negatives_empty"]["lesion"] == 0.75
    assert not {"auc", "dice_positive", "positives_found"} & set(metrics)
    document = summary_json([summary], {"bundles": ["b"], "test_time": []})
    assert "NaN" not in document
    assert json.loads(document)["results"][0]["metrics"]["siim_score"]["lesion"] == 0.75


def test_the_terminal_shows_what_matters_of_each_kind(evaluation: Evaluation) -> None:
    lines = summary_text(summarise(evaluation, 100)).splitlines()
    organs, lesions = (next(line for line in lines if line.startswith(name)) for name in CLASSES)
    titles = [line for line in lines if line.startswith("  ")]
    assert "surface Dice at 2 mm" in titles[0]
    assert "SIIM score" in titles[1]
    assert "its floor" in titles[1]
    assert "0.625" in lesions
    assert "1.000" in organs
    assert not any(line.startswith("mean") for line in lines)
    assert max(map(len, lines)) <= 170
    unknown = summary_text(summarise(evaluation_of(evaluation.films, "pixels"), 100))
    assert "surface Dice at 2 pixels" in unknown
    assert "distances are in pixels" in unknown


def test_the_page_shows_everything(evaluation: Evaluation) -> None:
    page = report_page([evaluation], [summarise(evaluation, 100)], [{}], "bundle", "unet")
    for text in ("Found or not", "Overlap", "Outline", "recall", "lesion-wise Dice", "AUC of films", "its floor"):
        assert text in page
    assert "nan" not in page


def test_the_table_has_the_facts_behind_the_figures(evaluation: Evaluation) -> None:
    rows = [row for row in csv.DictReader(io.StringIO(film_table([evaluation]))) if row["structure"] == "lesion"]
    true = np.array([int(row["true_pixels"]) > 0 for row in rows])
    scores = np.array([float(row["score"]) for row in rows])
    assert [int(row["predicted_pixels"]) for row in rows] == [16 * int(found) for found in FOUND]
    assert roc_auc_score(true, scores) == pytest.approx(roc_auc_score(LESION, SCORES))
