"""The command line: `coverage-lab run | explain | calibrate | simulate | evaluate | atlas | state | …`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Annotated

import typer

import coverage_lab
from coverage_lab.cli.adapt import adapt
from coverage_lab.cli.atlas import atlas_app
from coverage_lab.cli.banks import banks_app
from coverage_lab.cli.calibrate import calibrate
from coverage_lab.cli.check import check
from coverage_lab.cli.evaluate import evaluate
from coverage_lab.cli.explain import explain
from coverage_lab.cli.export import export
from coverage_lab.cli.map import draw_map
from coverage_lab.cli.run import run
from coverage_lab.cli.serve import serve
from coverage_lab.cli.service import service_app
from coverage_lab.cli.simulate import simulate
from coverage_lab.cli.state import state_app
from coverage_lab.cli.terminal import err, out, write_plainly
from coverage_lab.errors import CoverageLabError, OutputError
from coverage_lab.platforms import check_platform

EXIT_CODES = """
Exit codes: 0 done; 1 unexpected failure; 2 bad option or config, a missing extra, or an unsupported system;
3 traffic that can't be read; 4 damaged atlas or one of another encoder; 5 output folder or disk; 130
interrupted (run the same command again to go on from where it stopped).
"""

INTERRUPTED = 130

app = typer.Typer(
    name="coverage-lab",
    help="Is this account using the model, or harvesting it? Prompt-coverage analysis of API traffic.\n\n"
    "Start with `coverage-lab simulate DAY` and `coverage-lab run DAY/traffic.parquet RESULTS`."
    f"\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (run, check, explain, export, calibrate, adapt, simulate, evaluate):
    app.command()(command)
app.command("map")(draw_map)
app.add_typer(atlas_app, name="atlas")
app.add_typer(banks_app, name="banks")
app.command()(serve)
app.add_typer(service_app, name="service")
app.add_typer(state_app, name="state")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(coverage_lab.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: errors that a user can act on become one line and an exit code."""
    write_plainly()
    try:
        check_platform()
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            err.print(
                "coverage-lab: interrupted; for `run`, the same command again goes on from where it stopped",
                markup=False,
                soft_wrap=True,
            )
        raise
    except CoverageLabError as error:
        err.print(f"coverage-lab: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        err.print(
            "coverage-lab: the disk is full; free some space and run again", markup=False, soft_wrap=True
        )
        with contextlib.suppress(OSError):  # what Python holds of the output would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OutputError.exit_code)
