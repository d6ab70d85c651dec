"""What must not travel with a job: anybody who may look at a cluster reads a job's command and environment."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from raycxr.errors import UsageError

# In the names under which programs keep what opens something.
_SECRET_NAME = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|APIKEY|ACCESSKEY|CONNECTION_STRING|TOKEN$|(^|_)(TOKEN|KEY)S?(_|$)"
    r"|(^|_)(PAT|AUTH|PWD)$"
)
# Where a secret lies is none itself.
_PLACE = re.compile(
    r"_(FILE|PATH|DIR|URI|ARN|NAME)$|^GOOGLE_APPLICATION_CREDENTIALS$|^(MAX|NUM)_TOKENS$|^OLDPWD$|^PWD$"
)
# In the query of a URL that anybody may use for a while.
_SIGNATURE = re.compile(r"[?&](X-Amz-Signature|X-Goog-Signature|Signature|sig)=", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Shorter values stand in texts by chance.
_SHORTEST = 8


def parse_environment(assignments: Sequence[str]) -> dict[str, str]:
    """Environment of a job, from `NAME=VALUE` each, or `NAME` for the value that it has here.

    Raises
    ------
    UsageError
        Not of that form, not set here, or a secret.
    """
    environment: dict[str, str] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--env {name!r} is not the name of a variable", "write --env NAME=VALUE")
        if is_secret_name(name):
            raise UsageError(
                f"--env {name} would show a secret to everybody who may look at the cluster",
                "leave it out: a Secret or a role of the cluster's pods holds it (k8s/components)",
            )
        if not separator:
            if name not in os.environ:
                raise UsageError(f"--env {name}: the variable is not set here", f"write --env {name}=VALUE")
            value = os.environ[name]
        environment[name] = value
    refuse_secrets([(f"--env {name}", value) for name, value in environment.items()])
    return environment


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds what opens something."""
    upper = name.upper()
    return bool(_SECRET_NAME.search(upper)) and not _PLACE.search(upper)


def refuse_secrets(texts: Sequence[tuple[str, str]]) -> None:
    """Raise where a text that would travel holds a secret of this environment, or a URL with a password or a signature.

    Parameters
    ----------
    texts : sequence of (str, str)
        What the user calls it (a file, an argument), and the text.
    """
    secrets = {name: value for name, value in os.environ.items() if is_secret_name(name) and len(value) >= _SHORTEST}
    for origin, text in texts:
        for name, value in secrets.items():
            if value in text:
                raise UsageError(
                    f"{origin} holds the value of ${name}, a secret, and would travel with the job",
                    "take it out: a Secret or a role of the cluster's pods holds it (k8s/components)",
                )
        for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+", text):
            if _has_password(url) or _SIGNATURE.search(url):
                raise UsageError(
                    f"{origin} holds a URL with a password or a signature, which would travel with the job",
                    "take it out: a Secret or a role of the cluster's pods opens the place (k8s/components)",
                )


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False
