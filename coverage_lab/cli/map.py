"""`coverage-lab map`: where accounts went on the map of topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coverage_lab.cli.options import ConfigOption, EncoderOption, FormatOption, configured
from coverage_lab.cli.terminal import out, progress_bars
from coverage_lab.errors import ConfigError
from coverage_lab.untrusted.text import shortened, visible


def draw_map(
    traffic: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="The traffic with the accounts' prompts, as for `run`."),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="`.html` (a page with a slider through time), `.png` or `.svg`."),
    ],
    account: Annotated[
        list[str],
        typer.Option("--account", help="An account to draw; give it again for more, 4 in a picture."),
    ],
    config: ConfigOption = None,
    encoder: EncoderOption = None,
    format: FormatOption = None,
) -> None:
    """Draw where accounts went on the map of topics: each narrow topic a tile, neighbours alike.

    Grey is ordinary traffic; coloured tiles are what an account reached, their colour says when. A customer
    fills a few patches, a sweep the whole map. The page needs no network and holds no prompt.

    Example: `coverage-lab map traffic.parquet map.html --account acct-0042`
    """
    if output.suffix not in (".html", ".png", ".svg"):
        raise ConfigError(f"OUT {output}: expected a name that ends with .html, .png or .svg")
    # The extra `plots` is asked for before the work, not after it.
    from coverage_lab.jobs.steps import atlas_of, trace
    from coverage_lab.plotting.capability_map import capability_map, map_page
    from coverage_lab.plotting.html_file import write_bytes, write_whole

    settings = configured(config, encoder, format=format)
    with progress_bars() as progress:
        source = traffic[0] if len(traffic) == 1 else traffic
        traced = trace(source, account, config=settings, progress=progress)
    atlas = atlas_of(settings)
    cells = {name: found[:, -1] for name, found in traced.items()}
    if output.suffix == ".html":
        write_whole(output, map_page(atlas, cells), what="map")
    else:
        picture = capability_map(atlas, cells)
        drawn = picture.png() if output.suffix == ".png" else picture.svg()
        write_bytes(output, drawn, what="map")
    for name, found in cells.items():
        out.print(
            f"{shortened(visible(name), 60)}: {len(set(found.tolist())):,} of {atlas.sizes[-1]:,} narrow "
            f"topics in {len(found):,} prompts",
            markup=False,
            soft_wrap=True,
        )
    out.print(f"Map: {output}", markup=False, soft_wrap=True)
