"""Typed configuration: sections, YAML at the edge, `extends`, `${NAME}` and dotted overrides."""
