"""The page of `raycxr inspect --html`: counts, provenance, intensities, and the films themselves."""

from __future__ import annotations

from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.html_document import html_document, picture_uri
from raycxr.number_text import count, percent, percent_of
from raycxr.report.augmentation_sheet import AugmentationSheet
from raycxr.report.chart import DASHES, grey_level_chart
from raycxr.report.inspection import Inspection
from raycxr.report.inspection_table import class_table, provenance, reject_table, size_table, split_table, swatch
from raycxr.report.intensities import MEAN_SIDE, MeanFilm
from raycxr.report.tile import tile_figure
from raycxr.xray.outline import COLOURS

# How strongly the place that most masks cover is coloured.
_STRONGEST = 0.75

STYLE = """
body { max-width: 84rem; }
h2 { margin-top: 2.4rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .6rem; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0; }
.cards div { border: 1px solid #8884; border-radius: 8px; padding: .6rem 1.1rem; min-width: 6.5rem; }
.cards b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.cards span, .cards small { color: var(--muted); font-size: .85rem; display: block; }
ul.checks { list-style: none; padding: 0; margin: 0; } ul.checks li { padding-left: 1.6rem; text-indent: -1.6rem; }
ul.checks i { font-style: normal; display: inline-block; width: 1.6rem; text-indent: 0; color: #2a9d64; }
ul.checks li.bad { font-weight: 600; } ul.checks li.bad i { color: #d1482f; }
table.sum tbody tr:last-child td { font-weight: 600; } th { font-weight: 600; vertical-align: bottom; }
td { vertical-align: top; } th, td { white-space: nowrap; } table.rejects th:last-child { text-align: left; }
ul.examples { margin: 0; padding: 0; list-style: none; text-align: left; white-space: normal; min-width: 20rem; }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .45em; }
svg.areas { width: 180px; display: block; } small.ends { display: flex; justify-content: space-between; }
th small { font-weight: 400; color: var(--muted); display: block; }
.grid { stroke: #8884; stroke-width: 1; } svg text { fill: var(--muted); font: 12px system-ui, sans-serif; }
.side { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
.side > div { min-width: 0; max-width: 100%; }
.side > .wide { flex: 1 1 26rem; } .side > .plot { flex: 1 1 33rem; }
svg.chart { width: 100%; min-width: 32rem; max-width: 46rem; display: block; }
.surface { fill: #8883; } .split, svg.key line { fill: none; stroke: currentColor; stroke-width: 1.4; }
svg.key { width: 2rem; height: .6rem; margin-right: .4rem; } .keys span { margin-right: 1.2rem; white-space: nowrap; }
figure { margin: 0; min-width: 0; } figcaption { font-size: .8rem; line-height: 1.4; margin-top: .35rem; }
figcaption span { color: var(--muted); margin-right: .7em; display: inline-block; }
figcaption code, figcaption b { display: block; }
figcaption .mark { color: #d1482f; } .tiles { display: grid; gap: 1.1rem .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 44vw), 1fr)); }
.tiles svg, .means img { width: 100%; height: auto; display: block; border-radius: 5px; background: #000; }
.means { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); flex: 1 1 20rem;
  max-width: 44rem; }
.outline path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bar { position: sticky; top: 0; z-index: 1; background: Canvas; padding: .6rem 0; display: flex; flex-wrap: wrap;
  gap: .3rem 1.2rem; align-items: center; border-bottom: 1px solid #8884; margin-top: 2rem; }
#outlines:not(:checked) ~ section .outline { display: none; } #outlines { position: absolute; opacity: 0; }
.bar label { cursor: pointer; border: 1px solid #8886; border-radius: 6px; padding: .1rem .7rem; }
.bar label::before { content: "☐ "; } #outlines:checked ~ .bar label::before { content: "☑ "; }
#outlines:focus-visible ~ .bar label { outline: 2px solid currentColor; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; } dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
@media print { body { max-width: none; margin: 0; font-size: 11px; }
  .bar { position: static; } .bar label { display: none; }
  h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; }
  .tiles { grid-template-columns: repeat(6, 1fr); } }
"""


def contact_sheet_page(inspection: Inspection, augmentation: AugmentationSheet | None = None) -> str:
    """Return the whole page as HTML, with a sheet of changed films where one is given; nothing is fetched for it."""
    name = inspection.location.name
    parts = [
        f"<h1>{escape(name)}</h1><p class='about'>{escape(inspection.location.uri)}, content "
        f"{escape(inspection.manifest.id)}</p>",
        _cards(inspection),
        _checks(inspection),
        "<div class='side'>",
        f"<div><h2>Classes</h2>{class_table(inspection)}<p class='about'>Area: share of the film, median and 5 to 95 % "
        "of the films that show the class.</p></div>",
        f"<div><h2>Original films</h2>{size_table(inspection)}{_pixel_spacing(inspection)}</div></div>",
        "<div class='side'>",
        f"<div><h2>Splits</h2>{split_table(inspection)}</div>",
        f"<div class='wide'><h2>Provenance</h2>{provenance(inspection)}</div></div>",
        _intensities(inspection),
        _bar(inspection),
        _sheet(inspection),
        _extremes(inspection),
        _augmentation(augmentation) if augmentation else "",
        f"<h2>Rejected</h2>{reject_table(inspection)}" if inspection.rejects else "",
    ]
    return html_document(f"{name}: {count(inspection.whole.images, 'film')}", "\n".join(filter(None, parts)), STYLE)


def _cards(inspection: Inspection) -> str:
    whole = inspection.whole
    cards = [
        (f"{whole.images:,}", "film" if whole.images == 1 else "films", f"of {count(whole.patients, 'patient')}"),
        (f"{whole.annotated:,}", "annotated", f"{whole.images - whole.annotated:,} without masks"),
    ]
    cards += [
        (f"{positive:,}", name, f"{percent_of(positive, whole.known[name])} of {whole.known[name]:,} known")
        for name, positive in whole.positive.items()
    ]
    cards.append((f"{len(inspection.rejects):,}", "rejected", f"of {inspection.manifest.counts.listed:,} listed"))
    shown = "".join(
        f"<div><b>{number}</b><span>{escape(name)}</span><small>{escape(about)}</small></div>"
        for number, name, about in cards
    )
    return f"<div class='cards'>{shown}</div>"


def _checks(inspection: Inspection) -> str:
    groups, films = len(inspection.duplicates), sum(map(len, inspection.duplicates))
    equal = f"{count(films, 'film')} with equal pixels in {count(groups, 'group')}, " if groups else ""
    torn = inspection.duplicates_on_several_sides
    patients = inspection.patients_on_several_sides
    files, shards = len(inspection.manifest.shards + inspection.manifest.masks), len(inspection.manifest.shards)
    counts = inspection.manifest.counts
    checks = [
        (True, f"{count(counts.images, 'film')} + {counts.rejected:,} rejected = {counts.listed:,} listed"),
        (not patients, f"{count(patients, 'patient') if patients else 'no patient'} in more than one split"),
        (not torn, equal + (f"{torn:,} of them in more than one split" if torn else "each on one side of the split"))
        if groups
        else (True, "no two films have the same pixels"),
        (
            True,
            f"all {files:,} files are there with the right size; {inspection.sample.verified} of "
            f"{count(shards, 'shard')} read for this page, each with its sha256",
        ),
    ]
    items = "".join(
        f"<li{'' if good else ' class=bad'}><i>{'✓' if good else '✗'}</i>{escape(told)}</li>" for good, told in checks
    )
    examples = "".join(f"<li>{', '.join(map(escape, group))}</li>" for group in inspection.duplicates[:10])
    more = f"<details><summary>films with equal pixels</summary><ul>{examples}</ul></details>" if examples else ""
    return f"<ul class='checks'>{items}</ul>{more}"


def _intensities(inspection: Inspection) -> str:
    sample, grey = inspection.sample, inspection.sample.grey
    keys = "".join(
        f"<span><svg class='key' viewBox='0 0 32 10'><line x1='0' x2='32' y1='5' y2='5' "
        f"stroke-dasharray='{DASHES[name]}'/></svg>{name}</span>"
        for name, counts in grey.by_split.items()
        if counts.any()
    )
    told = (
        f"{count(sample.films, 'film')} measured, drawn at random with a fixed seed from {sample.shards} of "
        f"{count(len(inspection.manifest.shards), 'shard')}; the black beside a film does not count. "
        f"Mean {grey.mean:.0f}, deviation {grey.deviation:.0f}; half of the pixels lie between {grey.percentile(25)} "
        f"and {grey.percentile(75)}; {percent(grey.share(0))} are black, {percent(grey.share(255))} white."
    )
    return (
        f"<h2>Intensities</h2><p class='about'>{told}</p><div class='side'>"
        f"<div class='plot'><div class='scroll'>{grey_level_chart(grey.counts, grey.by_split)}</div>"
        f"<p class='keys'>{keys}</p></div>"
        f"<div class='means'>{_means(sample.mean)}</div></div>"
    )


def _means(mean: MeanFilm) -> str:
    """The mean film, and on it where the masks of each class lie."""
    figures = [_figure(_png(cv2.cvtColor(mean.grey, cv2.COLOR_GRAY2RGB)), f"mean of {count(mean.films, 'film')}")]
    for number, (name, covered) in enumerate(zip(mean.classes, mean.covered, strict=True)):
        most = float(covered.max())
        if most:
            picture = _png(_coloured(mean.grey, covered / most, COLOURS[number % len(COLOURS)]))
            figures.append(_figure(picture, f"{name}: how often masks cover a place, up to {percent(most)}"))
    return "".join(figures)


def _coloured(
    grey: NDArray[np.uint8], strength: NDArray[np.float64], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    cover = _STRONGEST * strength[..., np.newaxis]
    return np.asarray(np.rint(grey[..., np.newaxis] * (1 - cover) + np.array(colour) * cover), np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _figure(picture: bytes, caption: str) -> str:
    told = escape(caption)
    return (
        f"<figure><img width='{MEAN_SIDE}' height='{MEAN_SIDE}' alt='{told}' src='{picture_uri(picture, 'png')}'>"
        f"<figcaption>{told}</figcaption></figure>"
    )


def _pixel_spacing(inspection: Inspection) -> str:
    spacings, films = inspection.spacings, inspection.whole.images
    if not len(spacings):
        return "<p>The pixel spacing is not known of any film.</p>"
    low, middle, high = float(spacings[0]), float(np.median(spacings)), float(spacings[-1])
    told = f"{low:.4g} mm" if low == high else f"{low:.4g} to {high:.4g} mm, median {middle:.4g} mm"
    return f"<p>Pixel spacing: {told}, known of {len(spacings):,} of {count(films, 'film')}.</p>"


def _bar(inspection: Inspection) -> str:
    """Legend of the classes, and a switch for the outlines that needs no script: it stands before what it hides."""
    names = "".join(f"<span>{swatch(number, name)}</span>" for number, name in enumerate(inspection.manifest.classes))
    return (
        "<input type='checkbox' id='outlines' checked>"
        f"<div class='bar'><label for='outlines'>show outlines</label>{names}</div>"
    )


def _sheet(inspection: Inspection) -> str:
    classes = inspection.manifest.classes
    sheet = inspection.sample.sheet
    parts = [
        "<section><h2>Contact sheet</h2><p class='about'>"
        f"{sum(map(len, sheet.values()))} of {count(inspection.whole.images, 'film')}, drawn at random with a fixed "
        "seed; the kinds do not stand in their true proportions.</p>"
    ]
    for kind, tiles in sheet.items():
        if tiles:
            figures = "".join(tile_figure(tile, classes) for tile in tiles)
            parts.append(f"<h3>{kind.capitalize()} ({len(tiles)})</h3><div class='tiles'>{figures}</div>")
    return "".join([*parts, "</section>"])


def _extremes(inspection: Inspection) -> str:
    figures = "".join(tile_figure(tile, inspection.manifest.classes, why) for why, tile in inspection.sample.extremes)
    return (
        "<section><h2>Extreme films</h2><p class='about'>Darkest, brightest and flattest of the "
        f"{count(inspection.sample.films, 'film')} measured; smallest and largest masks of the whole data set.</p>"
        f"<div class='tiles'>{figures}</div></section>"
    )


def _augmentation(sheet: AugmentationSheet) -> str:
    told = escape(f"{sheet.title}: {sheet.words}")
    return (
        f"<h2>Augmentation</h2><p class='about'>{told}.</p>"
        f"<img alt='films as training changes them' src='{picture_uri(sheet.encode('.jpg'), 'jpeg')}'>"
    )
