"""The command line `raycxr`.

Each verb imports what it needs when it runs, so that `--help` and `pull` start without torch and ray.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

import raycxr
from raycxr.cli import (
    config,
    doctor,
    evaluate,
    export,
    ingest,
    inspect,
    jobs,
    predict,
    pull,
    report,
    runs,
    scale,
    serve,
    submit,
    synth,
    train,
    tune,
)
from raycxr.cli.answer import answer_error
from raycxr.errors import InterruptionError, RaycxrError, UsageError, first_line
from raycxr.signals import end_by_sigterm_as_by_ctrl_c

app = typer.Typer(
    name="raycxr",
    help="Chest X-ray segmentation on a Ray cluster: ingest, inspect, train, tune, evaluate, predict, serve, pull.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# What typer returns, without a word, where a verb was interrupted.
TYPER_INTERRUPTED = 130


def _show_version(asked: bool) -> None:
    if asked:
        print(f"raycxr {raycxr.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Chest X-ray segmentation on a Ray cluster: ingest, inspect, train, tune, evaluate, predict, serve, pull."""


app.command("synth")(synth.synth)
app.command("ingest")(ingest.ingest)
app.command("inspect")(inspect.inspect)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("runs")(runs.runs)
app.command("report")(report.report)
app.command("pull")(pull.pull)
app.command("export")(export.export)
app.command("config")(config.config)
# What stands behind the first argument belongs to the job.
app.command("submit", context_settings={"allow_interspersed_args": False})(submit.submit)
app.add_typer(jobs.app, name="jobs")
# So that -1 is a number of workers, and refused as one.
app.command("scale", context_settings={"ignore_unknown_options": True})(scale.scale)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line: 0 only on success, 2 on wrong usage or configuration, 1 on failure."""
    end_by_sigterm_as_by_ctrl_c()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one verb and return the exit status."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json, debug = "--json" in ours, "--debug" in ours
    try:
        status = app(arguments, standalone_mode=False)
        if status == TYPER_INTERRUPTED:
            raise KeyboardInterrupt
    except RaycxrError as error:
        if debug:
            traceback.print_exc()
        answer_error(error, as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        answer_error(InterruptionError("interrupted", "run it again"), as_json)
        return InterruptionError.exit_code
    except Exception as error:  # the last line of defence: a user gets one line, a developer --debug
        if debug:
            traceback.print_exc()
        return _answer_unexpected(error, as_json)
    return status if isinstance(status, int) else 0


def _answer_unexpected(error: Exception, as_json: bool) -> int:
    """Usage errors of the argument parser say so themselves; anything else is ours."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return 2
    status = getattr(error, "exit_code", None)
    message = getattr(error, "format_message", None)
    if status is not None and message is not None:
        answer_error(UsageError(message().rstrip("."), "see --help"), as_json)
        return int(status)
    first = first_line(error)
    answer_error(RaycxrError(f"unexpected {type(error).__name__}: {first}", "run again with --debug"), as_json)
    return 1
