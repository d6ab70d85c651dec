"""Every configuration that trains does so: an epoch on small phantoms in the layout that it names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pod_environment import ON_A_CLUSTER

from raycxr.cli.main import run
from raycxr.config.augment import AugmentSection
from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.models.choices import check_model
from raycxr.runs.record import read_history
from raycxr.storage.location import Location
from raycxr.tuning.preparation import plan_sweep

CONFIGS = Path(__file__).parents[1] / "configs"
FILMS, PIXELS = 24, 96
# Where `raycxr synth` puts films and masks, and what a configuration finds below its own folder of films.
PLACES = {
    "jsrt": ("", "scr"),
    "tb-mirror": ("", "masks"),
    "pairs": ("images", "masks"),
    "siim-dicom": ("dicom-images-train", "train-rle.csv"),
    "siim-png": ("", "png_masks"),
    "shenzhen": ("", "mask"),
}
# Changes of films of every configuration that trains, after all that it inherits.
CHANGES: dict[str, dict[str, Any]] = {
    "demo.yaml": {},
    "jsrt/best.yaml": {"preset": "strong"},
    "jsrt/dd2424.yaml": {"preset": "keras_dd2424"},
    "jsrt/invertednet.yaml": {"preset": "standard"},
    "jsrt/structures_256.yaml": {"preset": "standard", "elastic": 1.0},
    "kubernetes/structures.yaml": {"preset": "standard", "elastic": 1.0},
    "pneumonia/unet.yaml": {"preset": "none"},
    "siim/fcn_inceptionv3.yaml": {"preset": "none"},
    "siim/fcn_resnet50.yaml": {"preset": "none"},
    "siim/fcn_vgg19.yaml": {"preset": "none"},
    "siim/light.yaml": {"preset": "siim"},
    "siim/rehearsal_256.yaml": {"preset": "siim"},
    "siim/winner.yaml": {"preset": "siim"},
    "siim/winner_512.yaml": {"preset": "siim"},
    "tb/best.yaml": {"preset": "standard", "elastic": 1.0},
    "tb/classify_best.yaml": {},
    "tb/classify_inceptionresnetv2.yaml": {},
    "tb/classify_resnet50.yaml": {},
    "tb/classify_vgg16.yaml": {},
    "tb/resunet.yaml": {"preset": "contrast_noise"},
    "tb/unet.yaml": {"preset": "contrast_noise"},
}
# Measured of every class and on any film; and those of a data set whose films may show nothing.
SHARES = ("dice", "iou", "precision", "recall", "pixel_accuracy", "calibration_error")
OF_EMPTY_FILMS = ("siim_score", "floor", "negatives_empty")


def read(name: str) -> Config:
    return load_config(CONFIGS / name, [])


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Configurations name the folder of real films, and some a run that lies below the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("configs")
        patch.setenv("RAYCXR_DATA", str(folder / "nothing"))
        patch.setenv("RAYCXR_DEMO", str(folder / "demo"))
        for name, value in ON_A_CLUSTER.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def trained() -> set[str]:
    """Names of the runs that these tests have trained."""
    return set()


def trains(path: Path) -> bool:
    """Whether a file is for training rather than for ingest alone."""
    lines = path.read_text().splitlines()
    return any(line.startswith(("train:", "classify:", "extends:")) for line in lines)


NAMES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml") if trains(path))
SWEEPS = [name for name in NAMES if "sweep" in name]
TRAINING = [name for name in NAMES if name not in SWEEPS]


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Answer of a verb."""
    capsys.readouterr()
    status = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    assert status == 0, f"{out}\n{err}"
    answer: dict[str, Any] = json.loads(out)
    return answer


def ingested(capsys: pytest.CaptureFixture[str], name: str) -> str:
    """Data set of phantoms as a configuration describes it."""
    config = read(name)
    assert config.ingest is not None
    layout = config.ingest.source
    films, out = Path(layout), Path("data", name)
    if not films.exists():
        size = "--size", str(2 * PIXELS)
        command(capsys, "synth", layout, "--out", str(films), "--count", str(FILMS), *size)
    images, masks = PLACES[layout]
    places = f"ingest.images={films / images}", f"ingest.masks={films / masks}", f"ingest.out={out}"
    command(capsys, "ingest", str(CONFIGS / name), *places, f"ingest.size={PIXELS}", "--local")
    return str(out)


def train(capsys: pytest.CaptureFixture[str], trained: set[str], name: str) -> str:
    """Run of one epoch, with the runs that it stands on trained before; hub weights are not to be had everywhere."""
    config, title = read(name), name.replace("/", "_").removesuffix(".yaml")
    if title in trained:
        return f"runs/{title}"
    small = [
        f"dataset.uri={ingested(capsys, name)}",
        "storage.uri=runs",
        f"train.name={title}",
        "train.batch_size=4",
        "train.epochs=1",
    ]
    if config.classify is not None:
        small += ["classify.epochs=1", "classify.validation.folds=2"]
        if config.classify.bundle is not None:
            small += [f"classify.bundle={train(capsys, trained, 'tb/best.yaml')}"]
        else:
            small += ["classify.encoder_weights=null"]
    else:
        small += ["model.encoder_weights=null", "sampling.films_per_epoch=16"]
        if config.train.start_from is not None:
            small += [f"train.start_from={train(capsys, trained, 'siim/winner_512.yaml')}"]
    answer = command(capsys, "train", str(CONFIGS / name), *small, "--local")
    assert answer["epochs"] >= 1
    trained.add(title)
    return f"runs/{title}"


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_a_configuration_trains_and_is_measured(
    capsys: pytest.CaptureFixture[str], trained: set[str], name: str
) -> None:
    place = train(capsys, trained, name)
    if read(name).classify is not None:
        # It was trained on all films in the end, and measured out of fold.
        best = json.loads(Path(place, "best", "metrics.json").read_text())
        assert best["images"] == FILMS
        assert 0 <= best["metrics"]["auc"]["mean"] <= 1
        return
    config = read(name)
    [entry] = read_history(Location(place))
    assert entry["best"]
    for value in (entry["train"]["loss"], entry["validation"]["loss"], metric_of(entry, config.train.metric)):
        assert math.isfinite(value)
    assert json.loads(Path(place, "run.json").read_text())["config"]["augment"] == config.augment.model_dump()
    [result] = command(capsys, "evaluate", place, "--split", "validation")["results"]
    assert result["images"] >= 2
    check_figures(result["metrics"], structures(config))
    assert (result["metrics"].keys() >= set(OF_EMPTY_FILMS)) == name.startswith("siim/")


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_every_combination_of_a_sweep_can_be_trained(capsys: pytest.CaptureFixture[str], name: str) -> None:
    overrides = [f"dataset.uri={ingested(capsys, name)}", "storage.uri=runs"]
    plan = plan_sweep(load_config(CONFIGS / name, overrides), CONFIGS / name, resume=False)
    assert plan.epochs == plan.base.train.epochs
    combinations = list(plan.space.combinations(("choice", "grid", "randint")))
    assert len(combinations) >= 9
    assert {"model.name", "loss"} <= set(combinations[0])


def metric_of(entry: dict[str, Any], metric: str) -> float:
    """What a run chooses its best epoch by, as the history has it."""
    name, of = metric.split(".")
    return float(entry["validation"][name][of])


def structures(config: Config) -> list[str]:
    """Classes that a configuration segments."""
    assert config.ingest is not None
    if config.ingest.classes is not None:
        return list(config.ingest.classes)
    return [{"pairs": config.ingest.structure, "tb-mirror": "lungs"}.get(config.ingest.source, "pneumothorax")]


def check_figures(metrics: dict[str, dict[str, float]], classes: list[str]) -> None:
    """Every class is measured, within its range, and figures that hang together do."""
    for name in SHARES:
        assert set(metrics[name]) == {*classes, "mean"}, name
        values = [metrics[name][one] for one in classes]
        assert all(0 <= value <= 1 for value in values), name
        assert metrics[name]["mean"] == pytest.approx(sum(values) / len(values)), name
    for one in classes:
        # Of one film, IoU = Dice / (2 - Dice); the mean over films lies between the chord and the curve.
        dice, iou = metrics["dice"][one], metrics["iou"][one]
        assert dice / (2 - dice) - 1e-9 <= iou <= dice + 1e-9
        # Undefined where one of the two masks of every film is empty.
        if one in metrics.get("hd95", {}):
            assert metrics["hd95"][one] >= metrics["assd"][one] >= 0


def test_every_configuration_that_trains_is_written_down_here() -> None:
    assert sorted(CHANGES) == TRAINING


@pytest.mark.parametrize("name", TRAINING)
def test_a_configuration_resolves_to_the_changes_and_the_network_that_it_names(name: str) -> None:
    config = read(name)
    assert config.augment == AugmentSection(**CHANGES[name])
    check_model(config.model)


@pytest.mark.parametrize("name", sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")))
def test_a_configuration_opens_with_its_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reproduces or is about, the published figure, what was measured, and the command."""
    head = [line[2:].split(" ")[0] for line in (CONFIGS / name).read_text().splitlines() if line.startswith("# ")]
    opening = "Reproduces" if trains(CONFIGS / name) else "What"
    assert head[0] == opening
    assert {"Published", "Command"} <= set(head)
    assert "Measured" in head or name == "demo.yaml"
    read(name)
