"""`raycxr config`: the resolved configuration."""

from __future__ import annotations

from raycxr.cli.answer import answer
from raycxr.cli.options import ConfigPath, Debug, Json, Overrides


def config(path: ConfigPath, overrides: Overrides = None, json: Json = False, debug: Debug = False) -> None:
    """Show the resolved configuration."""
    from raycxr.config.load import load_config, to_yaml

    resolved = load_config(path, overrides or [])
    answer(resolved.model_dump(mode="json"), to_yaml(resolved).rstrip(), json)
