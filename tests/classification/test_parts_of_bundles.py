"""Encoders and lung finders out of bundles: what of them is trained, and which films they were trained on before."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raycxr.classification.encoder import feature_maps, load_encoder
from raycxr.classification.labels import LabelledFilms, labelled_films
from raycxr.classification.network import Classifier, build_head
from raycxr.classification.seen import films_seen, seen_text
from raycxr.config.classify import ClassifySection
from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.runs.bundle import read_bundle
from raycxr.storage.location import Location


@pytest.fixture
def films(tb_config: Path) -> LabelledFilms:
    return labelled_films(open_splits(load_config(tb_config)), "tuberculosis")


@pytest.mark.parametrize(
    ("model", "trained", "stages"),
    [
        # Its decoder of three levels leaves the deepest stages of the encoder unused.
        (
            "{name: unet, encoder: resnet18, decoder_channels: [32, 16, 8], freeze_encoder: true}",
            30,
            ("conv1", "bn1", "layer1", "layer2"),
        ),
        pytest.param(
            "{name: fcn, encoder: resnet50}",
            159,
            ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_encoder_that_its_own_run_froze_is_trained_where_asked(
    write_segmentation: Callable[..., Location], tmp_path: Path, model: str, trained: int, stages: tuple[str, ...]
) -> None:
    place = write_segmentation(tmp_path / "bundle", f"model={model}")
    section = ClassifySection(label="tuberculosis", bundle=place.uri, frozen=False)
    encoder, _ = load_encoder(section)
    head = build_head(section, feature_maps(encoder, 64))
    classifier = Classifier(copy.deepcopy(encoder), head, section.pooling, section.frozen).train()
    free = [name for name, parameter in classifier.encoder.named_parameters() if parameter.requires_grad]
    assert len(free) == trained
    assert all(name.startswith(tuple(f"encoder.{stage}." for stage in stages)) for name in free)
    assert all(module.training for module in classifier.modules())

    held = Classifier(encoder, head, section.pooling, frozen=True).train()
    assert not any(parameter.requires_grad for parameter in held.encoder.parameters())
    assert not any(module.training for module in held.encoder.modules())


def test_films_that_a_bundle_was_trained_on(
    write_segmentation: Callable[..., Location], films: LabelledFilms, tmp_path: Path
) -> None:
    trained = films.splits.annotated("train")
    assert 0 < len(trained) < len(films)
    bundle = read_bundle(write_segmentation(tmp_path / "bundle"))
    assert films_seen(bundle, films, encoder_alone=False) == len(trained)
    assert films_seen(bundle, films, encoder_alone=True) == len(trained)

    # The same films by other names, and none of them at all.
    renamed = [row | {"id": f"x{row['id']}"} for row in films.rows]
    other = [row | {"pixels_sha256": "other"} for row in renamed]
    for rows, seen in ((renamed, len(trained)), (other, 0)):
        assert films_seen(bundle, LabelledFilms(films.label, films.splits, rows, films.labels), False) == seen


def test_a_frozen_encoder_knows_the_films_that_it_started_from_alone(
    write_segmentation: Callable[..., Location], films: LabelledFilms, tmp_path: Path
) -> None:
    model = "model={name: linknet, encoder: resnet18, freeze_encoder: true}"
    frozen = read_bundle(write_segmentation(tmp_path / "frozen", model))
    assert films_seen(frozen, films, encoder_alone=True) == 0
    assert films_seen(frozen, films, encoder_alone=False) == len(films.splits.annotated("train"))
    first = write_segmentation(tmp_path / "first", "model={name: linknet, encoder: resnet18}")
    later = read_bundle(write_segmentation(tmp_path / "later", model, f"train.start_from={first}"))
    assert films_seen(later, films, encoder_alone=True) == len(films.splits.annotated("train"))


def test_films_of_a_data_set_that_is_gone_are_not_known(
    write_segmentation: Callable[..., Location], films: LabelledFilms, tb_config: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tb_config.parent / "data", tmp_path / "data"))
    bundle = read_bundle(write_segmentation(tmp_path / "bundle", f"dataset.uri={data}"))
    shutil.rmtree(data)
    assert films_seen(bundle, films, encoder_alone=False) is None


def test_one_sentence_says_it() -> None:
    assert seen_text({}, 48) == ""
    assert (
        "the encoder had seen 30, the lung finder had seen a number that is not known of the 48 films tested here"
    ) in seen_text({"encoder": 30, "lung_finder": None}, 48)
    assert "the encoder had seen none of the 48 films" in seen_text({"encoder": 0}, 48)
