"""The tables of an inspection as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from raycxr.number_text import byte_size, count, percent, percent_of
from raycxr.report.chart import area_chart
from raycxr.report.film_count import FilmCount
from raycxr.report.inspection import Inspection
from raycxr.report.inspection_text import area_range, originals_text
from raycxr.report.tile import colour

_REJECT_EXAMPLES = 3
_SHOWN_SIZES = 8


def swatch(number: int, name: str) -> str:
    """Name of a class beside its colour."""
    return f"<span class='swatch' style='background:{colour(number)}'></span>{escape(name)}"


def class_table(inspection: Inspection) -> str:
    """Class, positive films and their share; median area with its range, and all areas."""
    rows = []
    for number, (name, positive) in enumerate(inspection.whole.positive.items()):
        areas, known = inspection.areas[name], inspection.whole.known[name]
        drawn = ["-", ""]
        if len(areas):
            middle = f"{percent(float(np.median(areas)))}<small>{area_range(areas)}</small>"
            ends = f"<small class='ends'><span>0</span><span>{percent(float(areas[-1]))}</span></small>"
            drawn = [middle, area_chart(areas, colour(number)) + ends]
        share = f"{positive:,}<small>{percent_of(positive, known)} of {known:,} known</small>"
        rows.append([swatch(number, name), share, *drawn])
    return _table(["class", "positive", "area", "areas"], rows, "classes")


def split_table(inspection: Inspection) -> str:
    """Films, patients, masks and positive films of each split."""
    classes = [swatch(number, name) for number, name in enumerate(inspection.manifest.classes)]
    labels = [(label, value) for label, values in inspection.whole.labels.items() for value in values if value]
    head = [
        "split",
        "films",
        "patients",
        "annotated",
        *classes,
        *(f"<small>label</small>{escape(label)} = {value}" for label, value in labels),
    ]
    rows = []
    for name, split in (*inspection.splits.items(), ("all", inspection.whole)):
        share = percent_of(split.images, inspection.whole.images)
        rows.append([name, f"{split.images:,}<small>{share}</small>", f"{split.patients:,}", f"{split.annotated:,}"])
        rows[-1] += [_part(split.positive[name], split.known[name]) for name in inspection.manifest.classes]
        rows[-1] += [_part(_with_label(split, *pair), sum(split.labels.get(pair[0], {}).values())) for pair in labels]
    return _table(head, rows, "sum")


def reject_table(inspection: Inspection) -> str:
    """Rejected files by reason, with a few of them."""
    rows = []
    for reason, files in inspection.reasons.items():
        examples = [row for row in inspection.rejects if row["reason"] == reason][:_REJECT_EXAMPLES]
        told = "".join(
            f"<li><code title='{escape(row['original'])}'>{escape(row['original'].rpartition('/')[2])}</code> "
            f"{escape(row['detail'])}</li>"
            for row in examples
        )
        more = f"<li>and {files - len(examples):,} more</li>" if files > len(examples) else ""
        rows.append([f"<code>{escape(reason)}</code>", f"{files:,}", f"<ul class='examples'>{told}{more}</ul>"])
    return _table(["reason", "files", "examples"], rows, "rejects")


def size_table(inspection: Inspection) -> str:
    """Sizes of the original films."""
    sizes = list(inspection.sizes.items())
    rows = [
        [f"{width} x {height}", f"{films:,}", percent_of(films, inspection.whole.images)]
        for (width, height), films in sizes[:_SHOWN_SIZES]
    ]
    rest = sizes[_SHOWN_SIZES:]
    if rest:
        films = sum(films for _, films in rest)
        rows.append([count(len(rest), "other size"), f"{films:,}", percent_of(films, inspection.whole.images)])
    return _table(["width x height", "films", "share"], rows, "sizes")


def provenance(inspection: Inspection) -> str:
    """Where the films come from and what was done to them."""
    manifest, size = inspection.manifest, inspection.manifest.geometry.size
    merged = [f"{name} = {' + '.join(parts)}" for name, parts in manifest.structures.items() if parts != (name,)]
    rule = [f"{key} {getattr(manifest.split, key):g}" for key in _RULE_KEYS[manifest.split.rule]]
    facts = {
        "data set": inspection.location.uri,
        "content id": manifest.id,
        "source layout": manifest.source,
        "original films": originals_text(inspection),
        "decoder": manifest.decoder,
        "structures": ", ".join(merged) or ", ".join(manifest.classes),
        "intensity rule": inspection.manifest.intensity.title,
        "geometry": f"fitted into {size} x {size}, aspect kept, black beside the film",
        "split rule": ", ".join([manifest.split.rule, *rule]),
        "stored as": f"{count(len(manifest.shards), 'shard')} of {manifest.codec}, {byte_size(inspection.bytes)}",
        "written by": f"raycxr {manifest.raycxr}, format {manifest.format_version}",
    }
    return _facts(facts)


# What counts in each rule; the other keys of the section mean nothing there.
_RULE_KEYS: dict[str, tuple[str, ...]] = {
    "fraction": ("train", "validation", "test", "seed"),
    "scr-folds": ("fold", "validation_fraction", "seed"),
    "k-fold": ("folds", "fold", "validation_fraction", "seed"),
    "given": ("validation_fraction", "seed"),
}


def _with_label(split: FilmCount, label: str, value: int) -> int:
    return split.labels.get(label, {}).get(value, 0)


def _part(part: int, whole: int) -> str:
    return f"{part:,}<small>{percent_of(part, whole)}</small>"


def _facts(facts: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>' for name, fact in facts.items())}</dl>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> str:
    """Table of cells that are HTML already."""
    titles = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<div class='scroll'><table class='{kind}'><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )
