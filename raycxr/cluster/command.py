"""What a job runs: a verb with its arguments, and the files that travel with it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raycxr
from raycxr.cluster.secret import refuse_secrets
from raycxr.config.load import VARIABLE, config_files, load_config
from raycxr.errors import UsageError

# Not the console script: in a job's own folder a shipped package must win over the image's.
PROGRAM = ("python", "-m", "raycxr")
_UNPACK = ("python", "-m", "raycxr.cluster.command")
_FILES = "RAYCXR_JOB_FILES"
# What neither a shell nor two of them, one in the other, read as anything but itself.
_KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")


@dataclass(frozen=True)
class Command:
    """A verb and its arguments as the cluster will see them.

    Attributes
    ----------
    arguments : tuple of str
        Verb first.
    files : mapping
        Name relative to the folder in which the job runs -> content.
    """

    arguments: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)

    def entrypoint(self, ship: bool) -> str:
        """Command line for one shell: in a folder that is shipped, or beside the variables of `environment`."""
        unpacked = ship or not self.files
        return shlex.join((*(PROGRAM if unpacked else _UNPACK), *self.arguments))

    def environment(self, ship: bool) -> dict[str, str]:
        """Variables in which the files travel that are not in a folder that is shipped.

        Ray would fetch a folder anew on every node before its first process of the job starts: where several nodes
        share a machine, it is taken away from those that run in it.
        """
        return {} if ship or not self.files else {_FILES: _pack(dict(self.files))}

    @property
    def sealed_entrypoint(self) -> str:
        """Command line with the files inside, for any number of shells and any folder.

        KubeRay puts the entrypoint of a RayJob into a script of the submitting pod, and Ray gives it to a second
        shell: no quoting is right for both.
        """
        if not self.files and all(_PLAIN.fullmatch(argument) for argument in self.arguments):
            return " ".join((*PROGRAM, *self.arguments))
        return " ".join((*_UNPACK, _pack({"arguments": self.arguments, "files": dict(self.files)})))

    def __str__(self) -> str:
        return shlex.join(self.arguments)


def make_command(arguments: Sequence[str], config: Path | None = None, overrides: Sequence[str] = ()) -> Command:
    """Check a command before it travels, and gather the files that it needs.

    Parameters
    ----------
    arguments : sequence of str
        Verb first.
    config : Path or None
        The configuration among the arguments. One that does not exist here and has an absolute path is taken to lie
        in the image.
    overrides : sequence of str
        Those of the configuration among the arguments.

    Raises
    ------
    UsageError
        A secret in what would travel, or a result that would lie in the job's own folder and vanish with it.
    ConfigurationError
        The configuration is missing or wrong.
    """
    refuse_secrets([(_called(number, argument), argument) for number, argument in enumerate(arguments, 1)])
    if config is None or (config.is_absolute() and not config.exists()):
        return Command(tuple(arguments))
    paths = config_files(config)
    names = _names(paths)
    files = {name: path.read_text(encoding="utf-8") for name, path in names.items()}
    refuse_secrets([(str(path), files[name]) for name, path in names.items()])
    _check_places(config, arguments[0], overrides, files)
    place = arguments.index(str(config)) if str(config) in arguments else _place(arguments, config)
    return Command((*arguments[:place], next(iter(names)), *arguments[place + 1 :]), files)


def _called(number: int, argument: str) -> str:
    """Name an argument without its value, which may be a secret."""
    key, separator, _ = argument.partition("=")
    return f"the argument {key}" if separator and _KEY.fullmatch(key) else f"argument {number}"


def _place(arguments: Sequence[str], config: Path) -> int:
    """Where the configuration stands: it may be written otherwise than its path is, such as `./x.yaml`."""
    return next(number for number, argument in enumerate(arguments) if number and Path(argument) == config)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Names under which files lie in the job's folder: as they are called from here, or from what they share."""
    here = Path.cwd()
    base = (
        here
        if all(path.is_relative_to(here) for path in paths)
        else Path(os.path.commonpath([path.parent for path in paths]))
    )
    return {str(path.relative_to(base)): path for path in paths}


def _check_places(config: Path, verb: str, overrides: Sequence[str], files: Mapping[str, str]) -> None:
    """Check the configuration here, unless it needs variables that only the cluster has."""
    variables = {name for text in (*files.values(), *overrides) for name in VARIABLE.findall(text)}
    if not variables <= set(os.environ):
        return
    resolved = load_config(config, overrides)
    places = {"ingest.out": resolved.ingest.out if verb == "ingest" and resolved.ingest is not None else None}
    if verb in ("train", "tune"):
        places = {"dataset.uri": resolved.dataset_uri, "storage.uri": resolved.storage.uri}
    for key, uri in places.items():
        if uri is not None:
            check_place(f"{key} = {uri!r}", uri)


def check_place(told: str, uri: str) -> None:
    """Refuse a place for results that is relative to the folder in which a job runs.

    Parameters
    ----------
    told : str
        The place as the user wrote it.

    Raises
    ------
    UsageError
        It is relative.
    """
    if "://" not in uri and not uri.startswith(("/", "~")):
        raise UsageError(
            f"{told} would lie in the job's own folder on the cluster and vanish with it",
            "give s3://bucket/..., or an absolute path that all nodes share",
        )


def told_command(entrypoint: str) -> str:
    """Say what a job runs, in the words in which it was submitted."""
    for program in (_UNPACK, PROGRAM):
        prefix = " ".join(program) + " "
        if entrypoint.startswith(prefix):
            return f"raycxr {entrypoint.removeprefix(prefix)}"
    return entrypoint


@contextmanager
def shipped_folder(command: Command) -> Iterator[Path]:
    """Folder with the package that runs here and the files of a command; gone after the `with` block."""
    with tempfile.TemporaryDirectory(prefix="raycxr-job-") as name:
        folder = Path(name)
        _write(command.files, folder)
        package = Path(raycxr.__file__).parent
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        yield folder


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _pack(document: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(document).encode(), 9)).decode()


def _unpack(packed: str) -> Any:
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(packed)))


def run_unpacked(arguments: Sequence[str], files: str | None) -> None:
    """Write the files of a command into a folder of their own, and run it there in place of this process.

    Parameters
    ----------
    arguments : sequence of str
        Verb first; or the one that `Command.sealed_entrypoint` ends with.
    files : str or None
        What `Command.environment` holds, None where the command is sealed.
    """
    if files is None:
        (files,) = arguments
        document = _unpack(files)
    else:
        document = {"arguments": arguments, "files": _unpack(files)}
    # Named by its content and kept: this process makes room for another one, which nobody waits for.
    folder = Path("~/.cache/raycxr/jobs").expanduser() / hashlib.sha256(files.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    _write(document["files"], folder)
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, *PROGRAM[1:], *document["arguments"]])


if __name__ == "__main__":
    run_unpacked(sys.argv[1:], os.environ.pop(_FILES, None))
