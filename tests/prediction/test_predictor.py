"""Predictions averaged over networks and views: what is mirrored comes back, and nothing is counted twice."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raycxr.config.load import check_config
from raycxr.errors import ConfigurationError, DataError
from raycxr.postprocess.rule import DecisionRule
from raycxr.prediction.decision import shared_rules
from raycxr.prediction.predictor import Network, Prediction, Predictor
from raycxr.prediction.target import MEAN, target_kind
from raycxr.runs.bundle import Bundle
from raycxr.storage.location import Location
from raycxr.training.rule_search import training_rules

SIDES = ("left lung", "right lung")
ALL_VIEWS = ("horizontal_flip", "vertical_flip", "scale_0.75", "scale_1.25")


def network(module: nn.Module, classes: tuple[str, ...] = ("lungs",), name: str = "a", **sections: Any) -> Network:
    """A network of films of 16 pixels whose sizes may be multiples of 2."""
    plain = {"model": {"name": "inverted_net", "channels": [8, 4]}, "train": {"precision": "fp32"}}
    config = check_config(plain | sections, "test")
    target = target_kind(config.dataset, classes)
    rules = tuple(training_rules(config, target))
    bundle = Bundle(Location(f"/runs/{name}"), config, classes, 16, 1, {}, rules, {"rule": "percentile"})
    return Network(bundle, target, module)


def predictor(networks: list[Network], *test_time: str) -> Predictor:
    return Predictor(networks, test_time, torch.device("cpu"))


def predict(networks: list[Network], *test_time: str, images: Tensor | None = None) -> Prediction:
    return predictor(networks, *test_time).predict(films() if images is None else images)


def films(count: int = 3) -> Tensor:
    return torch.rand(count, 16, 16, generator=torch.Generator().manual_seed(5))


class Pointwise(nn.Module):
    """Logits of a pixel from that pixel alone: the same, however the film lies."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes)[None, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return images * self.slopes


class ByPlace(nn.Module):
    """Bright pixels are the left lung in the right half of the picture, the right lung in the left half."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        columns = torch.arange(images.shape[-1])
        right_half = (columns >= images.shape[-1] // 2).to(images.dtype)
        maps = torch.cat([images * right_half, images * (1 - right_half)], dim=1)
        return maps, maps.sum(dim=(2, 3))


class ByAnatomy(nn.Module):
    """Bright pixels are the left lung in the half of the picture that is brighter, where the heart is."""

    def forward(self, images: Tensor) -> Tensor:
        left, right = images.chunk(2, dim=-1)
        heart_right = (right.sum(dim=(1, 2, 3)) > left.sum(dim=(1, 2, 3))).to(images.dtype)[:, None, None, None]
        right_half = (torch.arange(images.shape[-1]) >= images.shape[-1] // 2).to(images.dtype)
        of_heart = heart_right * right_half + (1 - heart_right) * (1 - right_half)
        return torch.cat([images * of_heart, images * (1 - of_heart)], dim=1)


class Background(nn.Module):
    """Multiclass form of another network: a background whose logit is one everywhere."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        output = self.inner(images)
        maps = output[0] if isinstance(output, tuple) else output
        return torch.cat([torch.ones_like(images), maps], dim=1)


def test_one_network_is_its_own_mean() -> None:
    one = predict([network(Pointwise(2.0))])
    assert one.images is None
    assert one.masks.dtype == torch.float32
    torch.testing.assert_close(one.masks, torch.sigmoid(2 * (films() - MEAN) / 0.25)[:, None])


def test_flips_change_nothing_where_the_network_does_not_see_them() -> None:
    lungs = [network(Pointwise(2.0))]
    assert torch.equal(
        predict(lungs, "horizontal_flip").masks,
        predict(lungs).masks,
    )
    torch.testing.assert_close(predict(lungs, "horizontal_flip", "vertical_flip").masks, predict(lungs).masks)


def test_scales_change_nothing_on_an_even_film() -> None:
    even = torch.full((2, 16, 16), 0.7)
    lungs = [network(Pointwise(2.0))]
    torch.testing.assert_close(predict(lungs, *ALL_VIEWS, images=even).masks, predict(lungs, images=even).masks)


def test_views_are_averaged_as_probabilities() -> None:
    class Columns(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.arange(images.shape[-1]).to(images.dtype).expand_as(images)

    columns = torch.arange(16.0)
    expected = (columns.sigmoid() + columns.flip(0).sigmoid()) / 2
    masks = predict([network(Columns())], "horizontal_flip").masks
    torch.testing.assert_close(masks, expected.expand(3, 1, 16, 16))


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
def test_a_network_that_goes_by_place_has_its_sides_swapped(target: str) -> None:
    model = ByPlace() if target == "multilabel" else Background(ByPlace())
    networks = [network(model, SIDES, dataset={"target": target})]
    plain, mirrored = predict(networks), predict(networks, "horizontal_flip")
    torch.testing.assert_close(mirrored.masks, plain.masks)
    if target == "multilabel":
        assert plain.images is not None
        assert mirrored.images is not None
        torch.testing.assert_close(mirrored.images, plain.images)
    assert not torch.allclose(plain.masks[:, -1], plain.masks[:, -2])
    # Up and down have nothing to do with it.
    torch.testing.assert_close(predict(networks, "vertical_flip").masks, plain.masks)


def test_a_network_that_was_trained_on_mirrored_films_goes_by_anatomy() -> None:
    images = films()
    images[:, :, 8:] += 1
    by_anatomy = [network(ByAnatomy(), SIDES, augment={"horizontal_flip": 0.5})]
    plain = predict(by_anatomy, images=images).masks
    torch.testing.assert_close(predict(by_anatomy, "horizontal_flip", images=images).masks, plain)
    unaware = [network(ByAnatomy(), SIDES)]
    assert not torch.allclose(predict(unaware, "horizontal_flip", images=images).masks, plain)


def test_a_side_without_its_counterpart_cannot_be_mirrored() -> None:
    one_sided = [network(Pointwise(1.0, 2.0), ("left lung", "heart"))]
    with pytest.raises(ConfigurationError, match="turns 'left lung' into 'right lung'"):
        predictor(one_sided, "horizontal_flip")
    predictor(one_sided, "vertical_flip", "scale_0.75")


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    one, two = network(Pointwise(2.0)), network(Pointwise(-3.0), name="b", model={"name": "classic_unet"})
    expected = (predict([one]).masks + predict([two]).masks) / 2
    assert torch.equal(predict([one, two]).masks, expected)
    assert torch.equal(predict([two, one]).masks, expected)
    views = predict([one, two], *ALL_VIEWS[:2]).masks
    torch.testing.assert_close(views, expected)


def test_image_probabilities_are_those_of_the_networks_that_have_them() -> None:
    with_head, without = network(ByPlace(), SIDES), network(Pointwise(1.0, 2.0), SIDES, name="b")
    alone, both = predict([with_head]), predict([without, with_head])
    assert alone.images is not None
    assert both.images is not None
    assert both.images.shape == (3, 2)
    assert torch.equal(alone.images, both.images)


def test_one_batch_at_a_time_and_nothing_kept() -> None:
    shapes: list[tuple[int, ...]] = []
    outputs: list[weakref.ref[Tensor]] = []

    class Probe(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert not any(output() is not None for output in outputs), "an earlier output is still held"
            shapes.append(tuple(images.shape))
            output = images * 2
            outputs.append(weakref.ref(output))
            return output

    predict([network(Probe()), network(Probe(), name="b")], "horizontal_flip", "scale_0.75", "scale_1.4")
    side = {"scale_0.75": 12, "scale_1.4": 22}
    one = [(3, 1, 16, 16), (3, 1, 16, 16), *((3, 1, pixels, pixels) for pixels in side.values())]
    assert shapes == [*one, *one]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_batches_of_any_size_and_both_kinds_of_film(dtype: torch.dtype) -> None:
    images = films(5) if dtype == torch.float32 else (films(5) * 255).to(torch.uint8)
    both = predictor([network(Pointwise(2.0)), network(Pointwise(0.5), name="b")], *ALL_VIEWS)
    whole = both.predict(images).masks
    parts = torch.cat([both.predict(part).masks for part in (images[:1], images[1:])])
    torch.testing.assert_close(whole, parts)
    assert whole.shape == (5, 1, 16, 16)


def test_a_network_of_half_precision_predicts_on_a_cpu_too() -> None:
    half = [network(Pointwise(2.0), train={"precision": "fp16"})]
    assert predict(half).masks.dtype == torch.float32


@pytest.mark.parametrize(
    ("classes", "sections", "what"),
    [
        (("heart",), {}, "classes lungs and heart"),
        (("lungs",), {"dataset": {"target": "multiclass"}}, r"target multilabel and multiclass \(lungs\)"),
    ],
)
def test_networks_for_different_things_are_not_averaged(
    classes: tuple[str, ...], sections: dict[str, Any], what: str
) -> None:
    with pytest.raises(DataError, match=f"/runs/a and /runs/b cannot be averaged: {what}"):
        predictor([network(Pointwise(1.0)), network(Pointwise(1.0), classes, "b", **sections)])


def test_a_scale_that_makes_no_difference_is_refused() -> None:
    levels = network(Pointwise(1.0), model={"name": "inverted_net", "channels": [8, 4, 4, 4]})
    with pytest.raises(ConfigurationError, match=r"scale_1.1 leaves films of 16 pixels as they are") as caught:
        predictor([levels], "scale_1.1")
    assert "scale_1.5 for 24 pixels" in caught.value.remedy


@pytest.mark.parametrize("name", ["flip", "scale_1", "scale_9", "scale_-1", "scale_", "horizontal_flip,vertical_flip"])
def test_unknown_views_are_refused_by_the_configuration(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"evaluate\.test_time"):
        check_config({"evaluate": {"test_time": [name]}}, "test")
    with pytest.raises(ConfigurationError, match="named twice"):
        check_config({"evaluate": {"test_time": ["horizontal_flip", "horizontal_flip"]}}, "test")


def test_the_title_says_what_is_averaged() -> None:
    one = network(Pointwise(1.0))
    assert predictor([one]).title == "inverted_net"
    three = [one, one, network(Pointwise(1.0), name="b", model={"name": "res_unet"})]
    assert predictor(three, "horizontal_flip").title == "inverted_net, res_unet (mean of 3 networks, horizontal flip)"


def test_rules_of_an_ensemble() -> None:
    def rules(*settings: dict[str, Any]) -> tuple[DecisionRule, ...]:
        return shared_rules([network(Pointwise(1.0), postprocess=setting).bundle for setting in settings])

    low, high = {"threshold": 0.3}, {"threshold": 0.6, "components": 1}
    assert rules(low, low) == (DecisionRule(threshold=0.3),)
    assert rules(low, low, {"threshold": 0.6})[0].threshold == pytest.approx(0.4)
    triplets = [{"triplet": {"top": top, "area": 0.01, "bottom": 0.2}} for top in (0.5, 0.7)]
    assert rules(*triplets)[0].model_dump() == pytest.approx(
        DecisionRule(top=0.6, area=0.01, bottom=0.2).model_dump(exclude_none=True)
        | dict.fromkeys(("image_threshold", "threshold", "components"))
    )
    # Rules of different kinds have no mean.
    assert rules(high, low) == rules(high)
    assert rules(triplets[0], low) == rules(triplets[0])
