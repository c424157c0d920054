"""One HTML file that needs no network and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

import jinja2

from coverage_lab.errors import OutputError
from coverage_lab.files.atomic import whole_file


def asset(package: str, name: str) -> str:
    """Read a file of the `templates` folder of `package`."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def plotly_js() -> str:
    """Plotly's basic bundle (lines and bars): a quarter of the whole that `plotly` carries.

    As npm has it (`plotly.js-basic-dist-min`), of the version that the package `plotly` speaks to.
    """
    return asset("coverage_lab.plotting", "plotly-basic.min.js")


def environment(package: str) -> jinja2.Environment:
    """Open the templates of `package`: everything is escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def policy(*scripts: str) -> str:
    """Content-Security-Policy: only these very scripts run, and nothing is ever fetched.

    Styles may be inline because Plotly makes style elements of its own; with no source that could be
    fetched, a style can't carry anything out of the page.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def write_whole(path: Path, page: str, *, what: str) -> None:
    """Write a page beside `path`, then move it there, so that a reader never finds half of one.

    Raises
    ------
    OutputError
        The file can't be written; `what` names it.
    """
    write_bytes(path, page.encode(), what=what)


def write_bytes(path: Path, content: bytes, *, what: str) -> None:
    """Write a picture or a page as `write_whole` does."""
    try:
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{what} {path}: can't be written ({error.strerror})") from error
