"""Image-level head: whether a film shows a structure at all, told from the encoder's deepest map.

The library's classification head: global average pooling, dropout and a linear layer. With it, a network returns
the pair (mask logits, image logits); without it, mask logits alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from torch import Tensor, nn

NetworkOutput: TypeAlias = Tensor | tuple[Tensor, Tensor]


def add_image_head(model: nn.Module, structures: int, dropout: float) -> None:
    """Give a network of segmentation-models-pytorch an image-level head.

    Parameters
    ----------
    model : nn.Module
        Network of the library; from now on it returns mask logits (B, C, H, W) and image logits (B, structures).
    structures : int
        Structures whose presence is told, background not among them.
    dropout : float
        Share of the pooled features that is dropped, 0 to below 1.
    """
    from segmentation_models_pytorch.base import ClassificationHead
    from segmentation_models_pytorch.base.initialization import initialize_head

    encoder: Any = model.get_submodule("encoder")
    head = ClassificationHead(encoder.out_channels[-1], structures, pooling="avg", dropout=dropout)
    initialize_head(head)
    model.classification_head = head


def split_output(output: NetworkOutput) -> tuple[Tensor, Tensor | None]:
    """Return mask logits (B, C, H, W), and image logits (B, structures) where the network has an image-level head."""
    return output if isinstance(output, tuple) else (output, None)
