"""A data set with all kinds of films: positive, empty, without masks, equal, rejected; and its inspection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raycxr.config.load import load_config
from raycxr.dataset.ingest import ingest, run_here
from raycxr.report.inspection import Inspection, inspect_dataset
from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location
from raycxr.xray.picture import decode_picture, encode_png

FILMS = 40
HOSTILE = "<img src=x onerror=alert(1)> & 'film'"

Inspect = Callable[..., Inspection]


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """40 films of 64 pixels in shards of 4: of the last 12 four are not annotated, four empty, two equal, two bad."""
    folder = tmp_path_factory.mktemp("mixed")
    write_pairs(Location(folder / "films"), FILMS, 64, 0, lambda done, total: None)
    images, masks = folder / "films" / "images", folder / "films" / "masks"
    names = sorted(path.name for path in images.iterdir())
    for name in names[28:32]:
        (masks / name).unlink()
    for name in names[32:36]:
        (masks / name).write_bytes(encode_png(np.zeros((64, 64), np.uint8)))
    (images / names[37]).write_bytes((images / names[36]).read_bytes())
    (images / names[38]).write_bytes(b"")
    (images / names[39]).write_bytes((images / names[39]).read_bytes()[:200])
    (images / names[28]).rename(images / f"{HOSTILE}.png")
    # Twice as wide as high: black above and below in the square.
    wide = decode_picture((images / names[1]).read_bytes())[16:48]
    (images / names[1]).write_bytes(encode_png(wide))
    (masks / names[1]).write_bytes(encode_png(decode_picture((masks / names[1]).read_bytes())[16:48]))
    config = folder / "mixed.yaml"
    config.write_text(
        f"""
ingest: {{source: pairs, images: {images}, masks: {masks}, size: 48, out: {folder / "data"}, shard_films: 4}}
dataset: {{split: {{rule: fraction, train: 0.6, validation: 0.2, test: 0.2}}}}
"""
    )
    ingest(load_config(config), run_here, lambda done, total: None)
    return Location(folder / "data")


@pytest.fixture(scope="session")
def inspect(mixed: Location) -> Inspect:
    """Inspect a data set, by default the mixed one."""

    def run(dataset: Location | Path = mixed, films: int = 20, pictures: int = 12, seed: int = 0) -> Inspection:
        place = dataset if isinstance(dataset, Location) else Location(dataset)
        return inspect_dataset(place, films, pictures, seed, lambda done, total: None)

    return run
