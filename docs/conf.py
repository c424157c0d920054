"""Sphinx settings of the documentation; build it with `sphinx-build -W docs OUT` (extra `docs`).

No extension reaches for the network, neither while building nor on the finished pages.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate
from sphinx.application import Sphinx

import coverage_lab

project = "coverage_lab"
copyright = "coverage_lab maintainers"  # Sphinx reads this very name
release = version = coverage_lab.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "reference/generated/glossary.md"]  # the glossary includes that one
# Docstrings write code between single backticks, as Markdown does.
default_role = "code"
autodoc_typehints = "none"  # the numpy docstrings say types with shapes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "coverage_lab"
html_sidebars = {"tutorial": [], "glossary": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _references_as_list(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list
) -> None:
    """Make footnotes a list: their numbers, 1 in each docstring, clash on a page of many."""
    for place, line in enumerate(lines):
        lines[place] = re.sub(r"^\.\. (?=\[\d+\] )", "*  ", re.sub(r"(?<=\[\d\])_", "", line))


def setup(app: Sphinx) -> None:
    """Write the pages that come from the code before Sphinx looks for pages."""
    app.connect("builder-inited", lambda built: generate.write_pages(Path(built.srcdir)))
    app.connect("autodoc-process-docstring", _references_as_list, priority=900)
