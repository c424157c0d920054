"""`coverage-lab serve`: scores over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.options import (
    ConfigOption,
    RunEncoderOption,
    configured,
)
from coverage_lab.errors import MissingExtraError


def serve(
    host: Annotated[str, typer.Option(help="Address; any but loopback needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = 8711,
    config: ConfigOption = None,
    encoder: RunEncoderOption = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="OUTPUT of `coverage-lab run`, or a link to it: tells what the last run said of accounts "
            "too (/v1/accounts, /v1/flags, /v1/campaigns). Read anew when another run has finished there.",
        ),
    ] = None,
) -> None:
    """Score accounts over HTTP: POST /v1/score, GET /healthz, /readyz, /metrics, /docs.

    Limits, keys and certificates stand in the config's section [service]; `coverage-lab service key new`
    makes a key. Without one only loopback addresses are served.

    Example: `coverage-lab serve --encoder static`, then open http://127.0.0.1:8711/docs
    """
    try:
        from coverage_lab.service import serve_forever
    except ImportError as error:
        raise MissingExtraError("fastapi and uvicorn", "service", "serve") from error
    serve_forever(configured(config, encoder), host=host, port=port, results=results)
