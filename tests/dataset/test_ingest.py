"""Ingest: what comes out equals what went in, nothing is done twice, and bad films never stop the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.convert import Rules
from raycxr.dataset.films import Films, open_splits, shard_paths
from raycxr.dataset.generation import read_generation, set_aside
from raycxr.dataset.ingest import IngestSummary, ingest, run_here
from raycxr.dataset.manifest import read_index, read_manifest, read_rejects
from raycxr.dataset.plan import ShardPlan
from raycxr.dataset.shard_task import write_shard
from raycxr.errors import ConfigurationError, DataError
from raycxr.sources.jsrt import JsrtSource
from raycxr.storage.location import Location
from raycxr.xray.mask import binarise, pack_bits
from raycxr.xray.picture import decode_picture, encode_gif, encode_png


@pytest.fixture
def films(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "films"))


def configure(films: Path, out: Path, *overrides: str) -> Config:
    path = films.parent / "ingest.yaml"
    path.write_text(f"ingest: {{images: {films}, masks: {films / 'scr'}, size: 32, out: {out}}}\n")
    return load_config(path, overrides)


def run(config: Config) -> IngestSummary:
    return ingest(config, run_here, lambda done, total: None)


def mask_file(films: Path, name: str, structure: str = "heart") -> Path:
    fold = "fold1" if int(name[-3:]) % 2 else "fold2"
    return films / "scr" / fold / "masks" / structure / f"{name}.gif"


def test_rows_hold_what_the_files_show(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out", "ingest.size=64", "ingest.intensity.rule=keep")
    summary = run(config)
    assert (summary.images, summary.rejected, summary.skipped) == (24, 0, 0)
    index = read_index(Location(tmp_path / "out"))
    assert [row["id"] for row in index] == sorted(row["id"] for row in index)
    splits = open_splits(config)
    data = Films(index, shard_paths(splits, None), None)
    row = index[7]
    name, image, field, annotated = data[(0, 7)]
    original = decode_picture((films / "All247images" / f"{name}.png").read_bytes())
    structures = splits.manifest.classes
    masks = [binarise(decode_picture(mask_file(films, name, structure).read_bytes())) for structure in structures]
    assert annotated
    assert np.array_equal(image, original)
    assert np.array_equal(field, pack_bits(masks))
    assert row["pixels"] == [int(mask.sum()) for mask in masks]
    assert row["spacing_mm"] == pytest.approx(358.4 / 64)
    assert (row["height"], row["mask_height"]) == (64, 64)


def test_classes_are_merged(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out", "ingest.classes={lungs: [left lung, right lung], heart: [heart]}")
    run(config)
    manifest, index = read_manifest(Location(tmp_path / "out")), read_index(Location(tmp_path / "out"))
    assert manifest.classes == ("lungs", "heart")
    name = index[0]["id"]
    lungs = [
        binarise(decode_picture(mask_file(films, name, f"{side} lung").read_bytes())) for side in ("left", "right")
    ]
    assert index[0]["pixels"][0] == int((lungs[0] | lungs[1]).sum())


def test_a_second_call_does_nothing(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out")
    first = run(config)

    def never(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        raise AssertionError("work was done twice")

    second = ingest(config, never, lambda done, total: None)
    assert (second.id, second.images, second.skipped) == (first.id, 24, 24)


def test_a_killed_ingest_goes_on_where_it_was(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out", "ingest.shard_films=4")
    done: list[int] = []

    def killed(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        for plan in plans:
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(plan.number)
            yield write_shard(plan, rules, out)

    with pytest.raises(KeyboardInterrupt):
        ingest(config, killed, lambda done, total: None)
    with pytest.raises(DataError, match="holds no finished data set"):
        read_manifest(Location(tmp_path / "out"))
    resumed = run(config)
    assert resumed.skipped == 8
    whole = run(configure(films, tmp_path / "whole", "ingest.shard_films=4"))
    assert resumed.id == whole.id
    assert not (tmp_path / "out" / "parts").exists()
    shards = sorted((tmp_path / "out" / "shards").iterdir())
    assert len(shards) == 6
    assert all(shard.read_bytes() == (tmp_path / "whole" / "shards" / shard.name).read_bytes() for shard in shards)


def test_the_content_id_knows_the_films_and_the_rules_but_not_the_shards(films: Path, tmp_path: Path) -> None:
    base = run(configure(films, tmp_path / "a")).id
    assert run(configure(films, tmp_path / "b", "ingest.shard_films=3")).id == base
    assert run(configure(films, tmp_path / "c", "ingest.size=48")).id != base
    film = next((films / "All247images").iterdir())
    film.write_bytes(encode_png(255 - decode_picture(film.read_bytes())))
    assert run(configure(films, tmp_path / "d")).id != base


def hide(films: Path, count: int) -> list[Path]:
    """Rename the first films, so that the source does not list them."""
    hidden = sorted((films / "All247images").glob("*.png"))[:count]
    return [film.rename(film.with_suffix(".later")) for film in hidden]


def show(hidden: list[Path]) -> None:
    for film in hidden:
        film.rename(film.with_suffix(".png"))


def test_a_source_that_has_grown_adds_only_what_is_new(films: Path, tmp_path: Path) -> None:
    whole = run(configure(films, tmp_path / "whole"))
    config = configure(films, tmp_path / "out", "ingest.shard_films=4")
    hidden = hide(films, 6)
    before = run(config)
    assert (before.images, before.rejected) == (18, 6)  # the masks of the hidden films
    splits = {row["id"]: row["split"] for row in read_index(Location(tmp_path / "out"))}
    shards = {shard.name: shard.read_bytes() for shard in (tmp_path / "out" / "shards").iterdir()}
    show(hidden)
    after = run(config)
    assert (after.images, after.rejected, after.skipped, after.id) == (24, 0, 18, whole.id)
    index = read_index(Location(tmp_path / "out"))
    assert {row["id"]: row["split"] for row in index if row["id"] in splits} == splits
    assert all((tmp_path / "out" / "shards" / name).read_bytes() == data for name, data in shards.items())
    data = Films(index, shard_paths(open_splits(config), None), None)
    assert [data[(0, row)][0] for row in range(24)] == [row["id"] for row in index]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json", "index.parquet", "rejects.parquet", "shards", "masks",
    }  # fmt: skip
    assert run(config).skipped == 24


def test_an_archive_may_move_and_grow(films: Path, tmp_path: Path) -> None:
    hidden = hide(films, 4)
    before = run(configure(films, tmp_path / "out"))
    show(hidden)
    moved = films.rename(tmp_path / "another place")
    after = run(configure(moved, tmp_path / "out"))
    assert (before.images, after.images, after.skipped) == (20, 24, 20)


def test_growth_that_was_killed_while_it_was_published(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out", "ingest.shard_films=4")
    hidden = hide(films, 6)
    run(config)
    show(hidden)
    out = Location(tmp_path / "out")
    set_aside(out, read_generation(out))
    (out / "index.parquet").write_bytes(b"half")
    with pytest.raises(DataError, match="holds no finished data set"):
        read_manifest(out)
    after = run(config)
    assert (after.images, after.skipped) == (24, 18)
    assert after.id == run(configure(films, tmp_path / "whole")).id


@pytest.mark.parametrize("rule", ["given", "k-fold, folds: 25"])
def test_a_split_that_cannot_be_made_is_refused_before_any_film_is_read(films: Path, tmp_path: Path, rule: str) -> None:
    config = configure(films, tmp_path / "out", f"dataset.split={{rule: {rule}}}")
    with pytest.raises(DataError, match=r"24 of 24 films have no given split|25 folds need as many patients"):
        run(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"\xff\xfe\x00", b"[]", b"{}", b'{"format_version": 3, "classes": 3}'],
    ids=["cut off", "empty", "binary", "a list", "nothing in it", "other fields"],
)
def test_a_damaged_manifest_says_how_to_go_on(films: Path, tmp_path: Path, content: bytes) -> None:
    config = configure(films, tmp_path / "out")
    run(config)
    (tmp_path / "out" / "manifest.json").write_bytes(content)
    for use in (lambda: read_manifest(Location(tmp_path / "out")), lambda: run(config)):
        with pytest.raises(DataError) as caught:
            use()
        assert caught.value.message.startswith(f"{tmp_path}/out/manifest.json is damaged: ")
        assert caught.value.remedy == "restore it, or delete the data set and ingest again"
    shutil.rmtree(tmp_path / "out")
    assert run(config).images == 24


def test_a_data_set_of_an_older_format_is_to_be_ingested_again(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out")
    run(config)
    place = tmp_path / "out" / "manifest.json"
    # Format 2 had one key more.
    place.write_text(json.dumps(json.loads(place.read_text()) | {"format_version": 2, "fingerprint": "0" * 64}))
    for use in (lambda: read_manifest(Location(tmp_path / "out")), lambda: run(config)):
        with pytest.raises(DataError) as caught:
            use()
        assert caught.value.message == f"{place} has format version 2, this raycxr reads 3"
        assert caught.value.remedy == "delete the data set and ingest again, or use the raycxr that wrote it"


def test_films_that_are_gone_or_changed_are_not_mixed_with_new_ones(films: Path, tmp_path: Path) -> None:
    config = configure(films, tmp_path / "out")
    first = run(config)
    hidden = hide(films, 2)
    with pytest.raises(DataError, match="2 of its 24 are gone from the source"):
        run(config)
    show(hidden)
    for structure in ("heart", "left lung", "right lung", "left clavicle", "right clavicle"):
        mask_file(films, hidden[0].stem, structure).unlink()
    with pytest.raises(DataError, match=f"1 of its 24 is gone .* or has other files now, for example {hidden[0].stem}"):
        run(config)
    assert read_manifest(Location(tmp_path / "out")).id == first.id


def test_another_data_set_is_not_overwritten(films: Path, tmp_path: Path) -> None:
    first = run(configure(films, tmp_path / "out"))
    with pytest.raises(DataError, match="already holds a data set"):
        run(configure(films, tmp_path / "out", "ingest.size=48"))
    with pytest.raises(DataError, match="another split rule"):
        run(configure(films, tmp_path / "out", "dataset.split={seed: 4}"))
    assert read_manifest(Location(tmp_path / "out")).id == first.id


def test_bad_films_are_rejected_with_a_reason_and_the_rest_goes_on(films: Path, tmp_path: Path) -> None:
    images = films / "All247images"
    names = sorted(path.stem for path in images.iterdir())
    (images / f"{names[0]}.png").write_bytes((images / f"{names[0]}.png").read_bytes()[:-300])  # truncated
    (images / f"{names[1]}.png").write_bytes(encode_png(np.full((64, 64), 7, np.uint8)))  # flat
    wide = cv2.resize(decode_picture((images / f"{names[2]}.png").read_bytes()), (432, 288))
    (images / f"{names[2]}.png").write_bytes(encode_png(wide))  # another aspect than its mask
    mask_file(films, names[3]).write_bytes(encode_gif(np.ones((32, 32), bool)))  # a GIF of another size
    mask_file(films, names[4]).write_bytes(b"GIF89a")
    mask_file(films, names[5]).unlink()  # one structure of five
    (images / f"{names[6]}.png").unlink()  # masks without a film
    summary = run(configure(films, tmp_path / "out"))
    rejects = read_rejects(Location(tmp_path / "out"))
    by_reason = {row["reason"]: row for row in rejects}
    assert set(by_reason) == {
        "image_unreadable",
        "image_flat",
        "mask_aspect",
        "mask_size",
        "mask_unreadable",
        "mask_incomplete",
        "image_missing",
    }
    assert "432x288" in by_reason["mask_aspect"]["detail"]
    assert "32x32" in by_reason["mask_size"]["detail"]
    assert "heart" in by_reason["mask_incomplete"]["detail"]
    assert all("\n" not in row["detail"] for row in rejects)
    counts = read_manifest(Location(tmp_path / "out")).counts
    assert counts.listed == counts.images + counts.rejected == 24
    assert (summary.images, summary.rejected) == (17, 7)


def test_films_without_masks_are_kept_as_not_annotated(films: Path, tmp_path: Path) -> None:
    name = sorted((films / "All247images").iterdir())[0].stem
    for structure in ("heart", "left lung", "right lung", "left clavicle", "right clavicle"):
        mask_file(films, name, structure).unlink()
    config = configure(films, tmp_path / "out")
    summary = run(config)
    assert (summary.images, summary.manifest.counts.annotated) == (24, 23)
    splits = open_splits(config)
    assert sum(len(splits.annotated(split)) for split in splits.rows) == 23


def test_identical_films_under_two_names_share_a_split(films: Path, tmp_path: Path) -> None:
    images = sorted((films / "All247images").iterdir())
    for copy in images[1:12]:
        shutil.copyfile(images[0], copy)
    run(configure(films, tmp_path / "out"))
    index = read_index(Location(tmp_path / "out"))
    assert len({row["split"] for row in index[:12]}) == 1


def test_nothing_is_published_where_nothing_is_left(films: Path, tmp_path: Path) -> None:
    for image in (films / "All247images").iterdir():
        image.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"all 24 films were rejected, 24 as image_unreadable"):
        run(configure(films, tmp_path / "out"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_class_without_any_pixel(films: Path, tmp_path: Path) -> None:
    for fold in ("fold1", "fold2"):
        for mask in (films / "scr" / fold / "masks" / "heart").iterdir():
            mask.write_bytes(encode_gif(np.zeros((64, 64), bool)))
    with pytest.raises(DataError, match="class 'heart' has no pixel in 24 annotated films"):
        run(configure(films, tmp_path / "out"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_missing_and_empty_folders(films: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        run(configure(films, tmp_path / "out", f"ingest.images={tmp_path / 'nowhere'}"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        run(configure(films, tmp_path / "out", f"ingest.images={tmp_path / 'empty'}"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_structure(films: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'liver' is unknown - choose from heart, left lung"):
        run(configure(films, tmp_path / "out", "ingest.classes={liver: [liver]}"))


def test_a_truncated_raw_film(phantoms: Path) -> None:
    source = JsrtSource(str(phantoms), None, None)
    film = source.list().films[0]
    raw = type(film)(**{**film.__dict__, "uri": "JPCLN001.IMG"})
    with pytest.raises(DataError, match="truncated"):
        source.decode(raw, b"\0" * 1000)


def test_sixteen_bit_films_are_kept_and_scaled_by_their_white(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    original = generator.integers(0, 4096, (64, 64)).astype(np.uint16)
    for folder, picture in (("images", original), ("masks", (original > 2000).astype(np.uint8) * 255)):
        (tmp_path / folder).mkdir()
        for name in ("a", "b", "c"):
            (tmp_path / folder / f"{name}.png").write_bytes(encode_png(picture))
    path = tmp_path / "ingest.yaml"
    path.write_text(
        f"ingest: {{source: pairs, images: {tmp_path}/images, masks: {tmp_path}/masks, size: 64, out: {tmp_path}/out,"
        " intensity: {rule: keep, high: 4095}}\n"
    )
    config = load_config(path)
    run(config)
    splits = open_splits(config)
    _, image, field, _ = Films(read_index(splits.location), shard_paths(splits, None), None)[(0, 0)]
    assert image.dtype == np.float32
    assert np.allclose(image, original / 4095)
    assert np.array_equal(field, original > 2000)


def test_a_film_that_vanishes_or_cannot_be_read(films: Path, tmp_path: Path) -> None:
    images = sorted((films / "All247images").iterdir())

    def after_listing(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        images[0].unlink()
        images[1].unlink()
        images[1].mkdir()
        return run_here(plans, rules, out)

    ingest(configure(films, tmp_path / "out"), after_listing, lambda done, total: None)
    reasons = {row["original"]: row["reason"] for row in read_rejects(Location(tmp_path / "out"))}
    assert reasons == {str(images[0]): "file_missing", str(images[1]): "file_unreadable"}
