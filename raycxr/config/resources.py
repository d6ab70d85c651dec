"""What a distributed run occupies, and how it outlives what happens to that."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field, field_validator

from raycxr.config.section import NonNegative, Positive, Section

Count = Annotated[int, Field(ge=1)]
# So many, or between so few and so many.
Workers: TypeAlias = Count | tuple[Count, Count]


class ResourcesSection(Section):
    """What a distributed run occupies."""

    workers: Workers = Field(
        1, description="training processes; [least, most]: as many as the cluster has room for at the time"
    )
    gpus_per_worker: NonNegative = 0
    cpus_per_worker: Count | None = Field(
        None, description="where unset, the CPUs of the cluster divided by the (most) workers, at most 8"
    )
    max_failures: Annotated[int, Field(ge=-1)] = Field(3, description="worker failures survived; -1: any number")
    hang_minutes: Positive = Field(
        10, description="a worker that does not answer, or keeps the others waiting, for so long is replaced"
    )
    resize_minutes: Positive = Field(
        1,
        description="how often workers=[least, most] looks whether there is room for more; the epoch is begun again, "
        "or continued from its last checkpoint",
    )
    address: str | None = Field(
        None, description="Ray cluster; where unset, $RAY_ADDRESS, else a cluster started in this process"
    )

    @field_validator("workers", mode="before")
    @classmethod
    def _one_number_or_two(cls, workers: object) -> object:
        """Before pydantic looks, which would tell why it is neither the one nor the other."""
        given: list[Any] = list(workers) if isinstance(workers, list | tuple) else [workers, workers]
        # Words where they come from the environment.
        numbers = [int(one) if isinstance(one, str) and one.isdecimal() else one for one in given]
        whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
        if len(numbers) != 2 or not whole or not 1 <= numbers[0] <= numbers[1]:
            raise ValueError(f"{workers!r} is neither a number from 1 on nor two of them, [least, most]")
        return tuple(numbers) if isinstance(workers, list | tuple) else numbers[0]

    @property
    def most_workers(self) -> int:
        """Training processes that there are at most."""
        return world_sizes(self.workers)[-1]


def world_sizes(workers: Workers) -> range:
    """Numbers of workers that may train together."""
    least, most = (workers, workers) if isinstance(workers, int) else workers
    return range(least, most + 1)
