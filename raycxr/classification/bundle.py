"""Classifiers as bundles, and back. A bundle holds all that is needed: encoder, head, and the lung finder if any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load, save

from raycxr.classification.encoder import feature_maps, rebuild_encoder
from raycxr.classification.labels import LabelledFilms
from raycxr.classification.lungs import LungFinder, rebuild_lung_finder
from raycxr.classification.network import Classifier, build_head
from raycxr.classification.seen import seen_text
from raycxr.classification.summary import TITLES, chance_accuracy, classifier_title
from raycxr.config.load import to_yaml
from raycxr.config.sections import Config
from raycxr.errors import DataError
from raycxr.json_document import to_json
from raycxr.metrics.binary import FIGURES
from raycxr.runs.bundle import POSTPROCESS, WEIGHTS, Bundle, read_bundle, write_bundle
from raycxr.storage.location import Location

_CLASSIFIER, _LUNGS = "classifier.", "lungs."


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier in evaluation mode on the CPU, and what its bundle says."""

    model: Classifier
    finder: LungFinder | None
    bundle: Bundle
    dataset_id: str

    @property
    def label(self) -> str:
        """What it tells."""
        return self.bundle.classes[0]

    @property
    def threshold(self) -> float:
        """Probability above which it says yes."""
        threshold = self.bundle.rules[0].threshold
        assert threshold is not None
        return threshold


def save_classifier(
    destination: Location,
    model: Classifier,
    finder: LungFinder | None,
    metrics: Mapping[str, Any],
    config: Config,
    films: LabelledFilms,
) -> None:
    """Publish a classifier with everything that is needed to use it.

    Parameters
    ----------
    metrics : mapping
        `epoch` and `epochs` of the model that is kept; `metrics`, `intervals`, `images`, `positive`, `folds` and
        `seen_in_training` of the films tested.
    config : Config
        Its section `model` is the network that the encoder was taken from, where it came from a bundle.
    """
    section = config.classify
    assert section is not None
    weights = {_CLASSIFIER + name: tensor for name, tensor in model.state_dict().items()}
    if finder is not None:
        weights |= {_LUNGS + name: tensor for name, tensor in finder.network.state_dict().items()}
    postprocess = {
        "classes": [section.label],
        "target": "label of the film",
        "size": films.size,
        "intensity": films.splits.manifest.intensity.model_dump(),
        "rules": {section.label: {"threshold": section.threshold}},
        "dataset_id": films.splits.manifest.id,
        "lungs": None if finder is None else finder.document,
    }
    plain = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    # NaN, where a figure is undefined, is no JSON.
    recorded = json.loads(to_json(metrics))
    write_bundle(destination, save(plain), to_yaml(config), recorded, postprocess, model_card(metrics, config, films))


def load_classifier(location: Location) -> LoadedClassifier:
    """Read a classifier's bundle.

    Raises
    ------
    DataError
        It is that of a segmentation network, or its weights do not belong to its configuration.
    """
    bundle = read_bundle(location)
    section = bundle.config.classify
    if section is None:
        raise DataError(f"{location} is no classifier, it segments {', '.join(bundle.classes)}", "name a classifier")
    document = json.loads((location / POSTPROCESS).read_text())
    encoder = rebuild_encoder(section, bundle.config.model)
    head = build_head(section, feature_maps(encoder, bundle.size))
    model = Classifier(encoder, head, section.pooling, section.frozen)
    try:
        weights = load((location / WEIGHTS).read_bytes())
        parts = [
            {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
            for prefix in (_CLASSIFIER, _LUNGS)
        ]
        model.load_state_dict(parts[0])
        finder = None if document["lungs"] is None else rebuild_lung_finder(document["lungs"], parts[1])
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{location / WEIGHTS} does not fit its configuration: {first}", "pull the bundle again"
        ) from None
    return LoadedClassifier(model.eval(), finder, bundle, document["dataset_id"])


def model_card(metrics: Mapping[str, Any], config: Config, films: LabelledFilms) -> str:
    """README of a bundle: what it is, what it was trained on, how well it did, what it is not."""
    section, manifest = config.classify, films.splits.manifest
    assert section is not None
    rows = "\n".join(
        f"| {TITLES[name]} | {metrics['metrics'][name]['mean']:.4f} | "
        f"{metrics['intervals'][name]['mean'][0]:.4f} to {metrics['intervals'][name]['mean'][1]:.4f} |"
        for name in FIGURES
    )
    used = "" if section.lungs is None else f", each reduced to its lungs ({section.lungs.use})"
    trained = "frozen" if section.frozen else "trained as well"
    folds = ", ".join(fold["name"] for fold in metrics["folds"])
    told = seen_text(metrics["seen_in_training"], len(films))
    seen = f"{told} " if told else ""
    return f"""# {classifier_title(config)} for chest radiographs

Tells {section.label} in frontal chest radiographs of {films.size} x {films.size} pixels, displayed as usual (lungs \
dark){used}. Encoder {trained}; its features pooled ({section.pooling}), then a perceptron of hidden layers \
{list(section.hidden)}.

Trained on all {len(films)} films of data set `{manifest.id}` ({manifest.source}) whose label is known, \
{int(films.labels.sum())} of them positive, seed {config.train.seed}; epoch {metrics["epoch"]} of {metrics["epochs"]}, \
chosen by the loss on {section.validation_fraction:.0%} of them.

| figure | all films | 95 % interval |
|---|---|---|
{rows}

The figures are those of models of the same configuration, each tested on the films that it was not trained on \
({folds}), threshold {section.threshold:g}; the more frequent answer alone is right in \
{chance_accuracy(metrics):.1%}. {seen}The model in this bundle has seen all of these films: measure it on others.

`model.safetensors` holds the weights, `config.yaml` the whole configuration, `postprocess.json` label, threshold and \
the grey-level rule, `metrics.json` the figures, also by fold, `bundle.json` the sha256 of each file. Made by raycxr, \
for research: not a medical device.
"""
