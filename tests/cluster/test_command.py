"""What travels with a job, and what is told before it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import raycxr
from raycxr.cluster.command import Command, make_command, shipped_folder, told_command
from raycxr.errors import ConfigurationError, UsageError

SHARED = "train: {epochs: 3}\nstorage: {uri: s3://films/runs}\ndataset: {uri: s3://films/data}\n"


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder `configs` below the current one, with a file in it that extends another."""
    (tmp_path / "configs" / "jsrt").mkdir(parents=True)
    (tmp_path / "configs" / "base.yaml").write_text(SHARED)
    (tmp_path / "configs" / "jsrt" / "small.yaml").write_text("extends: ../base.yaml\ntrain: {epochs: 2}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "configs"


def test_a_configuration_travels_with_those_that_it_extends(configs: Path) -> None:
    config = Path("configs/jsrt/small.yaml")
    command = make_command(["train", str(config), "train.epochs=5"], config, ["train.epochs=5"])
    assert command.arguments == ("train", "configs/jsrt/small.yaml", "train.epochs=5")
    assert set(command.files) == {"configs/jsrt/small.yaml", "configs/base.yaml"}
    told = "raycxr train configs/jsrt/small.yaml train.epochs=5"
    assert (command.entrypoint(ship=True), told_command(command.entrypoint(ship=True))) == (f"python -m {told}", told)
    assert told_command(command.entrypoint(ship=False)) == told
    with shipped_folder(command) as folder:
        assert (folder / "configs" / "base.yaml").read_text() == SHARED
        assert sorted(path.name for path in folder.iterdir()) == ["configs", "raycxr"]
    assert not folder.exists()


def test_files_travel_in_a_variable(configs: Path, tmp_path: Path) -> None:
    config = Path("configs/jsrt/small.yaml")
    overrides = ["train.name='two # $HOME'", "resources={\nworkers: 1}"]
    command = make_command(["config", str(config), *overrides], config, overrides)
    (tmp_path / "elsewhere").mkdir()
    environment = {
        **os.environ,
        **command.environment(ship=False),
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(raycxr.__file__).parents[1]),
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for _ in range(2):  # the folder of the first is there at the second
        done = subprocess.run(
            ["sh", "-c", command.entrypoint(ship=False)],
            cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        values = yaml.safe_load(done.stdout)
        assert (values["train"]["name"], values["train"]["epochs"]) == ("two # $HOME", 2)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_one_from_elsewhere(configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = configs / "jsrt" / "small.yaml"
    command = make_command(["train", str(config)], config)
    assert command.arguments == ("train", "jsrt/small.yaml")
    assert set(command.files) == {"jsrt/small.yaml", "base.yaml"}
    dotted = Path("../configs/base.yaml")
    assert make_command(["train", "./../configs/base.yaml"], dotted).arguments == ("train", "base.yaml")


def test_one_of_the_image(configs: Path) -> None:
    config = Path("/app/configs/jsrt/structures_256.yaml")
    command = make_command(["train", str(config)], config)
    assert command == Command(("train", str(config)))
    assert command.entrypoint(ship=False) == f"python -m raycxr train {config}"
    with pytest.raises(ConfigurationError, match="no configuration at"):
        make_command(["train", "absent.yaml"], Path("absent.yaml"))


def test_the_package_is_shipped(configs: Path) -> None:
    (configs.parent / "data").mkdir()
    with shipped_folder(Command(("runs", "s3://films"))) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["raycxr"]
        assert (folder / "raycxr" / "cli" / "main.py").is_file()
        assert not list(folder.rglob("__pycache__"))


def test_results_that_would_vanish(configs: Path) -> None:
    config = Path("configs/base.yaml")
    for override in ("storage.uri=runs", "dataset.uri=data"):
        with pytest.raises(UsageError, match=f"{override.partition('=')[0]} = .* vanish"):
            make_command(["train", str(config), override], config, [override])
    assert make_command(["train", str(config), "storage.uri=/shared/runs"], config, ["storage.uri=/shared/runs"]).files
    ingest = "ingest: {source: jsrt, images: s3://films/raw, out: data}\n"
    (configs / "ingest.yaml").write_text(ingest)
    with pytest.raises(UsageError, match=r"ingest\.out = 'data'"):
        make_command(["ingest", "configs/ingest.yaml"], Path("configs/ingest.yaml"))


def test_a_configuration_is_checked_here(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path("configs/base.yaml")
    with pytest.raises(ConfigurationError, match=r"train\.epoch"):
        make_command(["train", str(config), "train.epoch=5"], config, ["train.epoch=5"])
    # What only the cluster knows, only the cluster can check.
    monkeypatch.delenv("ONLY_THERE", raising=False)
    override = "storage.uri=${ONLY_THERE}/runs"
    assert make_command(["train", str(config), override], config, [override]).files
    monkeypatch.setenv("ONLY_THERE", "here")
    with pytest.raises(UsageError, match="vanish"):
        make_command(["train", str(config), override], config, [override])
