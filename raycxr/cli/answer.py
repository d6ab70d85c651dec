"""How a verb answers: one JSON document, or text for people."""

from __future__ import annotations

import sys
from typing import Any

from raycxr.errors import RaycxrError
from raycxr.json_document import to_json


def answer(document: Any, text: str, as_json: bool) -> None:
    """Print a verb's result on standard output: the document with `--json`, else the text."""
    print(to_json(document) if as_json else text)


def answer_error(error: RaycxrError, as_json: bool, further: dict[str, Any] | None = None) -> None:
    """Print a failure: the one line on standard error, and with `--json` the document on standard output.

    Parameters
    ----------
    further : dict or None
        What the document tells beside the error, where a verb came to a result that is a failure.
    """
    print(f"raycxr: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"        {error.remedy}", file=sys.stderr)
    if as_json:
        told = {"kind": error.kind, "message": error.message, "remedy": error.remedy}
        print(to_json({**(further or {}), "error": told}))


def tell(line: str) -> None:
    """Say what is going on, on standard error."""
    print(line, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a piece of a job's log on standard error, as it is."""
    sys.stderr.write(text)
    sys.stderr.flush()
