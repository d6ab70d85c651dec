"""The token of a Ray cluster: where it is kept, and what is told when it is not the right one."""

from __future__ import annotations

import os
from pathlib import Path

from raycxr.cluster.connection import ClusterError

_REMEDY = "export RAY_AUTH_TOKEN=$(kubectl get secret CLUSTER -o jsonpath={.data.auth_token} | base64 -d)"


def token_origin() -> str | None:
    """Where Ray finds its token: a variable or a file; None where there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "$RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named:
        return named if Path(named).is_file() else None
    default = Path("~/.ray/auth_token").expanduser()
    return str(default) if default.is_file() else None


def read_token() -> str | None:
    """Return the token, where Ray itself would look for it, or None.

    Raises
    ------
    ClusterError
        Its file cannot be read.
    """
    origin = token_origin()
    if origin is None or origin.startswith("$"):
        return os.environ.get("RAY_AUTH_TOKEN") or None
    try:
        return Path(origin).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot read the token of Ray in {origin}: {error}", _REMEDY) from None


def refused(address: str) -> ClusterError:
    """Tell that a cluster wants another token, or any."""
    origin = token_origin()
    if origin is None:
        return ClusterError(f"the Ray cluster at {address} wants a token, and there is none here", _REMEDY)
    return ClusterError(f"the Ray cluster at {address} does not accept the token of {origin}", _REMEDY)
