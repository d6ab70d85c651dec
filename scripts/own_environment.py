"""Python environments of programs whose packages would clash with ours: made once, from a lock file."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path


def make(name: str, folder: Path, lock_file: Path) -> Path:
    """Return an environment with the packages of a lock file, made on the first call and whenever the file has changed.

    Parameters
    ----------
    name : str
        What is installed, for the line that says so.
    folder : Path
        Where the environment is kept.
    """
    wanted = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    installed = folder / "installed.sha256"
    if installed.exists() and installed.read_text() == wanted:
        return folder  # without a lock: in an image the folder cannot be written
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            print(f"installing {name} into {folder}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
            pip: list[str | Path] = [
                folder / "bin" / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--requirement",
                lock_file,
            ]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            installed.write_text(wanted)
    return folder
