"""`scripts/bench`: finds a benchmark by its name, and runs it if all that it compares is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from benchmarks.registry import BENCHMARKS, Benchmark, require

try:
    import typer
except ImportError:
    sys.exit("scripts/bench: not installed: typer. Give: pip install -e '.[bench]'")

HELP = """
Measure speed, memory or accuracy against a baseline in the same run; one JSON row per case.

`scripts/bench NAME --help` shows the options of one benchmark. A row that times something is written only
after its answer agreed with the reference on this device. Every row names its baseline, the device, the
commit and the versions of everything compared.
"""


def runner(benchmark: Benchmark) -> Callable[[typer.Context], None]:
    """Return a command that loads the benchmark's module only when it is called."""

    def run(context: typer.Context) -> None:
        require(benchmark)
        module = import_module(f"benchmarks.{benchmark.module}")
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        app.command(help=f"{benchmark.measures}\n\nBaseline: {benchmark.baseline}.\n\n{module.__doc__}")(
            module.benchmark
        )
        from coverage_lab.errors import CoverageLabError

        try:
            app(args=context.args, prog_name=f"scripts/bench {benchmark.name}")
        except CoverageLabError as error:
            sys.exit(f"scripts/bench {benchmark.name}: {error}")

    return run


def main() -> None:
    """Run the command line."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    # What follows the name, `--help` too, is for the benchmark itself.
    handed_over = {"allow_extra_args": True, "ignore_unknown_options": True}
    for benchmark in BENCHMARKS.values():
        app.command(
            benchmark.name, help=benchmark.measures, context_settings=handed_over, add_help_option=False
        )(runner(benchmark))
    app(prog_name="scripts/bench")


if __name__ == "__main__":
    main()
