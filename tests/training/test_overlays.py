"""Overlays of validation films and what TensorBoard shows; what is learned is the same without them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raycxr.config.dataset import DatasetSection
from raycxr.config.load import load_config
from raycxr.dataset.films import Batch, open_splits
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.target import target_kind
from raycxr.runs.record import read_history
from raycxr.storage.location import Location
from raycxr.training.loop import run_training, train_epochs
from raycxr.training.overlays import TILE, OverlayFilm, Overlays, draw_sheet, encode_png, watched_films
from raycxr.training.progress import SilentProgress
from raycxr.training.run import claim_run
from raycxr.training.session import LocalSession
from raycxr.xray.outline import COLOURS
from raycxr.xray.overlay import TRUTH


def test_films_are_spread_over_the_split(phantom_config: Path) -> None:
    config = load_config(phantom_config, ["tracking.tensorboard=true", "tracking.overlays=2"])
    splits = open_splits(config)
    target = target_kind(config.dataset, splits.manifest.classes)
    ids = [row["id"] for row in splits.annotated("validation")]
    one, two = (watched_films(config, splits, target, workers) for workers in (1, 2))
    assert one is not None
    assert two is not None
    assert one.films == [ids[0], ids[-1]]
    # Of two workers the first one validates every second film.
    assert two.films == [ids[0], ids[2]]
    many = watched_films(load_config(phantom_config, ["tracking.tensorboard=true"]), splits, target, 2)
    assert many is not None
    assert many.films == [ids[0], ids[2]]
    for none in (["tracking.tensorboard=true", "tracking.overlays=0"], ["tracking.overlays=2"]):
        assert watched_films(load_config(phantom_config, none), splits, target, 1) is None


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_what_is_kept_of_a_batch(kind: str) -> None:
    target = target_kind(DatasetSection.model_validate({"target": kind}), ("lungs", "heart"))
    generator = torch.Generator().manual_seed(1)
    fields = torch.randint(0, 3, (3, 8, 8), generator=generator, dtype=torch.uint8)
    images = torch.randint(0, 256, (3, 8, 8), generator=generator, dtype=torch.uint8)
    logits = torch.randn(3, target.channels, 8, 8, generator=generator)
    batch = Batch(images, fields, ["a", "b", "c"], torch.ones(3, dtype=torch.bool))
    overlays = Overlays(["c", "a"], target)
    overlays.keep(batch, logits)
    films = overlays.taken()
    assert [film.id for film in films] == ["c", "a"]
    for film, number in zip(films, (2, 0), strict=True):
        assert np.array_equal(film.image, images[number].numpy())
        assert np.array_equal(film.truth, target.split(fields)[number].numpy())
        assert np.array_equal(film.predicted, target.predict(target.activate(logits))[number].numpy())


def test_true_outlines_are_white_and_predicted_ones_coloured() -> None:
    truth, predicted = np.zeros((2, 32, 32), bool), np.zeros((2, 32, 32), bool)
    truth[0, 4:12, 4:12] = True
    predicted[1, 20:28, 20:28] = True
    film = OverlayFilm("JPC001", np.zeros((32, 32), np.uint8), truth, predicted)
    sheet = draw_sheet([film] * 5)
    assert sheet.shape == (2 * TILE, 4 * TILE, 3)
    scale = TILE // 32
    for row, column, colour in ((8, 4, TRUTH), (24, 20, COLOURS[1])):
        line = sheet[row * scale, column * scale - 3 : column * scale + 4].astype(float)
        brightest = line[line.sum(axis=1).argmax()]
        # Lines are smoothed: the hue is exact.
        assert brightest / brightest.max() == pytest.approx(np.array(colour) / max(colour), abs=0.02)
        assert brightest.max() > 150
    read = cv2.imdecode(np.frombuffer(encode_png(sheet), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert read is not None
    assert np.array_equal(read, sheet)


def train(path: Path, run: Location, *overrides: str, leave_after: int | None = None, resume: bool = False) -> None:
    config = load_config(path, [f"storage.uri={run.parent}", "train.epochs=3", *overrides])
    claim_run(config, run, 1, True, False, resume)
    session = LocalSession(run, 3, "max", resume, SilentProgress())
    if leave_after is None:
        run_training(config, run, session, 1)
        return
    epochs = train_epochs(config, run, session, 1)
    for _ in range(leave_after):
        next(epochs)
    epochs.close()


def test_tensorboard_has_configuration_curves_and_overlays(phantom_config: Path, tmp_path: Path) -> None:
    shown, plain = Location(tmp_path / "shown"), Location(tmp_path / "plain")
    tracked = ["tracking.tensorboard=true", "tracking.overlays=2"]
    train(phantom_config, shown, *tracked, leave_after=2)
    train(phantom_config, shown, *tracked, resume=True)
    train(phantom_config, plain)
    # Nothing of it changes what is learned.
    one, other = (read_snapshot(list_checkpoints(run)[-1]) for run in (shown, plain))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in other["model"])
    assert [entry["validation"] for entry in read_history(shown)] == [
        entry["validation"] for entry in read_history(plain)
    ]
    assert not (tmp_path / "plain" / "tensorboard").exists()

    events = EventAccumulator(str(tmp_path / "shown" / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    history = read_history(shown)
    for name, values in {
        "data_wait": [entry["data_wait"] for entry in history],
        "images_per_second": [entry["images_per_second"] for entry in history],
        "dice_mean/validation": [entry["validation"]["dice"]["mean"] for entry in history],
    }.items():
        assert [(event.step, event.value) for event in events.Scalars(name)] == [
            (epoch, pytest.approx(value)) for epoch, value in enumerate(values, 1)
        ]
    [name] = events.Tags()["images"]
    best = [entry["epoch"] for entry in history if entry["best"]]
    assert [event.step for event in events.Images(name)] == best
    assert {(event.width, event.height) for event in events.Images(name)} == {(2 * TILE, TILE)}
    text = events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "name: inverted_net" in text


def test_an_epoch_that_is_trained_again_is_shown_once(phantom_config: Path, tmp_path: Path) -> None:
    run = Location(tmp_path / "again")
    train(phantom_config, run, "tracking.tensorboard=true", leave_after=2)
    list_checkpoints(run)[-1].delete_tree()
    train(phantom_config, run, "tracking.tensorboard=true", resume=True)
    events = EventAccumulator(str(tmp_path / "again" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/validation")] == [1, 2, 3]
