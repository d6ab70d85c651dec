"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def not_empty(value: str | None) -> str | None:
    """Refuse an empty value, such as that of a variable that is not set."""
    if value == "":
        raise typer.BadParameter("it is empty")
    return value


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides such as train.epochs=5.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
Metric = Annotated[
    str | None,
    typer.Option(
        help="Metric that decides, such as dice.heart or loss; where not given, the one of the sweep or of the runs.",
        show_default=False,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(help="max or min; where not given, min for losses and distances.", show_default=False),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Only runs with this setting, such as model.name=unet, 'optimizer.lr<0.001' or status!=failed; also >, <= "
        "and >=; may be given several times.",
        show_default=False,
    ),
]
Network = Annotated[
    str,
    typer.Argument(metavar="RUN_OR_BUNDLE", help="A run, a bundle, or a checkpoint inside a run.", show_default=False),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN_OR_BUNDLE", help="Average with the probabilities of this one; repeatable.", show_default=False
    ),
]
TestTime = Annotated[
    list[str] | None,
    typer.Option(
        help="Average over views as well: horizontal_flip, vertical_flip, scale_0.75 and other scales, repeated or "
        "with commas, or none; where not given, the run's.",
        show_default=False,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster; where not given, $RAY_ADDRESS, else one started in this process.",
        show_default=False,
        callback=not_empty,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Job API of the cluster, such as http://localhost:8265; where not given, $RAY_API_SERVER_ADDRESS, "
        "$RAY_ADDRESS, else the cluster on this machine.",
        show_default=False,
        callback=not_empty,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        help="Namespace in Kubernetes; where not given, the context's.", show_default=False, callback=not_empty
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="Context of the kubeconfig; where not given, the current one.",
        show_default=False,
        callback=not_empty,
    ),
]


def parse_views(options: list[str] | None) -> tuple[str, ...] | None:
    """Checked names of `--test-time`; None where it is not given.

    Raises
    ------
    ConfigurationError
        A name is unknown.
    """
    from raycxr.config.load import check_config

    if options is None:
        return None
    names = [name.strip() for option in options for name in option.split(",")]
    if names == ["none"]:
        return ()
    return check_config({"evaluate": {"test_time": names}}, "--test-time").evaluate.test_time
