"""What is wrong with a sweep is told in one line before anything of it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.errors import ConfigurationError, DataError, RaycxrError
from raycxr.runs.sweep_record import note_sweep, start_sweep
from raycxr.storage.location import Location
from raycxr.tuning.preparation import SweepPlan, plan_sweep

DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}
RATES = "tune.space={optimizer.lr: [0.1, 0.2]}"


def plan(path: Path, *overrides: str, resume: bool = False) -> SweepPlan:
    return plan_sweep(load_config(path, overrides), path, resume)


def refused(path: Path, *overrides: str, resume: bool = False) -> RaycxrError:
    with pytest.raises(RaycxrError) as caught:
        plan(path, *overrides, resume=resume)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_what_a_sweep_is(phantom_config: Path, tmp_path: Path) -> None:
    storage = f"storage.uri={tmp_path}"
    made = plan(
        phantom_config, storage, "tune.space={train.epochs: [2, 7], optimizer.lr: {uniform: [0.1, 0.2]}}",
        "train.name=first", "tune.metric=loss", "train.metric=dice",
    )  # fmt: skip
    assert made.sweep == Location(tmp_path / "first")
    assert (made.metric, made.mode, made.epochs) == ("loss", "min", 7)
    assert (made.base.train.metric, made.base.train.name, made.base.storage.uri) == ("loss", None, made.sweep.uri)
    assert Path(str(made.base.dataset.uri)).is_absolute()
    assert list(made.space.parameters) == ["train.epochs", "optimizer.lr"]
    plain = plan(phantom_config, storage, RATES)
    assert plain.sweep.name.startswith("tiny-")
    assert (plain.metric, plain.mode, plain.epochs, plain.base.dataset.split) == (
        "dice.mean", "max", 2, load_config(phantom_config).dataset.split,
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_trials_have_a_fixed_number_of_workers(phantom_config: Path) -> None:
    error = refused(phantom_config, RATES, "resources.workers=[1, 2]")
    assert "every trial of a sweep has the same number of workers, resources.workers = [1, 2]" in error.message
    assert error.remedy == "set resources.workers=1"


def test_folds_divide_what_is_not_tested(phantom_config: Path) -> None:
    made = plan(phantom_config, RATES, "tune.folds=5")
    assert made.base.dataset.split is not None
    assert (made.base.dataset.split.validation_folds, made.base.dataset.split.validation_fold) == (5, 1)
    # Folds of the configuration itself give way.
    split = "dataset.split={rule: fraction, train: 5, validation: 1, test: 1, validation_folds: 9, validation_fold: 9}"
    made = plan(phantom_config, RATES, "tune.folds=2", split)
    assert made.base.dataset.split is not None
    assert (made.base.dataset.split.validation_folds, made.base.dataset.split.validation_fold) == (2, 1)
    assert "21 folds need as many patients, there are 20" in str(refused(phantom_config, RATES, "tune.folds=21"))


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ([], "tune.space is empty"),
        (["tune.space={optimizer.rate: [0.1]}"], "'optimizer.rate'"),
        (["tune.space={train.batch_size: [6, 8]}", "train.accumulate=4"], "1 of 2 combinations cannot be trained, such"
         " as train.batch_size = 6: train.batch_size = 6 cannot be shared"),
        (["tune.space={model.name: [inverted_net, pan]}"], "films are 32x32 pixels, pan needs 128 or more"),
        (["tune.space={model.name: [deeplabv3]}", "train.batch_size=1"], "the batch norm of deeplabv3 needs two"),
        (["tune.space={model.name: [inverted_net, unet], model.form: [paper, dd2424]}", "model.channels=null"],
         "1 of 4 combinations cannot be trained, such as model.name = unet, model.form = dd2424: model.form"),
        (["tune.space={loss: [{dice: 1}, {dise: 1}]}"], "1 of 2 combinations cannot be trained, such as loss = dise"),
        ([RATES, "tune.metric=dice.liver"], "tune.metric = 'dice.liver' is not measured"),
        ([RATES, "tune.mode=min"], "tune.mode = 'min': of dice.mean the highest is the best"),
        (["tune.space={train.epochs: {uniform: [2, 4]}}"], "valid integer"),
        (["tune.space={optimizer.lr: {uniform: [0.1, 0.2]}}", "train.batch_size=7", "train.accumulate=2"],
         "train.batch_size = 7 cannot be shared by 1 worker"),
        ([RATES, "train.precision=fp16"], "fp16"),
        ([RATES, "tune.gpu_hours=3"], "tune.gpu_hours is set, and trials use no GPU"),
        ([RATES, "classify={label: ill, encoder: resnet18}"], "a classifier is not swept"),
        ([RATES, "dataset.uri=/nowhere/at/all"], "/nowhere/at/all"),
        ([RATES, "tune.start_from=/nowhere/at/all"], "/nowhere/at/all is no sweep"),
    ],
)  # fmt: skip
def test_mistakes(phantom_config: Path, tmp_path: Path, overrides: list[str], part: str) -> None:
    error = refused(phantom_config, f"storage.uri={tmp_path}", *overrides)
    assert part in str(error), str(error)
    assert not list(tmp_path.iterdir())


def test_the_end_of_a_large_space_is_checked_too(phantom_config: Path) -> None:
    """More combinations than are checked one by one: the network that does not fit would be reached last."""
    large = "optimizer.lr: {uniform: [0.1, 0.2]}, train.seed: {randint: [0, 999]}"
    error = refused(phantom_config, f"tune.space={{model.name: [inverted_net, pan], {large}}}")
    assert "pan needs 128 or more" in str(error)
    assert plan(phantom_config, f"tune.space={{train.epochs: [1, 5], {large}}}").epochs == 5


def test_numbers_that_do_not_go_together_are_found(phantom_config: Path) -> None:
    """Each is within its own bounds."""
    shares = "augment.elastic_probability: {uniform: [0, 0.7]}, augment.grid_probability: {uniform: [0, 0.7]}"
    error = refused(
        phantom_config,
        f"tune.space={{{shares}}}",
        "augment.elastic=1",
        "augment.elastic_probability=0.2",
        "augment.grid_distortion=0.1",
        "augment.grid_probability=0.2",
    )
    assert "combinations cannot be trained" in str(error)
    assert "above 1" in str(error)


def test_the_most_epochs_are_those_of_the_space(phantom_config: Path) -> None:
    large = "optimizer.lr: {uniform: [0.1, 0.2]}, train.seed: {randint: [0, 999]}"
    assert plan(phantom_config, f"tune.space={{train.epochs: {{randint: [1, 997]}}, {large}}}").epochs == 997


def test_learning_from_a_sweep_that_searched_for_something_else(phantom_config: Path, tmp_path: Path) -> None:
    config = load_config(phantom_config, [RATES])
    start_sweep(Location(tmp_path / "earlier"), config, DATASET, "loss", "min")
    start = f"tune.start_from={tmp_path / 'earlier'}"
    error = refused(phantom_config, RATES, start)
    assert isinstance(error, ConfigurationError)
    assert "searched for loss, and this sweep for dice.mean" in str(error)
    assert plan(phantom_config, RATES, start, "tune.metric=loss").metric == "loss"


def test_which_sweep_is_resumed(phantom_config: Path, tmp_path: Path) -> None:
    storage = f"storage.uri={tmp_path / 'runs'}"
    error = refused(phantom_config, RATES, storage, resume=True)
    assert "which sweep is to be resumed? Unfinished ones of tiny under" in str(error)
    assert str(error.message).endswith(": none")
    runs = Location(tmp_path / "runs")
    config = load_config(phantom_config, [RATES])
    for name in ("tiny-1", "tiny-2", "other-1"):
        start_sweep(runs / name, config, DATASET, "dice.mean", "max")
    (runs / "tiny-3" / "run.json").write_text("{}")
    note_sweep(runs / "tiny-2", 1.0, "finished")
    assert plan(phantom_config, RATES, storage, resume=True).sweep.name == "tiny-1"
    note_sweep(runs / "tiny-1", 1.0, "failed")
    assert plan(phantom_config, RATES, storage, resume=True).sweep.name == "tiny-1"
    # Another one by its name, whatever became of it.
    assert plan(phantom_config, RATES, storage, "train.name=tiny-2", resume=True).sweep.name == "tiny-2"
    note_sweep(runs / "tiny-2", 1.0, "interrupted")
    assert "2: tiny-1, tiny-2" in str(refused(phantom_config, RATES, storage, resume=True))


def test_a_data_set_that_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("tune: {space: {optimizer.lr: [0.1, 0.2]}}")
    assert "no data set is named" in str(refused(path))
    assert not isinstance(refused(path), DataError)
