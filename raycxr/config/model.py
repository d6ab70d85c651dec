"""The network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raycxr.config.section import Fraction, Section


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
    norm: Literal["batch", "group"] = Field(
        "batch",
        description="group: group norm, which one film to a forward pass and any number of workers do not change; "
        "an encoder with weights has to be trained on then",
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
