"""The precision of predictions and of training on this device."""

from __future__ import annotations

import torch

from raycxr.config.train import TrainSection
from raycxr.prediction.compute import choose_compute, fastest_dtype, full_float32, has_fast_bfloat16

CPU = torch.device("cpu")


def test_predictions_are_multiplied_in_float32_whatever_training_has_chosen() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 == before[0]
    finally:
        torch.set_float32_matmul_precision(before[1])


def test_a_cpu_computes_in_bfloat16_where_it_has_tiles_for_it() -> None:
    expected = torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16", False) else None
    assert fastest_dtype(CPU) == expected == choose_compute(TrainSection(), CPU).autocast_dtype
    assert has_fast_bfloat16(CPU) == (expected is not None)
    assert choose_compute(TrainSection(precision="fp32"), CPU).autocast_dtype is None
