"""`coverage-lab atlas build|show|lay-out`: the map that prompts are placed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from coverage_lab.cli.options import (
    ConfigOption,
    EncoderChoice,
    EncoderOption,
    configured,
    three_cells,
)
from coverage_lab.cli.terminal import out, progress_bars

atlas_app = typer.Typer(help="The map of topics that prompts are placed on.", no_args_is_help=True)


@atlas_app.command("build")
def build(
    traffic: Annotated[str, typer.Argument(metavar="INPUT", help="Reference traffic, as for `run`.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the atlas; must not exist yet.")],
    config: ConfigOption = None,
    encoder: EncoderOption = None,
    cells: Annotated[
        str, typer.Option(help="Cells per level, coarse,middle,fine; about 40 prompts a fine cell or more.")
    ] = "64,512,4096",
    seed: Annotated[int, typer.Option(help="Seed of the random start of k-means.")] = 0,
) -> None:
    """Build an atlas from your own reference traffic, in place of the one that ships.

    Every account of INPUT counts as ordinary traffic, each with the same weight. A run on it
    (`atlas.path` in the config) gives measures; score and p-value need a scorecard made for it.

    Example: `coverage-lab atlas build reference/ my-atlas --cells 64,512,4096`
    """
    from coverage_lab.jobs.build_atlas import build_atlas

    settings = configured(config, encoder)
    sizes = three_cells(cells)
    with progress_bars() as progress:
        atlas = build_atlas(traffic, folder, settings, sizes=sizes, seed=seed, progress=progress)
    out.print(f"atlas {atlas.id[:12]} in {folder}", markup=False)


@atlas_app.command("show")
def show(
    atlas: Annotated[
        str, typer.Argument(metavar="ATLAS", help="`static`, `minilm`, or a folder.")
    ] = "static",
    top: Annotated[int, typer.Option(help="Cells listed per level.", min=1)] = 10,
) -> None:
    """Show an atlas: its levels, how ordinary traffic lies on it, its heaviest cells by name.

    Example: `coverage-lab atlas show minilm --top 5`
    """
    from coverage_lab.atlas import default_atlas, load_atlas

    shown = default_atlas(atlas) if atlas in {c.value for c in EncoderChoice} else load_atlas(Path(atlas))
    out.print(f"atlas {shown.id}\nencoder {shown.encoder_name} {shown.encoder_id}", markup=False)
    out.print(shown.description, markup=False)
    from coverage_lab.schema import LEVELS

    for level, mass, names in zip(LEVELS, shown.masses, shown.names, strict=True):
        table = Table(
            title=f"{level}: {len(mass):,} cells, effective {1 / float((mass**2).sum()):,.0f}",
            title_justify="left",
        )
        table.add_column("cell", justify="right")
        table.add_column("ordinary traffic", justify="right")
        table.add_column("name")
        for cell in (-mass).argsort(kind="stable")[:top]:
            table.add_row(str(cell), f"{mass[cell]:.2%}", escape(names[cell]))
        out.print(table)


@atlas_app.command("lay-out")
def lay_out(
    folder: Annotated[Path, typer.Argument(metavar="ATLAS", help="Folder of an atlas.")],
    seed: Annotated[int, typer.Option(help="Of the layout.")] = 0,
) -> None:
    """Lay an atlas out, so that `coverage-lab map` can draw it: each narrow topic gets a tile.

    Nothing that is computed depends on the layout, and the atlas keeps its id. The atlases that ship have
    theirs. Takes about a minute for 4,096 cells; needs the extra `map`.

    Example: `coverage-lab atlas lay-out my-atlas`
    """
    from coverage_lab.atlas import lay_out as laid_out
    from coverage_lab.atlas import load_atlas, save_layout

    atlas = load_atlas(folder)
    save_layout(replace(atlas, layout=laid_out(atlas, seed=seed)), folder)
    out.print(
        f"atlas {atlas.id[:12]} in {folder}: {atlas.sizes[-1]:,} cells laid out", markup=False, soft_wrap=True
    )
