"""Evaluation: the figures of a known model at the original size, against independent implementations."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import f1_score, jaccard_score

from raycxr.config.evaluate import EvaluateSection
from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.dataset.manifest import read_index
from raycxr.errors import DataError, UsageError
from raycxr.evaluation.evaluate import Evaluation, evaluate_predictor
from raycxr.evaluation.files import write_evaluation
from raycxr.evaluation.summary import summarise, summary_text
from raycxr.evaluation.truth import OriginalMasks
from raycxr.models.choices import build_model
from raycxr.prediction.bundle import load_model
from raycxr.prediction.predictor import load_predictor
from raycxr.prediction.target import normalise, target_kind
from raycxr.storage.location import Location
from raycxr.training.bundle import save_bundle
from raycxr.training.rule_search import training_rules
from raycxr.xray.mask import unpack_bits
from raycxr.xray.picture import decode_picture


@pytest.fixture(scope="module")
def bundle(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """A network with random weights: its figures are poor, and must be measured right all the same."""
    return random_bundle(phantom_config, tmp_path_factory, "multilabel")


def random_bundle(path: Path, tmp_path_factory: pytest.TempPathFactory, target_name: str) -> Location:
    config = load_config(path, [f"dataset.target={target_name}", "loss={dice: 1}"])
    splits = open_splits(config)
    target = target_kind(config.dataset, splits.manifest.classes)
    torch.manual_seed(1)
    model = build_model(config.model, 1, target.channels)
    means = {name: dict.fromkeys((*target.classes, "mean"), 0.0) for name in ("dice", "iou")}
    place = Location(tmp_path_factory.mktemp("bundle") / "best")
    save_bundle(
        place,
        model.state_dict(),
        {"epoch": 1, "metrics": means},
        config,
        target,
        splits,
        training_rules(config, target),
    )
    return place


def evaluate(bundle: Location, split: str = "test", dataset: str | None = None, **settings: object) -> Evaluation:
    section = EvaluateSection.model_validate(settings)
    return evaluate_predictor(load_predictor([bundle]), dataset, split, section, print, lambda done, total: None)


def test_original_masks_are_the_files(phantom_config: Path, phantoms: Path) -> None:
    config = load_config(phantom_config)
    splits = open_splits(config)
    originals = OriginalMasks(splits)
    for row in read_index(splits.location):
        fold = "fold1" if int(row["id"][-3:]) % 2 else "fold2"
        masks = unpack_bits(originals.read(row), 3)
        heart = decode_picture((phantoms / "scr" / fold / "masks" / "heart" / f"{row['id']}.gif").read_bytes())
        assert np.array_equal(masks[1], heart > 0)


def test_figures_agree_with_scikit_learn_and_scipy(bundle: Location, phantom_config: Path) -> None:
    evaluation = evaluate(bundle, "all", resolution="dataset", overlays=24)
    assert len(evaluation.films) == 24
    assert evaluation.unit == "mm"
    film, picture = evaluation.worst[3]
    for number, name in enumerate(evaluation.classes):
        truth, predicted = picture.truth[number], picture.predicted[number]
        assert film.values["dice"][name] == pytest.approx(f1_score(truth.ravel(), predicted.ravel()), abs=1e-9)
        assert film.values["iou"][name] == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel()), abs=1e-9)
        assert film.values["pixel_accuracy"][name] == pytest.approx(np.mean(truth == predicted))
        if predicted.any():
            spacing = 358.4 / 32

            def outline(mask: np.ndarray) -> np.ndarray:
                padded = np.pad(mask, 1)
                inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
                return np.asarray(mask & ~inner)

            a, b = outline(predicted), outline(truth)
            forth = distance_transform_edt(~b, sampling=spacing)[a]
            back = distance_transform_edt(~a, sampling=spacing)[b]
            expected = max(np.percentile(forth, 95), np.percentile(back, 95))
            assert film.values["hd95"][name] == pytest.approx(expected)


@pytest.mark.parametrize("target_name", ["multilabel", "multiclass"])
def test_scores_and_calibration_are_those_of_the_structures(
    phantom_config: Path, tmp_path_factory: pytest.TempPathFactory, target_name: str
) -> None:
    place = random_bundle(phantom_config, tmp_path_factory, target_name)
    evaluation = evaluate(place, resolution="dataset", surface_distances=False)
    model, target, _ = load_model(place)
    assert len(evaluation.worst) == len(evaluation.films)
    for film, picture in evaluation.worst:
        with torch.no_grad():
            probabilities = target.activate(model(normalise(torch.from_numpy(picture.image)[None])))[0].numpy()
        structures = probabilities[1:] if target_name == "multiclass" else probabilities
        # One pixel of 32 x 32 is the highest 0.1 %.
        np.testing.assert_allclose(film.measures.scores, structures.max(axis=(1, 2)), atol=1e-6)
        mean = film.measures.calibration[:, 1].sum(axis=1) / (2 * 15 * 1024)
        np.testing.assert_allclose(mean, structures.mean(axis=(1, 2)), atol=1e-4)
        np.testing.assert_allclose(film.measures.calibration[:, 2].sum(axis=1), picture.truth.mean(axis=(1, 2)))
        assert "hd95" not in film.values
    wide = evaluate(place, resolution="dataset", surface_tolerance_mm=1e6)
    assert summarise(wide, 50)["metrics"]["surface_dice"]["lungs"] in (0.0, 1.0)


def test_the_size_of_comparison_is_the_masks_own(bundle: Location) -> None:
    original = evaluate(bundle, resolution="original")
    small = evaluate(bundle, resolution="dataset")
    assert [film.id for film in original.films] == [film.id for film in small.films]
    assert original.films[0].values["dice"] != small.films[0].values["dice"]


def test_a_perfect_model_is_perfect(bundle: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = evaluate(bundle)
    for film in evaluation.films:
        film.values["dice"] = dict.fromkeys(film.values["dice"], 1.0)
    summary = summarise(evaluation, 100)
    assert summary["metrics"]["dice"]["mean"] == 1.0
    assert summary["intervals"]["dice"]["mean"] == [1.0, 1.0]


def test_summaries_average_over_films(bundle: Location) -> None:
    evaluation = evaluate(bundle, "all")
    summary = summarise(evaluation, 500)
    values = [film.values["dice"]["lungs"] for film in evaluation.films]
    low, high = summary["intervals"]["dice"]["lungs"]
    assert summary["metrics"]["dice"]["lungs"] == pytest.approx(np.mean(values))
    assert min(values) <= low <= np.mean(values) <= high <= max(values)
    assert summarise(evaluation, 500) == summary
    assert "lungs" in summary_text(summary)


def test_files(bundle: Location, tmp_path: Path) -> None:
    evaluation = evaluate(bundle, "all", overlays=3)
    summaries = [summarise(evaluation, 100)]
    files = write_evaluation(Location(tmp_path), [evaluation], summaries, load_predictor([bundle]))
    assert [file.name for file in files] == ["films.csv", "summary.json", "worst.png", "best.png", "report.html"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "films.csv").read_text())))
    assert len(rows) == 24 * 4
    assert float(rows[0]["dice"]) == pytest.approx(evaluation.films[0].values["dice"]["lungs"], abs=1e-6)
    assert json.loads((tmp_path / "summary.json").read_text())["results"][0]["images"] == 24
    worst = decode_colour(tmp_path / "worst.png")
    assert worst.shape[2] == 3
    assert worst.std() > 10
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") == 2
    assert "clavicles" in page
    order = sorted(film.values["dice"]["mean"] for film in evaluation.films)
    assert [film.values["dice"]["mean"] for film, _ in evaluation.worst] == order[:3]
    assert [film.values["dice"]["mean"] for film, _ in evaluation.best] == order[:-4:-1]


def test_pictures_of_data_sets_with_one_name_stay_apart(bundle: Location, tmp_path: Path) -> None:
    first = evaluate(bundle, overlays=1)
    evaluations = [replace(first, dataset=uri) for uri in ("a/jsrt/256", "a/tb/256", "a/pneumonia")]
    summaries = [summarise(evaluation, 10) for evaluation in evaluations]
    files = write_evaluation(Location(tmp_path), evaluations, summaries, load_predictor([bundle]))
    worst = [file.name for file in files if file.name.startswith("worst")]
    assert worst == ["worst-256-1.png", "worst-256-2.png", "worst-pneumonia.png"]


def decode_colour(path: Path) -> np.ndarray:
    import cv2

    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture)


def test_a_bundle_loads_to_the_same_network(bundle: Location) -> None:
    model, target, description = load_model(bundle)
    assert target.classes == description.classes == ("lungs", "heart", "clavicles")
    again, _, _ = load_model(bundle)
    film = torch.rand(1, 1, 32, 32)
    assert torch.equal(model(film), again(film))


def test_other_grey_levels_are_told_in_one_line(bundle: Location, phantom_config: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(phantom_config.parent / "data", tmp_path / "data"))
    predictor = load_predictor([bundle, bundle], ())
    section = EvaluateSection(resolution="dataset", surface_distances=False)
    told: list[str] = []
    evaluate_predictor(predictor, str(data), "test", section, told.append, lambda done, total: None)
    assert told == []
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["intensity"] = {"rule": "keep", "low": None, "high": 4095}
    (data / "manifest.json").write_text(json.dumps(manifest))
    evaluate_predictor(predictor, str(data), "test", section, told.append, lambda done, total: None)
    assert len(told) == 1
    assert f"{data} was ingested with keep, white at 4095, {bundle} was trained on percentile 0.5 to 99.5" in told[0]


def test_what_cannot_be_evaluated(bundle: Location, phantom_config: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose train, validation, test or all"):
        evaluate(bundle, "tests")
    with pytest.raises(DataError, match="no data set"):
        evaluate(bundle, dataset=str(tmp_path / "nowhere"))
