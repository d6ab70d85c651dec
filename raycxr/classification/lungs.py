"""Films reduced to their lungs, as a segmentation model finds them: cropped to them, or black outside of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycxr.config.classify import LungsSettings
from raycxr.config.dataset import DatasetSection
from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import build_model
from raycxr.models.image_head import split_output
from raycxr.postprocess.rule import DecisionRule, apply_rules
from raycxr.prediction.bundle import load_model
from raycxr.prediction.target import TargetKind, normalise, target_kind
from raycxr.runs.bundle import Bundle, find_bundle
from raycxr.xray.resize import fit_inside, resize_image

# What a name may say of a lung besides; a lung nodule is no lung.
_OF_LUNGS = {"lung", "lungs", "left", "right", "both", "field", "fields"}


class LungFinder:
    """A segmentation network and how its output is read.

    Parameters
    ----------
    network : nn.Module
    target : TargetKind
    document : mapping
        What a classifier's bundle says of it, to build it again: `model`, `dataset`, `classes`, `rules`.
    """

    def __init__(self, network: nn.Module, target: TargetKind, document: Mapping[str, Any]) -> None:
        self.network, self.target, self.document = network, target, dict(document)
        self.lungs = [number for number, name in enumerate(target.classes) if is_lung(name)]
        # Whether there are lungs at all is no question here.
        self.rules = [
            DecisionRule.model_validate(self.document["rules"][name] | {"image_threshold": None})
            for name in target.classes
        ]

    @torch.no_grad()
    def find(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """Whether a pixel lies in a lung, (B, S, S), nowhere in the padding.

        Parameters
        ----------
        images : Tensor
            Films (B, S, S) in their squares, on the network's device.
        sizes : sequence of (int, int)
            Height and width of each original film, which tell where it lies in its square.
        """
        logits, _ = split_output(self.network(normalise(images)))
        found = np.zeros(tuple(images.shape), bool)
        for film, (height, width), probabilities in zip(
            found, sizes, self.target.activate(logits).cpu().numpy(), strict=True
        ):
            # The areas of a rule are shares of the film, so it must not see the padding.
            inside = fit_inside(height, width, images.shape[-1]).slices
            film[inside] = apply_rules(self.rules, probabilities[:, *inside])[self.lungs].any(axis=0)
        return found


def is_lung(name: str) -> bool:
    """Whether a class is lungs or one of them, such as `lungs`, `left lung` or `lung_fields`, and nothing else."""
    words = set(re.findall("[a-z]+", name.lower()))
    return not words.isdisjoint({"lung", "lungs"}) and words <= _OF_LUNGS


def load_lung_finder(settings: LungsSettings, size: int) -> tuple[LungFinder, Bundle]:
    """Lung finder of a run or bundle, on the CPU, and that bundle.

    Raises
    ------
    ConfigurationError
        It was trained at another size than `size`, or none of its classes is a lung.
    DataError
        There is no bundle.
    """
    model, target, bundle = load_model(find_bundle(settings.bundle))
    if not any(map(is_lung, bundle.classes)):
        raise ConfigurationError(
            f"classify.lungs.bundle = {settings.bundle!r} segments {', '.join(bundle.classes)}, no lungs",
            "name a bundle with a class such as lungs, left lung or lung field, with no other words in its name",
        )
    if bundle.size != size:
        raise ConfigurationError(
            f"classify.lungs.bundle = {settings.bundle!r} was trained on films of {bundle.size} pixels, the data set "
            f"holds films of {size}",
            f"ingest the films with ingest.size={bundle.size}",
        )
    document = {
        "model": bundle.config.model.model_dump(mode="json") | {"encoder_weights": None},
        "dataset": {"target": target.name, "precedence": bundle.config.dataset.precedence},
        "classes": list(target.classes),
        "rules": {
            name: rule.model_dump(exclude_none=True) for name, rule in zip(bundle.classes, bundle.rules, strict=True)
        },
    }
    return LungFinder(model, target, document), bundle


def rebuild_lung_finder(document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> LungFinder:
    """Lung finder out of a classifier's bundle."""
    target = target_kind(DatasetSection.model_validate(document["dataset"]), document["classes"])
    network = build_model(ModelSection.model_validate(document["model"]), 1, target.channels, len(target.classes))
    network.load_state_dict(weights)
    return LungFinder(network.eval(), target, document)


def two_largest(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the two largest connected parts (H, W), the second one only where it has a fifth of the first's area.

    A few stray pixels in a corner would otherwise make a crop of the whole film.
    """
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    areas = statistics[1:, cv2.CC_STAT_AREA]  # the first one is what lies outside
    kept = [part + 1 for part in np.argsort(-areas, kind="stable")[:2] if 5 * areas[part] >= areas.max()]
    return np.isin(parts, kept)


def reduce_to_lungs(image: NDArray[Any], lungs: NDArray[np.bool_], use: str, margin: float) -> NDArray[Any]:
    """Return a film (H, W) with H = W cropped to its lungs (H, W), or black outside of them, at the same size.

    Where no lung was found the film stays as it is.
    """
    if not lungs.any():
        return image
    if use == "mask":
        reach = round(margin * image.shape[0])
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        kept = cv2.dilate(lungs.astype(np.uint8), kernel) > 0
        return np.where(kept, image, np.zeros((), image.dtype))
    top, left, side = lung_square(lungs, margin)
    crop = np.ascontiguousarray(image[top : top + side, left : left + side])
    return resize_image(crop, *image.shape)


def lung_square(lungs: NDArray[np.bool_], margin: float) -> tuple[int, int, int]:
    """Return top, left and side of the square around the lungs of a square film, inside the film.

    The margin is a share of the longer side of the lungs' box, on each side. A square keeps the proportions.
    """
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    side = min(lungs.shape[0], round((1 + 2 * margin) * max(height, width)))
    top = (rows[0] + rows[-1] + 1 - side) // 2
    left = (columns[0] + columns[-1] + 1 - side) // 2
    limit = lungs.shape[0] - side
    return int(np.clip(top, 0, limit)), int(np.clip(left, 0, limit)), int(side)
