"""What a fold is trained on: features of a frozen encoder, or films that an encoder in training sees."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycxr.classification.films import ReducedFilms, in_order
from raycxr.classification.fit import Batches, TrainBatches
from raycxr.classification.labels import LabelledFilms
from raycxr.classification.network import Classifier, build_head, choose_pooled
from raycxr.config.classify import ClassifySection
from raycxr.config.sections import Config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.cache import CachedShards
from raycxr.dataset.films import Batch
from raycxr.dataset.loader import TrainSampler, available_cpus, default_loader_workers
from raycxr.dataset.sampling import EveryFilm
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import normalise


class Learner(Protocol):
    """Makes modules and the batches that they take. Films are named by their positions among the labelled ones.

    Attributes
    ----------
    compute : Compute
        Where the module computes.
    """

    compute: Compute

    def new_module(self) -> nn.Module:
        """Return the module to be trained, with a head of fresh weights."""

    def train_batches(self, positions: Sequence[int], seed: int) -> TrainBatches:
        """Batches of an epoch, in an order that follows from the seed and the epoch."""

    def batches(self, positions: Sequence[int]) -> Batches:
        """Every film once, in order, unchanged."""

    def classifier(self, module: nn.Module) -> Classifier:
        """Return the whole classifier around a trained module."""


class FeatureLearner:
    """The head alone, on the CPU: a matter of seconds.

    Parameters
    ----------
    encoder : nn.Module
        What made the features.
    features : Tensor
        Averages and maxima (N, 2 C) of every labelled film.
    labels : bool array (N,)
    """

    def __init__(
        self, section: ClassifySection, encoder: nn.Module, features: Tensor, labels: NDArray[np.bool_]
    ) -> None:
        self.section, self.encoder, self.maps = section, encoder, features.shape[1] // 2
        self.features = choose_pooled(features, section.pooling)
        self.labels = torch.from_numpy(labels).float()
        self.compute = Compute(torch.device("cpu"), None, False)

    def new_module(self) -> nn.Module:
        """Return a head."""
        return build_head(self.section, self.maps)

    def train_batches(self, positions: Sequence[int], seed: int) -> TrainBatches:
        """Features in random order."""
        chosen = torch.tensor(positions)
        sampler = TrainSampler(EveryFilm(len(positions), seed), self.section.batch_size, 1, 0, 1)
        return _FeatureBatches(self.features[chosen], self.labels[chosen], sampler)

    def batches(self, positions: Sequence[int]) -> Batches:
        """Features in one batch."""
        chosen = torch.tensor(positions)
        return [(self.features[chosen], self.labels[chosen])]

    def classifier(self, module: nn.Module) -> Classifier:
        """Encoder and head."""
        return Classifier(self.encoder, module, self.section.pooling, frozen=True)


class _FeatureBatches:
    def __init__(self, features: Tensor, labels: Tensor, sampler: TrainSampler) -> None:
        self.features, self.labels, self.sampler = features, labels, sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.sampler.epoch = number
        for keys in self.sampler:
            chosen = torch.tensor([key.position for key in keys])
            yield self.features[chosen], self.labels[chosen]


class FilmLearner:
    """Encoder and head, each fold from the encoder's first weights.

    Parameters
    ----------
    encoder : nn.Module
        With the weights that training starts from.
    maps : int
        How many maps it makes.
    lungs : uint8 array or None
        See `ReducedFilms`.
    """

    def __init__(
        self,
        config: Config,
        encoder: nn.Module,
        maps: int,
        films: LabelledFilms,
        paths: CachedShards,
        lungs: NDArray[np.uint8] | None,
        compute: Compute,
    ) -> None:
        assert config.classify is not None
        self.config, self.section, self.encoder, self.maps = config, config.classify, encoder, maps
        self.films, self.paths, self.lungs, self.compute = films, paths, lungs, compute
        self.label_of = {row["id"]: float(label) for row, label in zip(films.rows, films.labels, strict=True)}

    def new_module(self) -> nn.Module:
        """Return encoder and head on the device."""
        head = build_head(self.section, self.maps)
        return self.compute.place(Classifier(copy.deepcopy(self.encoder), head, self.section.pooling, frozen=False))

    def train_batches(self, positions: Sequence[int], seed: int) -> TrainBatches:
        """Augmented films in random order."""
        augmentation = Augmentation(self.config.augment, seed, self.films.size)
        return _FilmBatches(self, self._films(positions, augmentation), seed)

    def batches(self, positions: Sequence[int]) -> Batches:
        """Films as they are."""
        films = self._films(positions, None)
        return (self.to_device(batch) for batch in in_order(films, self.config.evaluate.batch_size, self.compute))

    def classifier(self, module: nn.Module) -> Classifier:
        """What was trained."""
        assert isinstance(module, Classifier)
        return module

    def to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Network input (B, 1, H, W) and labels (B,)."""
        labels = torch.tensor([self.label_of[film] for film in batch.ids])
        images = normalise(batch.images.to(self.compute.device, non_blocking=True))
        if self.compute.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels.to(self.compute.device)

    def _films(self, positions: Sequence[int], augmentation: Augmentation | None) -> ReducedFilms:
        rows = [self.films.rows[position] for position in positions]
        lungs = None if self.lungs is None else self.lungs[list(positions)]
        return ReducedFilms(rows, self.paths, augmentation, lungs, self.section.lungs)


class _FilmBatches:
    def __init__(self, learner: FilmLearner, films: ReducedFilms, seed: int) -> None:
        self.learner = learner
        self.sampler = TrainSampler(EveryFilm(len(films), seed), learner.section.batch_size, 1, 0, 1)
        on_gpu = learner.compute.device.type == "cuda"
        asked = learner.config.train.loader_workers
        workers = default_loader_workers(available_cpus(), on_gpu) if asked is None else asked
        self.loader = TorchLoader(films, self.sampler, workers, on_gpu)

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.sampler.epoch = number
        for batch in self.loader:
            yield self.learner.to_device(batch)
