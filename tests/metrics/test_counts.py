from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from raycxr.metrics import overlap
from raycxr.metrics.counts import OVER_CLASSES, PER_CLASS, OverlapSums
from raycxr.metrics.presence import MEANS_OF_FILMS, PRESENCE, film_values

Masks = NDArray[np.bool_]
CPU = torch.device("cpu")
shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))


def _sums(prediction: Masks, truth: Masks, batches: list[slice]) -> torch.Tensor:
    sums = OverlapSums(prediction.shape[1], CPU)
    for images in batches:
        sums.update(torch.from_numpy(prediction[images]), torch.from_numpy(truth[images]))
    return sums.totals


@given(pairs)
@settings(deadline=None)
def test_the_mean_over_images_of_the_per_image_metrics(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    classes = [f"class {index}" for index in range(prediction.shape[1])]
    result = OverlapSums.result(_sums(prediction, truth, [slice(None)]), classes)
    assert set(result) - set(PRESENCE) == {*PER_CLASS, *OVER_CLASSES}
    for metric in (overlap.dice, overlap.iou, overlap.precision, overlap.recall, overlap.pixel_accuracy):
        expected = np.mean([metric(p, t) for p, t in zip(prediction, truth, strict=True)], axis=0)
        found = result[metric.__name__]
        assert list(found) == [*classes, "mean"]
        np.testing.assert_allclose([found[name] for name in classes], expected)
        assert found["mean"] == pytest.approx(expected.mean())
    accuracies = [overlap.label_accuracy(p, t) for p, t in zip(prediction, truth, strict=True)]
    assert result["label_accuracy"] == {"mean": pytest.approx(np.mean(accuracies))}
    ious = [overlap.mean_iou(p, t) for p, t in zip(prediction, truth, strict=True)]
    assert result["mean_iou"] == {"mean": pytest.approx(np.mean(ious))}


@given(pairs)
@settings(deadline=None)
def test_the_means_over_images_with_and_without_a_class(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    classes = [f"class {index}" for index in range(prediction.shape[1])]
    result = OverlapSums.result(_sums(prediction, truth, [slice(None)]), classes)
    dice = np.array([overlap.dice(p, t) for p, t in zip(prediction, truth, strict=True)])
    predicted, true = (np.logical_or.reduce(masks, axis=(2, 3)) for masks in pair)
    for metric in MEANS_OF_FILMS:
        expected = {}
        for index, name in enumerate(classes):
            values = film_values(dice[:, index], predicted[:, index], true[:, index])[metric]
            if not true[:, index].all() and not np.isnan(values).all():
                expected[name] = pytest.approx(np.nanmean(values))
        found = result.get(metric, {})
        assert {name: value for name, value in found.items() if name != "mean"} == expected
        if found:
            assert found["mean"] == pytest.approx(np.mean([found[name] for name in expected]))


@given(pairs, st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_workers_and_batches_add_up_to_the_whole(pair: tuple[Masks, Masks], workers: int, batch_size: int) -> None:
    prediction, truth = pair
    whole = _sums(prediction, truth, [slice(None)])
    added = torch.zeros_like(whole)
    for rank in range(workers):
        mine = slice(rank, None, workers)
        count = len(prediction[mine])
        batches = [slice(start, start + batch_size) for start in range(0, count, batch_size)]
        added += _sums(prediction[mine], truth[mine], batches)
    assert added[0] == len(prediction)
    torch.testing.assert_close(added, whole, rtol=1e-13, atol=1e-13)


def test_uneven_parts_are_not_averaged_as_equals() -> None:
    truth = np.ones((3, 1, 2, 2), bool)
    prediction = np.stack([truth[0], ~truth[0], ~truth[0]])
    added = _sums(prediction, truth, [slice(0, 1)]) + _sums(prediction, truth, [slice(1, 3)])
    assert OverlapSums.result(added, ["lungs"])["dice"] == pytest.approx({"lungs": 1 / 3, "mean": 1 / 3})


def test_empty_masks_agree() -> None:
    empty = np.zeros((1, 1, 4, 4), bool)
    result = OverlapSums.result(_sums(empty, empty, [slice(None)]), ["lesion"])
    assert all(value == 1 for values in result.values() for value in values.values())
    assert {"siim_score", "floor", "negatives_empty"} <= set(result)
    result = OverlapSums.result(_sums(~empty, empty, [slice(None)]), ["lesion"])
    assert result.pop("floor") == {"lesion": 1, "mean": 1}
    assert all(value == 0 for values in result.values() for value in values.values())


def test_a_class_that_every_image_has_is_no_lesion() -> None:
    truth = np.ones((2, 2, 3, 3), bool)
    truth[1, 1] = False
    result = OverlapSums.result(_sums(truth, truth, [slice(None)]), ["lungs", "lesion"])
    assert result["floor"] == {"lesion": 0.5, "mean": 0.5}
    assert result["dice_positive"] == {"lesion": 1, "mean": 1}
    whole = OverlapSums.result(_sums(truth[:1], truth[:1], [slice(None)]), ["lungs", "lesion"])
    assert not set(whole) & set(PRESENCE)


def test_no_image_gives_no_number() -> None:
    result = OverlapSums.result(OverlapSums(2, CPU).totals, ["a", "b"])
    assert all(math.isnan(value) for values in result.values() for value in values.values())


def test_other_arguments_are_refused() -> None:
    sums = OverlapSums(2, CPU)
    masks = torch.ones(1, 2, 3, 3, dtype=torch.bool)
    for prediction, truth in [(masks, masks[:, :1]), (masks[:, :1], masks[:, :1]), (masks[0], masks[0])]:
        with pytest.raises(ValueError, match="masks must be"):
            sums.update(prediction, truth)
    with pytest.raises(ValueError, match="boolean"):
        sums.update(masks.float(), masks)
    with pytest.raises(ValueError, match="3 classes"):
        OverlapSums.result(sums.totals, ["a", "b", "c"])
