"""Targets: bits to maps, precedence, and what probabilities stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raycxr.config.dataset import DatasetSection
from raycxr.errors import ConfigurationError
from raycxr.evaluation.truth import exclusive
from raycxr.prediction.target import normalise, target_kind
from raycxr.training.average import WeightAverage
from raycxr.xray.mask import unpack_bits

CLASSES = ("clavicles", "heart", "lungs")
FIELDS = torch.arange(8, dtype=torch.uint8).reshape(1, 2, 4)


def test_multilabel_structures_overlap() -> None:
    target = target_kind(DatasetSection(), CLASSES)
    assert target.channels == 3
    expected = unpack_bits(FIELDS[0].numpy(), 3)
    assert np.array_equal(target.split(FIELDS)[0].numpy(), expected)
    assert np.array_equal(target.targets(FIELDS)[0].numpy(), expected)


def test_multiclass_follows_the_precedence() -> None:
    target = target_kind(DatasetSection(target="multiclass", precedence=("heart", "clavicles", "lungs")), CLASSES)
    assert target.channels == 4
    # Field bits: 1 clavicles, 2 heart, 4 lungs. Labels: 1 clavicles, 2 heart, 3 lungs.
    assert target.targets(FIELDS).flatten().tolist() == [0, 1, 2, 2, 3, 1, 2, 2]
    reference = exclusive(unpack_bits(FIELDS[0].numpy(), 3), CLASSES, ("heart", "clavicles", "lungs"))
    assert np.array_equal(target.split(FIELDS)[0].numpy(), reference)


def test_predictions() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0]])[:, :, None, None].expand(1, 4, 2, 2)
    multiclass = target_kind(DatasetSection(target="multiclass"), CLASSES)
    probabilities = multiclass.activate(logits)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(1, 2, 2))
    assert not multiclass.predict(probabilities).any()
    multilabel = target_kind(DatasetSection(), CLASSES)
    assert multilabel.predict(multilabel.activate(logits[:, :3]))[0, :, 0, 0].tolist() == [True, False, True]


def test_a_precedence_names_every_class_once() -> None:
    with pytest.raises(ConfigurationError, match=r"order clavicles, heart, lungs"):
        target_kind(DatasetSection(target="multiclass", precedence=("heart", "lungs")), CLASSES)


def test_grey_levels_are_the_same_in_both_types() -> None:
    image = torch.tensor([[[0, 127, 255]]], dtype=torch.uint8)
    assert torch.allclose(normalise(image), normalise(image.float() / 255), atol=1e-6)
    assert normalise(image).shape == (1, 1, 1, 3)


def test_the_weight_average_forgets_its_start_and_follows() -> None:
    model = torch.nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
    model.load_state_dict(model.state_dict() | {"num_batches_tracked": torch.tensor(7)})
    for _ in range(200):
        average.update(model)
    followed = average.model.state_dict()
    assert torch.allclose(followed["weight"], model.weight, atol=1e-3)
    assert followed["num_batches_tracked"] == 7
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
