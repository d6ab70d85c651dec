"""Prediction of many films: divided into parts, each of which is written, noted, and never done twice."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import raycxr
from raycxr.errors import DataError, StorageError
from raycxr.prediction.inputs import InputFilm
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location

SETTINGS, FILMS, RUN_LENGTHS, SUMMARY, PARTS = "settings.json", "films.csv", "run_lengths.csv", "summary.json", "parts"
# Films of a part: few enough that a killed job loses little, enough that notes do not outnumber results.
PART_FILMS = 16
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class JobSettings:
    """What is predicted, and how; the same for every part.

    Attributes
    ----------
    networks : tuple of str
        URIs of bundles or checkpoints whose probabilities are averaged.
    models : tuple of str
        What identifies the weights of each.
    test_time : tuple of str or None
        As in `load_predictor`.
    formats : tuple of str
        Of `raycxr.prediction.outputs.FORMATS`.
    out : str
        URI.
    batch_size : int
        Films that go through a network at once.
    cache : str or None
        As in `dataset.cache`.
    """

    networks: tuple[str, ...]
    models: tuple[str, ...]
    test_time: tuple[str, ...] | None
    formats: tuple[str, ...]
    out: str
    batch_size: int
    cache: str | None

    @property
    def decisive(self) -> dict[str, Any]:
        """What results depend on."""
        return {"models": list(self.models), "test_time": self.test_time, "formats": list(self.formats)}


@dataclass(frozen=True)
class Part:
    """Films that are predicted together, and the name of their note."""

    films: tuple[InputFilm, ...]
    name: str


@dataclass(frozen=True)
class JobSummary:
    """A finished job. `failed` has name, original and reason of each film that has no result."""

    out: str
    images: int
    skipped: int
    failed: list[dict[str, Any]]


# Predicts parts: yields the rows of each, see `PartPredictor`.
Runner = Callable[[Sequence[Part], JobSettings], Iterator[list[dict[str, Any]]]]


def predict_all(
    films: Sequence[InputFilm],
    settings: JobSettings,
    classes: Sequence[str],
    run: Runner,
    progress: Callable[[int, int], object],
) -> JobSummary:
    """Predict films into a folder.

    What is there from an earlier call is kept, and films that failed are tried again.

    Parameters
    ----------
    classes : sequence of str
        Of the networks.
    run : Runner
    progress : callable
        Called with the number of films dealt with so far, and of all.

    Returns
    -------
    JobSummary

    Raises
    ------
    DataError
        The folder holds something else, or predictions of another model, or every film failed.
    StorageError
        It cannot be written.
    """
    out = Location(settings.out)
    check_writable(out)
    _claim(out, settings)
    rows = {row["name"]: row for row in _earlier_rows(out) if row["status"] == DONE}
    wanted = {film.name: film for film in films}
    rows = {name: row for name, row in rows.items() if name in wanted and row["original"] == wanted[name].uri}
    skipped, total = len(rows), len(films)
    progress(skipped, total)
    todo = [film for film in films if film.name not in rows]
    for part in run(make_parts(todo), settings) if todo else ():
        rows |= {row["name"]: row for row in part}
        progress(len(rows), total)
    ordered = [rows[film.name] for film in films]
    _publish(out, settings, classes, ordered)
    failed = [row for row in ordered if row["status"] == FAILED]
    if len(failed) == total:
        raise DataError(f"no film could be predicted, for example {failed[0]['original']}: {failed[0]['reason']}")
    return JobSummary(out.uri, total - len(failed), skipped, failed)


def make_parts(films: Sequence[InputFilm]) -> list[Part]:
    """Divide films; the same films always fall into parts of the same names."""
    parts = []
    for start in range(0, len(films), PART_FILMS):
        chosen = tuple(films[start : start + PART_FILMS])
        text = json.dumps([[film.name, film.uri] for film in chosen])
        parts.append(Part(chosen, hashlib.sha256(text.encode()).hexdigest()[:24]))
    return parts


def note_part(part: Part, rows: Sequence[Mapping[str, Any]], out: Location) -> None:
    """Note that a part's files are written; last, so that a killed job never counts half a part."""
    (out / PARTS / f"{part.name}.json").write_text(json.dumps(list(rows)))


def _claim(out: Location, settings: JobSettings) -> None:
    """Make sure that a folder is empty or was begun with the same model and formats."""
    place = out / SETTINGS
    if place.exists():
        with suppress(ValueError, KeyError):
            if json.loads(place.read_text())["decisive"] == json.loads(json.dumps(settings.decisive)):
                return
        raise DataError(f"{out} holds predictions of another model or in other formats", "choose another --out")
    if out.is_dir() and out.list():
        raise DataError(f"{out} holds something else", "choose another --out")
    document = {"raycxr": raycxr.__version__, "decisive": settings.decisive, "settings": asdict(settings)}
    place.write_text(json.dumps(document, indent=2))


def _earlier_rows(out: Location) -> Iterator[dict[str, Any]]:
    """Rows of a finished job, and of parts that a killed one has noted."""
    if (out / SUMMARY).exists():
        yield from json.loads((out / SUMMARY).read_text())["films"]
    if (out / PARTS).is_dir():
        for note in (out / PARTS).list():
            with suppress(ValueError):  # a damaged note is as good as none
                yield from json.loads(note.read_text())


def _publish(out: Location, settings: JobSettings, classes: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write the tables, then the summary, and clear the notes away."""
    columns = ["name", "status", "reason", "original", "height", "width"]
    columns += [f"{kind} {name}" for name in classes for kind in ("pixels", "image probability")]
    flat = [_flat(row, classes) for row in rows]
    columns = [name for name in columns if any(row.get(name) not in (None, "") for row in flat) or name == "status"]
    (out / FILMS).write_text(_table(columns, flat))
    if "rle" in settings.formats:
        (out / RUN_LENGTHS).write_text(_run_lengths(classes, rows))
    failed = sum(row["status"] == FAILED for row in rows)
    summary = {
        "raycxr": raycxr.__version__, "classes": list(classes), "networks": list(settings.networks),
        "images": len(rows) - failed, "failed": failed, "films": list(rows),
    }  # fmt: skip
    (out / SUMMARY).write_text(json.dumps(summary, indent=1))
    with suppress(StorageError):  # what is left over is passed over
        (out / PARTS).delete_tree()


def _flat(row: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: row.get(name) for name in ("name", "status", "reason", "original", "height", "width")
    }
    for name in classes:
        found[f"pixels {name}"] = (row.get("pixels") or {}).get(name)
        found[f"image probability {name}"] = (row.get("image_probabilities") or {}).get(name)
    return found


def _run_lengths(classes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Table as the competition has it; with several classes, a column tells which one."""
    several = len(classes) > 1
    lines = [
        {"ImageId": row["name"].rpartition("/")[2], "Class": name, "EncodedPixels": row["run_lengths"][name]}
        for row in rows
        if row["status"] == DONE
        for name in classes
    ]
    return _table(["ImageId", *(["Class"] if several else []), "EncodedPixels"], lines)


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()
