"""Probabilities of films: the mean over networks and over test-time augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError, DataError
from raycxr.models.choices import size_divisor, smallest_size
from raycxr.models.image_head import split_output
from raycxr.prediction.bundle import load_model
from raycxr.prediction.compute import compute_of_trained
from raycxr.prediction.sides import mirrored_order
from raycxr.prediction.target import TargetKind, normalise
from raycxr.prediction.view import View, make_views
from raycxr.runs.bundle import Bundle
from raycxr.storage.location import Location


@dataclass(frozen=True)
class Prediction:
    """Mean probabilities of a batch, on the device of the networks.

    Attributes
    ----------
    masks : Tensor
        (B, channels, H, W) float32; channels are the classes, with the background before them where multiclass.
    images : Tensor or None
        (B, classes) float32: whether a film shows the structure at all; None where no network has an image head.
    """

    masks: Tensor
    images: Tensor | None


@dataclass(frozen=True)
class Network:
    """A network of an ensemble, and what its bundle says of it."""

    bundle: Bundle
    target: TargetKind
    model: nn.Module


class Predictor:
    """One network or several, asked about one or several views of each film.

    Probabilities are averaged, not logits, every network and view alike; image probabilities over the networks that
    have an image head. One batch goes through one network in one view at a time, so memory does not grow with the
    number of either.

    Parameters
    ----------
    networks : sequence of Network
        They may differ in architecture, not in what they were trained for.
    test_time : sequence of str
        Views besides the film itself, as in `evaluate.test_time`.
    device : torch.device

    Raises
    ------
    DataError
        Two networks differ in classes, target, film size or grey levels.
    ConfigurationError
        A view that makes no difference to a network, or one that mirrors classes without counterparts.
    """

    def __init__(self, networks: Sequence[Network], test_time: Sequence[str], device: torch.device) -> None:
        for other in networks[1:]:
            _check_alike(networks[0], other)
        self.views = make_views(test_time)
        self.members = [_Member(network, self.views, device) for network in networks]
        self.bundles = [network.bundle for network in networks]
        self.target, self.size = networks[0].target, networks[0].bundle.size
        self.test_time, self.device = tuple(test_time), device

    @property
    def title(self) -> str:
        """What is averaged, in words."""
        names = ", ".join(dict.fromkeys(bundle.config.model.title for bundle in self.bundles))
        averaged = [f"mean of {len(self.bundles)} networks"] if len(self.bundles) > 1 else []
        averaged += [name.replace("_", " ") for name in self.test_time]
        return f"{names} ({', '.join(averaged)})" if averaged else names

    @property
    def description(self) -> dict[str, list[str]]:
        """`bundles` (URIs) and `test_time` (views besides the film itself), as `--json` tells them."""
        return {"bundles": [bundle.location.uri for bundle in self.bundles], "test_time": list(self.test_time)}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Prediction:
        """Probabilities of films.

        Parameters
        ----------
        images : Tensor
            (B, H, W), uint8 or float in 0..1, on any device.
        """
        films = normalise(images.to(self.device))
        masks, presence = _Mean(), _Mean()
        for member in self.members:
            for view in self.views:
                prediction = member.predict(films, view)
                masks.add(prediction.masks)
                if prediction.images is not None:
                    presence.add(prediction.images)
        return Prediction(masks.value(), presence.value() if presence.count else None)


def load_predictor(
    locations: Sequence[Location], test_time: Sequence[str] | None = None, device: torch.device | None = None
) -> Predictor:
    """Predictor of bundles and of checkpoints inside their runs.

    Parameters
    ----------
    test_time : sequence of str or None
        As in `Predictor`; None for what the first bundle's configuration says.
    device : torch.device or None
        None for the GPU if there is one.

    Raises
    ------
    DataError, ConfigurationError
        A bundle is damaged, or as `Predictor`.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = []
    for location in locations:
        model, target, bundle = load_model(location)
        networks.append(Network(bundle, target, model))
    own = networks[0].bundle.config.evaluate.test_time
    return Predictor(networks, own if test_time is None else test_time, device)


class _Member:
    """A network on its device, with what its views need."""

    def __init__(self, network: Network, views: Sequence[View], device: torch.device) -> None:
        self.target, config = network.target, network.bundle.config
        self.divisor, self.smallest = size_divisor(config.model), smallest_size(config.model)
        for view in views:
            self._check_size(view, network.bundle)
        # A film mirrored in training kept the names of its sides: such a network knows left from right by the
        # anatomy. Others go by the place alone, and call the left lung of a mirrored film the right one.
        by_place = config.augment.horizontal_flip == 0
        self.class_order = list(range(len(self.target.classes)))
        if by_place and any(view.swaps_sides for view in views):
            self.class_order = mirrored_order(self.target.classes)
        background = self.target.channels - len(self.target.classes)
        self.channel_order = [*range(background), *(background + position for position in self.class_order)]
        self.compute = compute_of_trained(config.train, device)
        self.model = self.compute.place(network.model.eval())

    def predict(self, films: Tensor, view: View) -> Prediction:
        """Probabilities of one view of normalised films (B, 1, H, W), brought back to the films."""
        with self.compute.autocast():
            logits, image_logits = split_output(
                self.model(self.compute.arrange(view.show(films, self.divisor, self.smallest)))
            )
        masks = view.undo(self.target.activate(logits), *films.shape[-2:])
        images = None if image_logits is None else image_logits.float().sigmoid()
        if view.swaps_sides:
            masks = masks[:, self.channel_order]
            images = None if images is None else images[:, self.class_order]
        return Prediction(masks, images)

    def _check_size(self, view: View, bundle: Bundle) -> None:
        if view.scale == 1 or view.side(bundle.size, self.divisor, self.smallest) != bundle.size:
            return
        larger = bundle.size + self.divisor
        raise ConfigurationError(
            f"evaluate.test_time: {view.name} leaves films of {bundle.size} pixels as they are: "
            f"{bundle.config.model.name} takes multiples of {self.divisor}, {self.smallest} or more",
            f"choose a scale that makes other ones of them, such as scale_{larger / bundle.size:g} for {larger} pixels",
        )


class _Mean:
    """Mean of tensors of one shape, of which only the sum is kept."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, values: Tensor) -> None:
        self.total = values if self.total is None else self.total.add_(values)
        self.count += 1

    def value(self) -> Tensor:
        assert self.total is not None
        return self.total if self.count == 1 else self.total.div_(self.count)


def _check_alike(one: Network, other: Network) -> None:
    for what, mine, theirs in zip(
        ("classes", "target", "film size", "grey-level rule"), _purpose(one), _purpose(other), strict=True
    ):
        if mine != theirs:
            raise DataError(
                f"{one.bundle.location} and {other.bundle.location} cannot be averaged: {what} {mine} and {theirs}",
                "average networks that were trained for the same",
            )


def _purpose(network: Network) -> tuple[str, str, str, str]:
    bundle = network.bundle
    precedence = bundle.config.dataset.precedence or bundle.classes
    target = network.target.name
    if target == "multiclass":
        target += f" ({' before '.join(precedence)})"
    rule = " ".join(f"{key} {value}" for key, value in bundle.intensity.items() if value is not None)
    return ", ".join(bundle.classes), target, str(bundle.size), rule
