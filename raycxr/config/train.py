"""The run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from raycxr.config.section import Positive, Section


class TrainSection(Section):
    """The run."""

    name: str | None = Field(None, description="name of the run; where unset, one is made from the configuration")
    epochs: Annotated[int, Field(ge=1)] = 40
    batch_size: Annotated[int, Field(ge=1)] = Field(
        8, description="films per optimizer step, over all workers and accumulation steps together"
    )
    accumulate: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="forward passes that one optimizer step adds up; auto: the fewest that fit into the memory of "
        "every worker, which changes the order of summation and batch statistics, and not batch_size",
    )
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward pass: less memory, a third more time, same bits"
    )
    start_from: str | None = Field(
        None, description="run or bundle whose weights training starts from, such as one of half the size"
    )
    seed: int = 0
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto",
        description="auto: bf16 autocast where the device has matrix units for it, else fp16 where a GPU has those, "
        "else fp32",
    )
    deterministic: bool = Field(
        True,
        description="on a GPU: kernels that repeat a run to the last bit, which a CPU does anyway; false: the fastest",
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
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="optimizer steps from one checkpoint within an epoch to the next; null: none within an epoch"
    )
    checkpoint_minutes: Positive | None = Field(
        None, description="minutes after which a checkpoint is followed by one within the epoch; null: by none"
    )
    num_to_keep: Annotated[int, Field(ge=1)] = Field(1, description="checkpoints kept beside the latest, best first")
    loader: Literal["torch", "ray"] = Field(
        "torch",
        description="who reads and augments the films of a training worker: processes beside it, or Ray Data on any "
        "node of the cluster that has free CPUs; the batches are the same",
    )
    loader_workers: Annotated[int, Field(ge=0)] | None = Field(
        None, description="loading processes per training worker; where unset, as many as its CPUs allow"
    )
    sync_batch_norm: bool = Field(True, description="on several GPUs: batch statistics over all of them")

    @property
    def passes(self) -> int:
        """Forward passes per optimizer step; 1 as long as `auto` is not resolved."""
        return 1 if self.accumulate == "auto" else self.accumulate

    @field_validator("name")
    @classmethod
    def _one_folder(cls, name: str | None) -> str | None:
        if name is not None and (name in ("", ".", "..") or "/" in name):
            raise ValueError(f"{name!r} is not the name of a folder: leave out /, and say where with storage.uri")
        return name

    @model_validator(mode="after")
    def _last_epochs_are_known(self) -> TrainSection:
        if self.swa_epochs is None:
            return self
        if self.swa_epochs > self.epochs:
            raise ValueError(f"swa_epochs = {self.swa_epochs} are more than epochs = {self.epochs}")
        if self.patience is not None:
            raise ValueError("swa_epochs averages the last epochs, and patience may end a run before: set one of them")
        return self
