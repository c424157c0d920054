"""ROC curves."""

from __future__ import annotations

from collections.abc import Sequence

from coverage_lab.evaluate.plots.style import LEGEND_SIGNS, percent_axis, short_label, upright, with_legend
from coverage_lab.evaluate.results import Figures
from coverage_lab.plotting.figure import Spec, axis, role

_VARIANT_DASHES = ("dash", "dashdot", "longdash")


def roc_spec(headline: Sequence[Figures], *, best: str | None) -> Spec:
    """ROC curves of all methods on a logarithmic axis of false positives, from 0.1% up."""
    traces: list[Spec] = []
    named_other = False
    variants = [each.method for each in headline if each.role == "variant"]
    # The detector last, so that it lies on top.
    for each in reversed(headline):
        if not each.roc:
            continue
        colour = each.role if each.role != "baseline" or each.method == best else "other"
        plain = colour == "other"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "other baselines" if plain else short_label(each.method, LEGEND_SIGNS),
                "legendgroup": "other" if plain else "",
                "showlegend": not (plain and named_other),
                "legendrank": 1 + ["detector", "variant", "baseline", "other", "probe"].index(colour),
                "x": [*(rate for rate, _ in each.roc), 1.0],
                "y": [*(found for _, found in each.roc), 1.0],
                "line": {
                    "color": role(colour),
                    "width": 3 if each.role == "detector" else 1.25 if plain else 2,
                    "dash": "dot"
                    if each.role == "probe"
                    else _VARIANT_DASHES[variants.index(each.method) % len(_VARIANT_DASHES)]
                    if each.role == "variant"
                    else "solid",
                },
                "text": short_label(each.method, 80),
                "hovertemplate": "<b>%{text}</b><br>%{y:.0%} found at %{x:.2~%} FPR<extra></extra>",
            }
        )
        named_other |= plain
    x = axis(
        "innocent accounts flagged (log scale)",
        {
            "type": "log",
            "range": [-3.03, 0.02],
            "tickmode": "array",
            "tickvals": [0.001, 0.01, 0.1, 1],
            "ticktext": ["0.1%", "1%", "10%", "100%"],
        },
    )
    figure = with_legend(x, percent_axis("harvests found"), height=460)
    figure["shapes"] = [upright(0.001), upright(0.01)]
    return {"data": traces, "layout": figure}
