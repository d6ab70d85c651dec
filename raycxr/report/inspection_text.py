"""An inspection as a JSON document, and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.number_text import byte_size, count, percent, percent_of
from raycxr.report.inspection import Inspection

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# Sizes of films that a line of text names before it counts the others.
_SHOWN_SIZES = 3


def inspection_document(inspection: Inspection) -> dict[str, Any]:
    """Document of `raycxr inspect --json`; areas are shares of the film (0 to 1), grey levels go from 0 to 255."""
    manifest, whole, grey = inspection.manifest, inspection.whole, inspection.sample.grey
    return {
        "dataset": inspection.location.uri,
        "id": manifest.id,
        "raycxr": manifest.raycxr,
        "source": manifest.source,
        "decoder": manifest.decoder,
        "intensity": manifest.intensity.model_dump(),
        "geometry": manifest.geometry.model_dump(),
        "codec": manifest.codec,
        "images": whole.images,
        "listed": manifest.counts.listed,
        "rejected": manifest.counts.rejected,
        "patients": whole.patients,
        "classes": list(manifest.classes),
        "structures": manifest.structures,
        "annotated": whole.annotated,
        "positive": whole.positive,
        "labels": whole.labels,
        "areas": {name: _spread(areas) for name, areas in inspection.areas.items()},
        "splits": {name: split.images for name, split in inspection.splits.items()},
        "by_split": {name: asdict(split) for name, split in inspection.splits.items()},
        "split_rule": manifest.split.model_dump(),
        "patients_on_several_sides": inspection.patients_on_several_sides,
        "duplicates": {
            "groups": len(inspection.duplicates),
            "films": sum(map(len, inspection.duplicates)),
            "on_several_sides": inspection.duplicates_on_several_sides,
        },
        "sizes": [
            {"width": width, "height": height, "images": images} for (width, height), images in inspection.sizes.items()
        ],
        "pixel_mm": _spread(inspection.spacings),
        "rejects": inspection.reasons,
        "shards": len(manifest.shards),
        "bytes": inspection.bytes,
        "intensities": {
            "films": inspection.sample.films,
            "shards": inspection.sample.shards,
            "mean": grey.mean,
            "deviation": grey.deviation,
            "percentiles": {str(percent): grey.percentile(percent) for percent in PERCENTILES},
            "black": grey.share(0),
            "white": grey.share(255),
        },
        "verified_shards": inspection.sample.verified,
    }


def inspection_text(inspection: Inspection) -> str:
    """Text for the terminal."""
    manifest, grey = inspection.manifest, inspection.sample.grey
    size = manifest.geometry.size
    summary = [
        ("content", f"{manifest.id}, written by raycxr {manifest.raycxr}"),
        ("films", f"{inspection.whole.images:,} + {len(inspection.rejects):,} rejected = "
                  f"{manifest.counts.listed:,} listed, of {count(inspection.whole.patients, 'patient')}"),
        ("masks", f"{inspection.whole.annotated:,} annotated, "
                  f"{inspection.whole.images - inspection.whole.annotated:,} without"),
        ("source", f"{manifest.source}, decoded by {manifest.decoder}"),
        ("originals", originals_text(inspection)),
        ("stored", f"{size} x {size}, {manifest.intensity.title}, {manifest.codec}, "
                   f"{count(len(manifest.shards), 'shard')}, {byte_size(inspection.bytes)}"),
        ("duplicates", duplicates_text(inspection)),
        ("intensity", f"mean {grey.mean:.0f}, 5 to 95 % of the pixels {grey.percentile(5)} to {grey.percentile(95)}, "
                  f"{percent(grey.share(0))} black, {percent(grey.share(255))} white "
                  f"({count(inspection.sample.films, 'film')} measured)"),
    ]  # fmt: skip
    lines = [inspection.location.uri, *(f"  {name:<11} {text}" for name, text in summary)]
    for table in (_class_table(inspection), _split_table(inspection), _reject_table(inspection)):
        if len(table) > 1:
            lines += ["", *_aligned(table)]
    return "\n".join(lines)


def originals_text(inspection: Inspection) -> str:
    """Sizes and pixel distance of the original films in one line."""
    sizes = [f"{width} x {height} ({images:,})" for (width, height), images in inspection.sizes.items()]
    text = ", ".join(sizes[:_SHOWN_SIZES])
    if len(sizes) > _SHOWN_SIZES:
        text += f" and {count(len(sizes) - _SHOWN_SIZES, 'other size')}"
    spacings = inspection.spacings
    if not len(spacings):
        return f"{text} pixels of unknown size"
    low, high = float(spacings[0]), float(spacings[-1])
    told = f"{low:.4g} mm" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g} mm"
    missing = inspection.whole.images - len(spacings)
    return f"{text} pixels of {told}" + (f", unknown in {missing:,}" if missing else "")


def duplicates_text(inspection: Inspection) -> str:
    """Films with the same pixels, and whether the splits keep them and the patients together."""
    groups, films = len(inspection.duplicates), sum(map(len, inspection.duplicates))
    text = "no two films" if not groups else f"{count(films, 'film')} in {count(groups, 'group')}"
    faults = []
    if inspection.duplicates_on_several_sides:
        faults.append(f"{count(inspection.duplicates_on_several_sides, 'group')} of equal films")
    if inspection.patients_on_several_sides:
        faults.append(count(inspection.patients_on_several_sides, "patient"))
    return f"{text}; " + (f"IN SEVERAL SPLITS: {' and '.join(faults)}" if faults else "no patient in two splits")


def _class_table(inspection: Inspection) -> list[list[str]]:
    table = [["class", "positive", "of known", "median area", "5 to 95 %"]]
    for name, positive in inspection.whole.positive.items():
        areas = inspection.areas[name]
        drawn = [percent(float(np.median(areas))), area_range(areas)] if len(areas) else ["-", "-"]
        table.append([name, f"{positive:,}", percent_of(positive, inspection.whole.known[name]), *drawn])
    return table


def area_range(areas: NDArray[np.float64]) -> str:
    """What 5 to 95 % of the films lie between."""
    low, high = np.percentile(areas, [5, 95])
    return f"{percent(float(low))} to {percent(float(high))}"


def _split_table(inspection: Inspection) -> list[list[str]]:
    labels = [(label, value) for label, values in inspection.whole.labels.items() for value in values if value]
    table = [
        [
            "split",
            "films",
            "patients",
            "annotated",
            *inspection.whole.positive,
            *(f"{label}={value}" for label, value in labels),
        ]
    ]
    for name, split in (*inspection.splits.items(), ("all", inspection.whole)):
        numbers = [split.images, split.patients, split.annotated, *split.positive.values()]
        numbers += [split.labels.get(label, {}).get(value, 0) for label, value in labels]
        table.append([name, *(f"{number:,}" for number in numbers)])
    return table


def _reject_table(inspection: Inspection) -> list[list[str]]:
    return [["rejected", "files"], *([reason, f"{files:,}"] for reason, files in inspection.reasons.items())]


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table]


def _spread(values: NDArray[np.float64]) -> dict[str, Any] | None:
    """Number, least, 5 %, median, 95 % and greatest of sorted values; None where there is none."""
    if not len(values):
        return None
    low, median, high = (float(value) for value in np.percentile(values, [5, 50, 95]))
    return {
        "films": len(values),
        "smallest": float(values[0]),
        "p5": low,
        "median": median,
        "p95": high,
        "largest": float(values[-1]),
    }
