"""Features of a frozen encoder: computed once, and again only where something that they depend on has changed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from raycxr.classification.features import Features, frozen_features
from raycxr.classification.films import ReducedFilms, find_lungs
from raycxr.classification.labels import LabelledFilms, labelled_films
from raycxr.classification.lungs import LungFinder, reduce_to_lungs, two_largest
from raycxr.classification.network import pool_both
from raycxr.config.classify import LungsSettings
from raycxr.config.dataset import DatasetSection
from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits, shard_paths
from raycxr.errors import StorageError
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import normalise, target_kind

CPU = Compute(torch.device("cpu"), None, False)


class Counting(nn.Module):
    """One convolution that counts the films it sees."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 8, stride=8)
        nn.init.constant_(self.convolution.weight, value)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]
        self.films = 0
        self.tf32: set[bool] = set()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.films += len(images)
        self.tf32.add(torch.backends.cudnn.allow_tf32)
        maps: torch.Tensor = self.convolution(images)
        return maps


class Bright(nn.Module):
    """Calls lungs what is bright: a stand-in that is easy to check."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 10


@pytest.fixture
def opened(tb_config: Path, tmp_path: Path) -> tuple[Config, LabelledFilms]:
    config = load_config(tb_config, [f"dataset.cache={tmp_path}"])
    return config, labelled_films(open_splits(config), "tuberculosis")


def finder() -> LungFinder:
    target = target_kind(DatasetSection(), ["lungs"])
    return LungFinder(Bright(), target, {"rules": {"lungs": {"threshold": 0.5}}})


def compute(
    opened: tuple[Config, LabelledFilms],
    encoder: nn.Module,
    lungs: LungsSettings | None = None,
    told: list[str] | None = None,
) -> Features:
    told = [] if told is None else told
    config, films = opened
    assert config.classify is not None
    changed = config.model_copy(update={"classify": config.classify.model_copy(update={"lungs": lungs})})
    return frozen_features(
        encoder, 2, films, finder() if lungs else None, changed, CPU, told.append, lambda done, total: None
    )


def test_a_second_run_computes_nothing(opened: tuple[Config, LabelledFilms]) -> None:
    first, second = Counting(0.1), Counting(0.1)
    computed, again = compute(opened, first), compute(opened, second)
    assert (first.films, second.films) == (48, 0)
    assert (computed.cached, again.cached) == (False, True)
    assert torch.equal(computed.values, again.values)
    assert computed.values.shape == (48, 4)


def test_features_are_those_of_the_film_in_its_row(opened: tuple[Config, LabelledFilms]) -> None:
    config, films = opened
    encoder = Counting(0.1)
    values = compute(opened, encoder).values
    pictures = ReducedFilms(films.rows, shard_paths(films.splits, config.dataset.cache), None, None, None)
    for position in (0, 17, 47):
        name, image, _, _ = pictures[0, position]
        assert name == films.rows[position]["id"]
        expected = pool_both(encoder(normalise(torch.from_numpy(np.array(image))[None])))[0]
        assert torch.allclose(values[position], expected, atol=1e-5)


def test_other_weights_and_other_lungs_are_computed_anew(opened: tuple[Config, LabelledFilms]) -> None:
    crop = LungsSettings(bundle="somewhere")
    for encoder, lungs in (
        (Counting(0.1), None),
        (Counting(0.2), None),
        (Counting(0.1), crop),
        (Counting(0.1), crop.model_copy(update={"margin": 0.2})),
        (Counting(0.1), crop.model_copy(update={"use": "mask"})),
    ):
        assert not compute(opened, encoder, lungs).cached
        assert encoder.films == 48
    # Where the bundle lies does not matter: what is in it does.
    assert compute(opened, Counting(0.1), crop.model_copy(update={"bundle": "elsewhere"})).cached


def test_films_are_reduced_to_the_lungs_found_on_them(opened: tuple[Config, LabelledFilms]) -> None:
    config, films = opened
    paths = shard_paths(films.splits, config.dataset.cache)
    settings = LungsSettings(bundle="somewhere", use="mask", margin=0.0)
    lungs = find_lungs(finder(), films.rows, paths, 8, CPU, lambda done, total: None)
    plain, reduced = (ReducedFilms(films.rows, paths, None, found, settings) for found in (None, lungs))
    for position in (0, 40):
        image = plain[0, position][1]
        bright = two_largest(image > 127.5)
        assert (reduced[0, position][1] == reduce_to_lungs(image, bright, "mask", 0.0)).all()
        assert (reduced[0, position][1][~bright] == 0).all()


@pytest.mark.parametrize("damage", ["empty", "short", "other films"])
def test_a_damaged_file_of_the_cache_is_made_anew(
    opened: tuple[Config, LabelledFilms], tmp_path: Path, damage: str
) -> None:
    whole = compute(opened, Counting(0.1)).values
    [place] = (tmp_path / "features").iterdir()
    if damage == "other films":
        save_file({"features": whole[:5].clone()}, place)
    else:
        place.write_bytes(b"" if damage == "empty" else place.read_bytes()[:-40])
    told: list[str] = []
    again = compute(opened, Counting(0.1), told=told)
    assert not again.cached
    assert torch.equal(again.values, whole)
    assert told == [f"{place} is damaged: the features are computed again"]
    assert compute(opened, Counting(0.1), told=told).cached
    assert len(told) == 1


def test_a_full_disk_is_told_in_one_line(opened: tuple[Config, LabelledFilms], tmp_path: Path) -> None:
    compute(opened, Counting(0.1))
    [place] = (tmp_path / "features").iterdir()
    place.unlink()
    # What is written beside it, before it takes its name, goes to a device without room.
    place.with_suffix(f".{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write the cache of features .*: No space left") as caught:
        compute(opened, Counting(0.1))
    assert "RAYCXR_CACHE" in caught.value.remedy
    assert list((tmp_path / "features").iterdir()) == []


def test_features_are_computed_without_tf32(opened: tuple[Config, LabelledFilms]) -> None:
    assert torch.backends.cudnn.allow_tf32
    encoder = Counting(0.1)
    compute(opened, encoder)
    assert encoder.tf32 == {False}
    assert torch.backends.cudnn.allow_tf32
