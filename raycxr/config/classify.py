"""The section `classify`: a classifier of whole films, in place of a segmentation network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raycxr.config.section import Section


class LungsSettings(Section):
    """Lungs found by a segmentation model, to which films are reduced before they are classified."""

    bundle: str = Field(description="URI of a run or bundle that segments lungs at the data set's size")
    use: Literal["crop", "mask"] = Field(
        "crop", description="crop: the square around the lungs, enlarged; mask: black outside of them"
    )
    margin: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05, description="kept around the lungs: crop, share of their longer side; mask, share of the film's"
    )


class ValidationSettings(Section):
    """On which films the classifier is tested: every film once, a patient never in training and in test.

    `k-fold` deals patients to `folds` folds with the same share of positives; `source` tests each value of the
    column `source` once and trains on the others.
    """

    rule: Literal["k-fold", "source"] = "k-fold"
    folds: Annotated[int, Field(ge=2)] = Field(5, description="k-fold only")


class ClassifySection(Section):
    """A classifier: an encoder, pooling, and a multilayer perceptron that tells one label of a film.

    Of the other sections `dataset`, `optimizer`, `schedule`, `storage`, `train.name`, `.seed`, `.precision`,
    `.channels_last` and `.loader_workers`, `evaluate.bootstrap`, `.batch_size` and `.overlays`, and where the encoder
    is trained `augment` speak for it as well. The split of the data set does not: `validation` does.
    """

    label: str = Field(description="label of the data set's index that is told: 0 or 1")
    encoder: str | None = Field(None, description="any encoder of smp, or tu-NAME of timm")
    encoder_weights: str | None = Field(None, description="null, imagenet, or the URI of a state dict")
    bundle: str | None = Field(None, description="in place of encoder: URI of a run or bundle whose encoder is taken")
    frozen: bool = Field(True, description="features computed once; false: the encoder is trained as well")
    pooling: Literal["average", "max", "average_max"] = "average"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((256,), description="units of each hidden layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=2)] = 32
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.15, description="share of the films not tested on which the best epoch is chosen, by its loss"
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(20, description="early stopping: epochs without gain")
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="probability above which a film has it")
    lungs: LungsSettings | None = None
    validation: ValidationSettings = ValidationSettings()

    @model_validator(mode="after")
    def _one_encoder(self) -> ClassifySection:
        if (self.encoder is None) == (self.bundle is None):
            raise ValueError("give either encoder or bundle")
        if self.bundle is not None and self.encoder_weights is not None:
            raise ValueError("encoder_weights belong to encoder, a bundle brings its own")
        return self
