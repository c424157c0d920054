"""Draw the README's picture, the growth curves of two accounts of the sample day with their nulls.

Run `scripts/demo`, then `python docs/growth_picture.py demo/results docs/growth.png` (extra `docs`).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

#: An account of the sample day, and what `truth.parquet` says of it.
ACCOUNTS = (("acct-51084", "An account that harvests"), ("acct-03357", "A customer with one task"))
LEVEL = "fine"

#: Column of `curves.parquet`, words, colour and dash. The colours are Okabe and Ito's, which people who are
#: colour-blind tell apart; the dashes say the same without colour.
NULLS = (
    ("uniform", "Uniform sweep: every topic equally likely", "#0072B2", (0, (6, 2, 1, 2))),
    ("reference", "Ordinary traffic", "#009E73", (0, (6, 3))),
    ("own", "Its own prompts in random order", "#000000", (0, (1, 1.5))),
)
OWN_COLOUR = "#D55E00"


def draw(axes: Axes, curves: dict[str, NDArray], title: str) -> None:
    """Draw one account: its curve, and each null with its 95% band."""
    for null, words, colour, dash in NULLS:
        axes.fill_between(
            curves["n"],
            curves[f"{null}_low"],
            curves[f"{null}_high"],
            color=colour,
            alpha=0.15,
            lw=0,
            zorder=0,
        )
        axes.plot(curves["n"], curves[f"{null}_mean"], color=colour, linestyle=dash, label=words)
    # Under the dots of its own null, which it nearly covers.
    axes.plot(curves["n"], curves["distinct"], color=OWN_COLOUR, linewidth=3, zorder=1, label="The account")
    axes.set_title(f"{title}\n{curves['n'][-1]:,} prompts, {curves['distinct'][-1]:,} topics", fontsize=10)
    axes.set_xlabel("prompts sent")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    axes.set_ylim(bottom=0)


def main(run: Path, picture: Path) -> None:
    """Draw `ACCOUNTS` of a finished run into a PNG file."""
    table = pq.read_table(run / "curves.parquet")
    figure, panels = plt.subplots(1, len(ACCOUNTS), figsize=(9, 3.8), layout="constrained")
    for axes, (account, title) in zip(panels, ACCOUNTS, strict=True):
        rows = table.filter((pc.field("account_id") == account) & (pc.field("level") == LEVEL)).sort_by("n")
        names = [name for name in rows.column_names if name not in ("account_id", "level")]
        draw(axes, {name: rows[name].to_numpy() for name in names}, title)
    panels[0].set_ylabel("different narrow topics reached")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=120)
    # A palette of 64 colours is a third of the bytes and looks the same.
    Image.open(whole).convert("RGB").quantize(64).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
