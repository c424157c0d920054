"""`coverage-lab service key …`: the keys that the service lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from coverage_lab.cli.terminal import err, out

service_app = typer.Typer(
    help="What the scoring service is run with: the keys of those who may ask. `serve` runs it.",
    no_args_is_help=True,
)
key_app = typer.Typer(
    help="The keys that the scoring service lets in: make them, list them, take them back. The file holds "
    "digests only.\n\nExample: `coverage-lab service key list --file keys.json`",
    no_args_is_help=True,
)
service_app.add_typer(key_app, name="key")

KeysOption = Annotated[Path, typer.Option("--file", metavar="FILE", help="The key file (service.keys).")]


@key_app.command("new")
def new(
    name: Annotated[str, typer.Option(help="Who will use it: letters, digits, '.', '_' and '-'.")],
    file: KeysOption = Path("keys.json"),
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do, several times: score, read, metrics.")
    ] = None,
) -> None:
    """Make a key, show it this once, and add its digest to the key file.

    Example: `coverage-lab service key new --name batch-detector --file keys.json`
    """
    from coverage_lab.service.keys import new_key

    key = new_key(file, name, scope or ["score"])
    err.print(
        f"Key of {name}, in {file} as a digest only. Copy it now; it is not shown again:",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    out.print(key, markup=False, highlight=False, soft_wrap=True)


@key_app.command("list")
def show(file: KeysOption = Path("keys.json")) -> None:
    """Show the keys of a file: id, name, scopes, when each was made.

    Example: `coverage-lab service key list --file keys.json`
    """
    from coverage_lab.service.keys import describe, read_keys

    shown = Table()
    for column in ("id", "name", "scopes", "created"):
        shown.add_column(column)
    for row in describe(read_keys(file)):
        shown.add_row(*row.values())
    out.print(shown)


@key_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `key list`.")],
    file: KeysOption = Path("keys.json"),
) -> None:
    """Take a key out of the file; a running service lets it in no more within a second.

    Example: `coverage-lab service key revoke 1a2b3c4d --file keys.json`
    """
    from coverage_lab.service.keys import revoke_key

    gone = revoke_key(file, key)
    out.print(f"Key {gone.id} of {gone.name} is out of {file}.", markup=False, soft_wrap=True)
