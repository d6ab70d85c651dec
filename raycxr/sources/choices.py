"""The sources by the names that configurations use."""

from __future__ import annotations

from raycxr.sources.jsrt import JsrtSource
from raycxr.sources.pairs import PairsSource

SOURCES: dict[str, type[JsrtSource] | type[PairsSource]] = {"jsrt": JsrtSource, "pairs": PairsSource}
