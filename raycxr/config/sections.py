"""The sections of a configuration file: one typed model each, every field with its meaning, unit and range.

One file carries all sections, so that every verb accepts the same file and the same overrides.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from raycxr.config.augment_presets import PRESETS
from raycxr.config.classify import ClassifySection
from raycxr.config.postprocess import PostprocessSection
from raycxr.config.section import Fraction, NonNegative, Positive, Section


class SplitSection(Section):
    """How films are divided into train, validation and test; a patient is always on one side only.

    `fraction` divides in the proportions `train : validation : test` (0.8 : 0.1 : 0.1 or 198 : 23 : 25).
    `scr-folds` is the SCR protocol: fold 1 holds the odd and fold 2 the even films; `fold` is the one tested.
    `k-fold` tests fold `fold` of `folds`. Both take the share `validation_fraction` of the rest for validation.
    `given` uses the folders or tables of the source (train, validation, test).
    """

    rule: Literal["fraction", "scr-folds", "k-fold", "given"] = "fraction"
    train: NonNegative = 0.8
    validation: NonNegative = 0.1
    test: NonNegative = 0.1
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    folds: Annotated[int, Field(ge=2)] = 5
    fold: Annotated[int, Field(ge=1)] = 1
    seed: int = 0

    @model_validator(mode="after")
    def _fold_exists(self) -> SplitSection:
        available = {"scr-folds": 2, "k-fold": self.folds}.get(self.rule)
        if available is not None and self.fold > available:
            raise ValueError(f"fold {self.fold} does not exist: {self.rule} has folds 1 to {available}")
        if self.rule == "fraction" and self.train + self.validation + self.test <= 0:
            raise ValueError("train, validation and test are all zero")
        return self


class DatasetSection(Section):
    """The shards that training and evaluation read."""

    uri: str | None = Field(None, description="data set to read; where unset, ingest.out")
    split: SplitSection | None = Field(None, description="split rule; where unset, the one in the manifest")
    target: Literal["multilabel", "multiclass"] = Field(
        "multilabel", description="structures may overlap (sigmoid) or exclude each other (softmax)"
    )
    precedence: tuple[str, ...] | None = Field(
        None, description="multiclass: which class wins where several overlap; where unset, the class order"
    )
    cache: str | None = Field(
        None,
        description="folder of the node's shard cache; where unset, $RAYCXR_CACHE or ~/.cache/raycxr/shards",
    )


class IntensitySection(Section):
    """How stored pixel values become grey levels; recorded in the manifest.

    `percentile` maps the film's own percentiles `low`..`high` to 0..255, `window` the absolute stored values
    `low`..`high`, and `keep` leaves 8-bit and 16-bit films as they are; there `high` is the value of white in 16-bit
    films (4095 where 12 bits are used, 65535 where unset).
    """

    rule: Literal["percentile", "window", "keep"] = "percentile"
    low: float | None = Field(None, description="percentile (default 0.5) or stored value (required)")
    high: float | None = Field(None, description="percentile (default 99.5) or stored value (required)")

    @model_validator(mode="after")
    def _bounds(self) -> IntensitySection:
        if self.rule == "window" and (self.low is None or self.high is None):
            raise ValueError("a window needs low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class IngestSection(Section):
    """Raw films in, verified shards out."""

    source: Literal["jsrt", "pairs", "siim-dicom", "siim-png", "montgomery", "shenzhen", "tb-mirror"] = Field(
        "jsrt", description="the layout on disk"
    )
    images: str = Field(description="folder of films (local or s3://)")
    masks: str | None = Field(
        None,
        description="folder of masks, or siim-dicom's table of run lengths; where unset, the layout's own folder in "
        "images (siim-png, montgomery, shenzhen, tb-mirror), else nothing is annotated",
    )
    modalities: tuple[str, ...] | None = Field(
        None,
        description="DICOM: the modalities accepted, such as [CR, DX] (an empty name: none told); where unset, any",
    )
    body_parts: tuple[str, ...] | None = Field(
        None, description="DICOM: the body parts accepted, such as [CHEST], '' for none told; where unset, any"
    )
    inverted: bool | None = Field(
        None, description="true where lungs are bright on disk; JSRT .IMG files are known to be"
    )
    mask_suffix: str = Field("", description="pairs: what a mask's name adds to its film's, such as _mask")
    structure: str = Field("lungs", description="pairs: the structure that the masks show")
    patient_pattern: str | None = Field(
        None, description="pairs: regular expression whose first group is the patient; where unset, the name"
    )
    classes: dict[str, tuple[str, ...]] | None = Field(
        None, description="class -> structures merged into it; where unset, one class per structure"
    )
    size: Annotated[int, Field(ge=16, le=4096)] = Field(256, description="pixels of the square that a film fits in")
    intensity: IntensitySection = IntensitySection()
    out: str = Field(description="where the data set is written (local or s3://)")
    codec: Literal["raw", "rowdelta+zstd"] = Field(
        "rowdelta+zstd", description="form of the films in a shard, both without loss; the node's cache holds them raw"
    )
    shard_films: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="films per shard; where unset, shards of up to 80 MB, and at least eight of 16 films or more",
    )


class ModelSection(Section):
    """The network."""

    name: Literal[
        "unet",
        "unetplusplus",
        "manet",
        "linknet",
        "fpn",
        "pspnet",
        "deeplabv3",
        "deeplabv3plus",
        "pan",
        "upernet",
        "segformer",
        "dpt",
        "classic_unet",
        "res_unet",
        "inverted_net",
        "fcn",
    ] = Field("unet", description="unet to dpt: segmentation-models-pytorch (smp), with an encoder")
    encoder: str = Field(
        "resnet18",
        description="smp: any encoder of the library; dpt: a vision transformer of timm; "
        "fcn: vgg19, resnet50 or inceptionv3",
    )
    encoder_weights: str | None = Field(None, description="smp, fcn: null, imagenet, or the URI of a state dict")
    freeze_encoder: bool | None = Field(
        None, description="smp, fcn: the encoder keeps its weights and statistics; where unset, in fcn only"
    )
    image_head: bool = Field(
        False, description="smp: also tell whether a film shows a structure at all; trained by the loss image_bce"
    )
    image_head_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="of the features of image_head")
    decoder_channels: tuple[int, ...] = Field(
        (256, 128, 64, 32, 16), description="unet, unetplusplus, manet: maps per decoder level"
    )
    base_channels: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="classic_unet, res_unet: maps of the first level, doubled at each below; where unset, 32 and 16",
    )
    form: Literal["paper", "dd2424"] = Field("paper", description="inverted_net: Novikov 2018 or the DD2424 form")
    channels: tuple[int, ...] | None = Field(None, description="inverted_net: maps per level; where unset, the form's")
    dropout: Fraction | None = Field(
        None, description="inverted_net: dropout, where unset, the form's; fcn: between layers, where unset, 0.2"
    )

    @property
    def freezes_encoder(self) -> bool:
        """Whether the encoder keeps its weights: by itself in the FCN alone, whose heads are made for that."""
        return self.name == "fcn" if self.freeze_encoder is None else self.freeze_encoder

    @property
    def title(self) -> str:
        """The network and, where it has one of the library, its encoder."""
        if self.name in ("classic_unet", "res_unet", "inverted_net"):
            return self.name
        return f"{self.name} with a {self.encoder} encoder"


class WeightedBceSettings(Section):
    """Binary cross-entropy with a weight."""

    positive_weight: Positive | None = Field(
        None, description="weight of the pixels of a structure, those outside weigh 1; weighted_bce needs it"
    )


class FocalSettings(Section):
    """Focal loss; the defaults are those of Lin 2017."""

    gamma: NonNegative = Field(2.0, description="how fast pixels fade that are right; 0: not at all")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="weight of the pixels of a structure, those outside weigh 1 - alpha; 0.5: all alike"
    )


class TverskySettings(Section):
    """Tversky loss, per image and per batch; the defaults are the best of Salehi 2017."""

    alpha: Positive = Field(0.3, description="weight of false positives")
    beta: Positive = Field(0.7, description="weight of false negatives")


class FocalTverskySettings(Section):
    """Focal Tversky loss, per image and per batch; the defaults are those of Abraham 2018."""

    alpha: Positive = Field(0.3, description="weight of false positives (beta in the paper)")
    beta: Positive = Field(0.7, description="weight of false negatives (alpha in the paper)")
    gamma: Positive = Field(4 / 3, description="the loss is the Tversky loss to the power of 1 / gamma")


class LossSettingsSection(Section):
    """Parameters of the losses that have some: each speaks for the loss of its name, where `loss` names that."""

    weighted_bce: WeightedBceSettings = WeightedBceSettings()
    focal: FocalSettings = FocalSettings()
    tversky: TverskySettings = TverskySettings()
    focal_tversky: FocalTverskySettings = FocalTverskySettings()


class OptimizerSection(Section):
    """Gradient descent."""

    name: Literal["adamw", "adam", "sgd", "adadelta"] = "adamw"
    lr: Positive = Field(1e-3, description="learning rate at its peak")
    weight_decay: NonNegative = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="sgd only (Nesterov where above 0)")
    betas: tuple[float, float] = Field((0.9, 0.999), description="adamw and adam only")
    rho: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="adadelta only")
    clip_norm: Positive | None = Field(1.0, description="largest norm of the whole gradient; null: no clipping")


class ScheduleSection(Section):
    """The learning rate over the run."""

    name: Literal["cosine", "one-cycle", "plateau", "constant"] = "cosine"
    warmup_epochs: NonNegative = Field(1.0, description="linear rise from 0: cosine, plateau and constant")
    final_fraction: Fraction = Field(0.0, description="cosine: last learning rate as a share of the peak")
    rise_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="one-cycle: share of steps that rise")
    patience: Annotated[int, Field(ge=1)] = Field(10, description="plateau: epochs without gain before a cut")
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="plateau: what a cut multiplies by")


class AugmentSection(Section):
    """Random changes of training films; a strength of 0 switches one off.

    Keys given beside `preset` override it. At most one of the three distortions changes a film, each with its own
    probability.
    """

    preset: Literal["none", "standard", "keras_dd2424", "contrast_noise", "siim", "strong"] = Field(
        "standard", description="named settings, see config/augment_presets.py"
    )
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="zoom drawn from 1 - scale to 1 + scale")
    shift: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the width and of the height")
    shear_degrees: Annotated[float, Field(ge=0, le=45)] = 0.0
    affine_probability: Fraction = 1.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="exponent drawn from 1 - gamma to 1 + gamma")
    exposure_one_of: bool = Field(False, description="brightness, contrast or gamma, in place of all of them")
    exposure_probability: Fraction = Field(
        0.8, description="of brightness and contrast, and likewise of gamma; with exposure_one_of, of any"
    )
    elastic: NonNegative = Field(0.0, description="deviation of an elastic distortion, in per cent of the width")
    elastic_probability: Fraction = 0.5
    grid_distortion: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="stretching of the cells of a 5 x 5 grid, from 1 - x to 1 + x"
    )
    grid_probability: Fraction = 0.25
    optical_distortion: NonNegative = Field(
        0.0, description="barrel or pincushion: largest coefficient of a lens whose focal length is the width"
    )
    optical_probability: Fraction = 0.25
    noise: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="largest noise deviation, share of full scale")
    noise_probability: Fraction = 0.5
    blur: NonNegative = Field(0.0, description="largest deviation of a Gaussian blur, in per cent of the width")
    blur_probability: Fraction = 0.5
    horizontal_flip: Fraction = Field(0.0, description="probability; mind that the heart then lies on the right")
    vertical_flip: Fraction = Field(0.0, description="probability")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(str(given.get("preset", "standard")), {}), **given}

    @model_validator(mode="after")
    def _one_distortion(self) -> AugmentSection:
        total = sum(
            probability
            for strength, probability in (
                (self.elastic, self.elastic_probability),
                (self.grid_distortion, self.grid_probability),
                (self.optical_distortion, self.optical_probability),
            )
            if strength
        )
        if total > 1 + 1e-9:
            raise ValueError(f"the probabilities of the distortions add up to {total:g}, above 1")
        return self


class SamplingStage(Section):
    """A stretch of the run with one share of positive films."""

    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how long it lasts; unset in the last stage, which lasts to the end"
    )
    positive_share: Annotated[float, Field(gt=0, le=1)] | Literal["natural"] = Field(
        "natural", description="share of the epoch's films that are positive; natural: as in the split"
    )

    @field_validator("positive_share", mode="before")
    @classmethod
    def _share_or_natural(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value == "natural" or (number and 0 < value <= 1):
            return value
        raise ValueError(f"{value!r} is neither natural nor a share above 0 and up to 1")


class SamplingSection(Section):
    """Which training films an epoch is made of; where nothing is set, of every film once.

    A film is positive where its mask has a pixel of any class, or of `positive_class`. Within the share that a stage
    sets, films are taken in turn, so that none comes again before all the others of its kind have come.
    """

    stages: tuple[SamplingStage, ...] = Field((), description="shares of positive films, one stage after the other")
    positive_class: str | None = Field(None, description="class that makes a film positive; where unset, any")
    films_per_epoch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="rounded up to whole steps; where unset, as many as the training split has"
    )
    source_weights: dict[str, Positive] | None = Field(
        None, description="source -> how often its films are drawn, against 1 for those of other sources"
    )

    @model_validator(mode="after")
    def _stages_follow(self) -> SamplingSection:
        for number, stage in enumerate(self.stages, 1):
            if stage.epochs is None and number < len(self.stages):
                raise ValueError(f"stage {number} of {len(self.stages)} does not say how many epochs it lasts")
        if self.stages and self.stages[-1].epochs is not None:
            raise ValueError("the last stage lasts to the end of the run: leave out its epochs")
        if self.positive_class is not None and not self.stages:
            raise ValueError("positive_class means nothing without stages")
        return self

    @property
    def is_set(self) -> bool:
        """Whether epochs are anything but every film once."""
        return bool(self.stages or self.source_weights) or self.films_per_epoch is not None


class TrainSection(Section):
    """The run."""

    name: str | None = Field(None, description="name of the run; where unset, one is made from the configuration")
    epochs: Annotated[int, Field(ge=1)] = 40
    batch_size: Annotated[int, Field(ge=1)] = Field(
        8, description="films per optimizer step, over all workers and accumulation steps together"
    )
    accumulate: Annotated[int, Field(ge=1)] = Field(1, description="forward passes that one optimizer step adds up")
    start_from: str | None = Field(
        None, description="run or bundle whose weights training starts from, such as one of half the size"
    )
    seed: int = 0
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="auto: bf16 autocast where the device has matrix units for it, else fp32"
    )
    channels_last: bool = True
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="average of the weights that is validated and saved; null: the weights themselves"
    )
    swa_epochs: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="the mean of the weights at the end of each of the last so many epochs is validated as one more "
        "entry of the history, and saved where it is the best; null: no such mean",
    )
    metric: str = Field("dice.mean", description="validation metric that chooses the best epoch, or loss")
    patience: Annotated[int, Field(ge=1)] | None = Field(None, description="early stopping: epochs without gain")
    num_to_keep: Annotated[int, Field(ge=1)] = Field(1, description="checkpoints kept beside the latest, best first")
    loader_workers: Annotated[int, Field(ge=0)] | None = Field(
        None, description="loading processes per training worker; where unset, as many as its CPUs allow"
    )
    sync_batch_norm: bool = Field(True, description="on several GPUs: batch statistics over all of them")

    @model_validator(mode="after")
    def _last_epochs_are_known(self) -> TrainSection:
        if self.swa_epochs is None:
            return self
        if self.swa_epochs > self.epochs:
            raise ValueError(f"swa_epochs = {self.swa_epochs} are more than epochs = {self.epochs}")
        if self.patience is not None:
            raise ValueError("swa_epochs averages the last epochs, and patience may end a run before: set one of them")
        return self


def _check_test_time(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in ("horizontal_flip", "vertical_flip") and not re.fullmatch(r"scale_(\d+(\.\d+)?)", name):
            raise ValueError(
                f"{name!r} is unknown, choose horizontal_flip, vertical_flip or a scale such as scale_1.25"
            )
        if name.startswith("scale_") and not (0.25 <= float(name[6:]) <= 4 and float(name[6:]) != 1):
            raise ValueError(f"{name!r} is out of range, choose a scale from 0.25 to 4 other than 1")
    if len(set(names)) < len(names):
        raise ValueError("a view is named twice")
    return names


class EvaluateSection(Section):
    """Measuring a trained model."""

    resolution: Literal["original", "dataset"] = Field("original", description="size at which masks are compared")
    test_time: Annotated[tuple[str, ...], AfterValidator(_check_test_time)] = Field(
        (),
        description="test-time augmentation: probabilities are averaged over the film as it is and each of these on "
        "its own: horizontal_flip, vertical_flip, scale_0.75 and other scales",
    )
    batch_size: Annotated[int, Field(ge=1)] = 8
    surface_distances: bool = Field(True, description="HD95, ASSD and surface Dice, in mm where the spacing is known")
    surface_tolerance_mm: Positive = Field(
        2.0, description="distance that surface Dice forgives; in pixels where the spacing of a film is not known"
    )
    bootstrap: Annotated[int, Field(ge=1)] = Field(2000, description="resamples behind the 95 % intervals")
    overlays: Annotated[int, Field(ge=0)] = Field(6, description="pictures of the worst and of the best cases, each")


class StorageSection(Section):
    """Where runs are kept."""

    uri: str = Field("runs", description="folder or s3:// prefix that holds the runs")


class ResourcesSection(Section):
    """What a distributed run occupies."""

    workers: Annotated[int, Field(ge=1)] = Field(1, description="training processes")
    gpus_per_worker: NonNegative = 0
    cpus_per_worker: Annotated[int, Field(ge=1)] | None = Field(
        None, description="where unset, the CPUs of the cluster divided by the workers, at most 8"
    )
    max_failures: Annotated[int, Field(ge=-1)] = Field(3, description="worker failures survived; -1: any number")
    address: str | None = Field(
        None, description="Ray cluster; where unset, $RAY_ADDRESS, else a cluster started in this process"
    )


class TrackingSection(Section):
    """Curves besides history.jsonl."""

    tensorboard: bool = True


class Config(Section):
    """A whole configuration."""

    dataset: DatasetSection = DatasetSection()
    ingest: IngestSection | None = None
    model: ModelSection = ModelSection()
    loss: dict[str, Positive] = Field({"bce": 1.0, "dice": 1.0}, min_length=1, description="loss name -> weight")
    loss_settings: LossSettingsSection = LossSettingsSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    augment: AugmentSection = AugmentSection()
    sampling: SamplingSection = SamplingSection()
    train: TrainSection = TrainSection()
    postprocess: PostprocessSection = PostprocessSection()
    classify: ClassifySection | None = Field(None, description="where given, a classifier is trained")
    evaluate: EvaluateSection = EvaluateSection()
    storage: StorageSection = StorageSection()
    resources: ResourcesSection = ResourcesSection()
    tracking: TrackingSection = TrackingSection()

    @property
    def dataset_uri(self) -> str | None:
        """URI of the data set that is read: `dataset.uri`, else `ingest.out`, else None."""
        if self.dataset.uri is not None:
            return self.dataset.uri
        return self.ingest.out if self.ingest is not None else None
