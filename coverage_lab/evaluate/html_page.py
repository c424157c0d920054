"""What the pages of both protocols have in common: their head, styles and scripts."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from coverage_lab.evaluate.plots.style import PALETTE
from coverage_lab.evaluate.results import REPLAYED
from coverage_lab.plotting.figure import Spec
from coverage_lab.plotting.html_file import asset, environment, plotly_js, policy
from coverage_lab.untrusted.text import escaped, json_for_script

_PACKAGE = "coverage_lab.evaluate"


def html_page(template: str, specs: Mapping[str, Spec], **filled: object) -> str:
    """Fill a template that extends ``page.html.j2``; `specs` are its plots, `filled` the names of its own."""
    script, plotly = asset(_PACKAGE, "benchmark.js"), plotly_js()
    templates = environment(_PACKAGE)
    templates.filters |= {"escaped": escaped, "percent": lambda share: f"{100 * share:.1f}%"}
    return templates.get_template(template).render(
        replayed=REPLAYED,
        palette=PALETTE,
        css=Markup(asset(_PACKAGE, "benchmark.css")),
        script=Markup(script),
        plotly=Markup(plotly),
        policy=policy(plotly, script),
        page_data=Markup(json_for_script({"palette": PALETTE, "plots": specs})),
        **filled,
    )
