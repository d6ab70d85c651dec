"""The rooms of the package know each other in one direction, and few of them know Ray."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import raycxr

PACKAGE = Path(raycxr.__file__).parent
# Of each room, those that it may know; rooms that serve all stand first.
SERVING = ("storage", "config")
ORDER = (
    ("xray",),
    ("sources",),
    ("dataset",),
    ("models", "losses", "metrics", "postprocess"),
    ("runs",),
    ("prediction",),
    ("training",),
    ("report",),
    ("tuning",),
    ("evaluation", "classification"),
    ("serving",),
    ("cluster",),
    ("cli",),
)
RAY = {
    "dataset/ray_ingest.py",
    "prediction/ray_predict.py",
    "serving/deployment.py",
    *(
        f"training/ray_{name}.py"
        for name in ("train", "session", "channel", "checkpoints", "failure", "metrics", "loader")
    ),
    *(f"tuning/{name}.py" for name in
      ("capacity", "scheduler", "searcher", "sweep", "trial", "watch", "worker_group")),
}  # fmt: skip
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def room(parts: tuple[str, ...]) -> str | None:
    """First name below the package, None for its own files."""
    return parts[1] if len(parts) > 2 else None


def allowed(mine: str) -> set[str]:
    if mine in SERVING:
        return set()
    place = next(number for number, rooms in enumerate(ORDER) if mine in rooms)
    return {*SERVING, mine}.union(*ORDER[:place])


def test_every_room_has_a_place() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {*SERVING, *(name for rooms in ORDER for name in rooms)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_one_way(path: Path) -> None:
    mine = room(("raycxr", *path.relative_to(PACKAGE).parts))
    others = {room((*name.split("."), "")) for name in imported(path) if name.split(".")[0] == "raycxr"} - {None, mine}
    ours = {name for name in others if (PACKAGE / str(name)).is_dir()}
    assert ours <= (allowed(mine) if mine is not None else set())


def test_few_files_know_ray() -> None:
    knowing = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == "ray" for name in imported(path)) and path.parent.name != "cluster"
    }
    assert knowing == RAY
