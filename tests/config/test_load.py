"""Configurations: merging, overrides, environment variables, and errors that name key, value and choices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pod_environment import ON_A_CLUSTER
from pydantic import BaseModel, ValidationError

from raycxr.config.augment import AugmentSection
from raycxr.config.dataset import DatasetSection, SplitSection
from raycxr.config.ingest import IngestSection
from raycxr.config.load import load_config, to_yaml
from raycxr.config.optimizer import OptimizerSection
from raycxr.config.sections import Config
from raycxr.config.train import TrainSection
from raycxr.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sections_merge_and_overrides_win(tmp_path: Path) -> None:
    write(tmp_path, "train: {epochs: 7, batch_size: 4}\noptimizer: {lr: 0.5}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\ntrain: {epochs: 9}\n")
    config = load_config(path, ["train.seed=3", "optimizer.name=sgd"])
    assert (config.train.epochs, config.train.batch_size, config.train.seed) == (9, 4, 3)
    assert (config.optimizer.lr, config.optimizer.name) == (0.5, "sgd")


def test_a_loss_replaces_the_inherited_one(tmp_path: Path) -> None:
    write(tmp_path, "loss: {bce: 1, dice: 1}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nloss: {cross_entropy: 2}\n")
    assert load_config(path).loss == {"cross_entropy": 2.0}
    assert load_config(path, ["loss.dice=3"]).loss == {"cross_entropy": 2.0, "dice": 3.0}


def test_a_preset_replaces_the_inherited_changes(tmp_path: Path) -> None:
    write(tmp_path, "augment: {rotate_degrees: 10, elastic: 1.0, shift: 0.05}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\naugment: {preset: strong, shift: 0.01}\n")
    strong = AugmentSection(preset="strong", shift=0.01)
    assert load_config(path).augment == strong
    assert load_config(path, ["augment.blur=0"]).augment == strong.model_copy(update={"blur": 0.0})
    none = load_config(path, ["augment.gamma=0.1", "augment.preset=none", "augment.rotate_degrees=3"]).augment
    assert none == AugmentSection(preset="none", rotate_degrees=3)
    # Without a preset, keys are merged as everywhere.
    more = write(tmp_path, "extends: base.yaml\naugment: {shift: 0.01}\n", "more.yaml")
    assert load_config(more).augment == AugmentSection(rotate_degrees=10, elastic=1.0, shift=0.01)
    again = write(tmp_path, to_yaml(load_config(path)), "again.yaml")
    assert load_config(again).augment == strong


def test_losses_have_settings_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, "loss_settings: {focal: {gamma: 1}, weighted_bce: {positive_weight: 5}}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nloss: {focal: 4}\nloss_settings: {focal: {alpha: 0.5}}\n")
    settings = load_config(path, ["loss_settings.tversky.beta=0.9"]).loss_settings
    assert (settings.focal.gamma, settings.focal.alpha, settings.tversky.beta) == (1, 0.5, 0.9)
    assert settings.weighted_bce.positive_weight == 5
    assert "did you mean 'gamma'?" in message(path, "loss_settings.focal.gama=1")
    assert "weighted_bce, focal, tversky, focal_tversky" in message(path, "loss_settings.dice.alpha=1")
    assert "loss_settings.focal.alpha = 1.5" in message(path, "loss_settings.focal.alpha=1.5")
    again = write(tmp_path, to_yaml(load_config(path)), "again.yaml")
    assert load_config(again) == load_config(path)


def test_values_are_read_as_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 3}")
    config = load_config(path, ["train.patience=null", "loss={dice: 1}", "model.decoder_channels=[8, 4]"])
    assert config.train.patience is None
    assert config.loss == {"dice": 1.0}
    assert config.model.decoder_channels == (8, 4)


def test_environment_variables_are_filled_in_after_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    monkeypatch.setenv("BUCKET", "films")
    path = write(tmp_path, "dataset: {uri: 's3://${BUCKET}/set'}\nstorage: {uri: '${NOT_SET_ANYWHERE}/runs'}\n")
    assert "NOT_SET_ANYWHERE" in message(path)
    config = load_config(path, ["storage.uri=here"])
    assert config.dataset.uri == "s3://films/set"
    assert config.storage.uri == "here"


def test_the_resolved_configuration_reads_back(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 3}\ningest: {images: a, out: b, classes: {x: [heart]}}\n")
    config = load_config(path)
    assert load_config(write(tmp_path, to_yaml(config), "again.yaml")) == config


INGEST = IngestSection(images="a", out="b")


def fields(section: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Path of every key of a configuration, of its sections too."""
    for name in type(section).model_fields:
        yield (*path, name)
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from fields(value, (*path, name))


def with_null(path: tuple[str, ...]) -> Config | None:
    """The default configuration with one key set to null; None where that key must not be null."""
    values = Config(ingest=INGEST, dataset=DatasetSection(split=SplitSection())).model_dump(mode="json")
    section = values
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = None
    try:
        return Config.model_validate(values)
    except ValidationError:
        return None


NULLABLE = [
    path
    for path in fields(Config(ingest=INGEST, dataset=DatasetSection(split=SplitSection())))
    if with_null(path) is not None
]


def test_the_keys_that_may_be_null_are_found() -> None:
    assert {("optimizer", "clip_norm"), ("train", "patience"), ("ingest", "masks"), ("dataset", "split")} <= set(
        NULLABLE
    )


@pytest.mark.parametrize("path", NULLABLE, ids=".".join)
def test_null_reads_back_as_null(tmp_path: Path, path: tuple[str, ...]) -> None:
    config = with_null(path)
    assert config is not None
    assert load_config(write(tmp_path, to_yaml(config))) == config


folder_names = st.text(min_size=1).filter(lambda name: not {"$", "/"} & set(name) and name.strip("."))
numbers = st.floats(min_value=1e-12, allow_nan=False)
configs = st.builds(
    Config,
    dataset=st.builds(
        DatasetSection, uri=st.none() | st.just("s3://films/set"), split=st.none() | st.just({"fold": 2})
    ),
    ingest=st.none() | st.just(INGEST),
    loss=st.dictionaries(st.text(min_size=1), numbers, min_size=1),
    optimizer=st.builds(OptimizerSection, lr=numbers, clip_norm=st.none() | numbers, weight_decay=numbers),
    train=st.builds(TrainSection, name=st.none() | folder_names),
)


@given(config=configs)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_any_configuration_reads_back(tmp_path: Path, config: Config) -> None:
    assert load_config(write(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize("name", ["a/b", "..", "", "/runs"])
def test_a_run_has_the_name_of_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"train.name: .*is not the name of a folder"):
        load_config(write(tmp_path, f"train: {{name: {name!r}}}\n"))


def test_nulls_that_say_nothing_are_left_out() -> None:
    assert "null" not in to_yaml(Config(ingest=INGEST))
    assert to_yaml(Config(optimizer=OptimizerSection(clip_norm=None))).count("null") == 1


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is empty", "section:"]),
        (b"# nothing yet\n", ["is empty"]),
        (b"\x89PNG\r\n\x1a\n\x00\xff", ["is no configuration: not UTF-8 text (byte 0)"]),
        (b"train: \x00", ["not valid YAML: character 8 is a control character"]),
        (b"train:\n  epochs: 3\n bad: [1\n", ["not valid YAML at line 3"]),
        (b"train: {name: 2024-02-30}", ["not valid YAML: day"]),
        (b"[" * 5000, ["nested too deeply"]),
        (b"train: &here {name: *here}", ["nested too deeply, or holds an alias"]),
        (None, ["no configuration at", "check the file name"]),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes | None, parts: list[str]) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    told = message(path)
    assert str(path) in told
    for part in parts:
        assert part in told


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    assert message(tmp_path) == f"{tmp_path} is a folder, not a configuration - name a YAML file in it"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: {epoch: 3}", ["unknown key 'train.epoch'", "did you mean 'epochs'"]),
        ("trian: {epochs: 3}", ["unknown key 'trian'", "did you mean 'train'"]),
        ("train: {epochs: many}", ["train.epochs", "'many'", "integer"]),
        ("train: {epochs: 0}", ["train.epochs", "0", "greater than or equal to 1"]),
        ("optimizer: {name: adamax}", ["optimizer.name", "'adamax'", "'adamw'", "'adadelta'"]),
        ("ingest: {images: a}", ["ingest.out is missing"]),
        ("dataset: {split: {rule: scr-folds, fold: 3}}", ["fold 3 does not exist", "folds 1 to 2"]),
        ("loss: {bce: -1}", ["loss.bce", "-1"]),
        ("train: [1]", ["train"]),
        ("- 1", ["no sections"]),
        ("a: [", ["not valid YAML"]),
        ("extends: nowhere.yaml", ["no configuration at", "nowhere.yaml"]),
    ],
)
def test_errors_are_one_line_that_names_the_key(tmp_path: Path, text: str, parts: list[str]) -> None:
    told = message(write(tmp_path, text))
    for part in parts:
        assert part in told


def test_what_an_override_says_wrong_is_not_told_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 0, seed: 1}")
    told = message(path, "train.epochs=3", "train.seed=one", "loss={bce: -1}")
    assert str(path) not in told
    assert "the override train.seed=one: train.seed = 'one'" in told
    assert "the override loss={bce: -1}: loss.bce = -1" in told
    told = message(path, "train.seed=one")
    assert told.startswith(f"{path}: train.epochs = 0")
    assert "the override train.seed=one: " in told


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", "train.epochs.more=3"])
def test_malformed_overrides(tmp_path: Path, override: str) -> None:
    assert "override" in message(write(tmp_path, "train: {epochs: 3}"), override)


def test_extends_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml", "a.yaml")
    write(tmp_path, "extends: a.yaml", "b.yaml")
    assert "circle" in message(tmp_path / "a.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_of_the_project_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCXR_DATA", "/data")
    monkeypatch.setenv("RAYCXR_DEMO", "/demo")
    for name, value in ON_A_CLUSTER.items():
        monkeypatch.setenv(name, value)
    config = load_config(path)
    assert config.ingest is not None
