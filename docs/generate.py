"""Pages of the reference that are made from the code when the documentation is built.

They lie in `docs/reference/generated/`, which git ignores: nothing in them can go out of date.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import coverage_lab.measures
from coverage_lab import schema
from coverage_lab.config import EvaluateConfig, RunConfig
from coverage_lab.report.words import GLOSSARY
from coverage_lab.service.answer import (
    AccountScore,
    Campaign,
    CampaignResponse,
    CampaignsResponse,
    FirstVisit,
    Flag,
    FlagsResponse,
    LastRun,
    LookupResponse,
    Member,
    QuarantinedPrompt,
    ReasonDetail,
    RestsOn,
    ScoreResponse,
    ShortStanding,
    Standing,
    StandingResponse,
    TopCell,
)
from coverage_lab.service.request import AccountPrompts, LookupRequest, PromptRow, ScoreRequest

#: Tables of a run: name, what one row is.
TABLES = {
    "accounts": "One row an account.",
    "curves": "One row a point of an account's growth curve.",
    "cells": "One row a cell that an account stands out in.",
    "flags": "One row an account that a person should look at.",
    "campaigns": "One row a group of accounts that looks like one harvest.",
    "members": "One row an account of such a group.",
    "quarantine": "One row an input row that could not be used.",
}

#: Ops of `coverage_kernels`, each a package with a function of its name.
KERNELS = tuple(
    f"{op}.{op}" for op in ("causal_novelty", "growth_curves", "nearest_cell", "pitman_yor", "rarefaction")
)


def write_pages(docs: Path) -> None:
    """Write every generated page below `docs`; a page that has not changed keeps its time."""
    folder = docs / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "command-line": command_line(),
        "config": config(),
        "tables": tables(),
        "http": http(),
        "measures": functions("coverage_lab.measures", coverage_lab.measures.__all__),
        "kernels": functions("coverage_kernels", KERNELS),
        "glossary": glossary(),
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def command_line() -> str:
    """Every command with its options, as Typer's own generator writes them."""
    words = [sys.executable, "-m", "typer", "coverage_lab.cli", "utils", "docs", "--name", "coverage-lab"]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return made.replace("# `coverage-lab`", "# Command line", 1)


def config() -> str:
    """Every key of a run's config: type, default, meaning."""
    parts = ["# Config", "", "Every key has a default. A key that is not listed here stops the run.", ""]
    parts += _config_sections(RunConfig, ())
    parts += [
        "## `coverage-lab evaluate`",
        "",
        "These keys are in a file of their own. Its section `[encoder]`",
    ]
    parts += ['has the keys above, with `precision = "float32"`.', "", _config_keys(EvaluateConfig)]
    return "\n".join(parts)


def _config_sections(model: type[BaseModel], path: tuple[str, ...]) -> Iterable[str]:
    inner = {name: field.annotation for name, field in model.model_fields.items() if _is_model(field)}
    if path:
        yield f"## `[{'.'.join(path)}]`\n"
        yield _prose(model.__doc__) + "\n"
    if len(inner) < len(model.model_fields):
        yield _config_keys(model)
    for name, section in inner.items():
        yield from _config_sections(section, (*path, name))


def _config_keys(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field.annotation), _default(field), _one_line(field.description))
        for name, field in model.model_fields.items()
        if not _is_model(field)
    ]
    return table(("key", "type", "default", "meaning"), rows) + "\n"


def _is_model(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in arguments if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}s"
    if origin is dict:
        return f"table of {_type(arguments[0])} to {_type(arguments[1])}"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}
    return names.get(annotation.__name__, annotation.__name__)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "not given"
    return "none" if value == {} else f"`{json.dumps(value)}`"


def _prose(docstring: str | None) -> str:
    """Markdown of a docstring that writes code between two backticks."""
    lines = (docstring or "").splitlines()
    return "\n".join(line.strip() for line in lines).replace("``", "`").strip()


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def tables() -> str:
    """Columns of every table that a run writes."""
    parts = ["# Tables", "", f"Schema version {schema.SCHEMA_VERSION}.", ""]
    for name, what in TABLES.items():
        parts += [f"## `{name}.parquet`", "", what, "", _columns(name), ""]
    for title, fields in (
        ("Fields of `reason_details`", schema.REASON_FIELDS),
        ("Fields of `rests_on` in `reason_details`", schema.RESTS_ON_FIELDS),
        ("Fields of `first_visits`", schema.FIRST_VISITS_FIELDS),
    ):
        named = [(f"`{name}`", meaning) for name, meaning in fields.items()]
        parts += [f"## {title}", "", table(("field", "meaning"), named), ""]
    reasons = [(f"`{code}`", meaning) for code, meaning in schema.QUARANTINE_REASONS.items()]
    parts += ["## Reasons of the quarantine", "", table(("reason", "meaning"), reasons), ""]
    return "\n".join(parts)


def _columns(name: str) -> str:
    rows = [
        (
            f"`{column.name}`",
            str(column.kind).replace(" not null", ""),
            "yes" if column.nullable else "no",
            column.meaning,
        )
        for column in schema.describe_columns(name)
    ]
    return table(("column", "type", "may be null", "meaning"), rows)


def http() -> str:
    """What the service is asked and what it answers."""
    parts = ["# HTTP requests and answers", ""]
    asked = (ScoreRequest, AccountPrompts, PromptRow)
    answered = (ScoreResponse, AccountScore, ReasonDetail, RestsOn, TopCell, QuarantinedPrompt)
    told = (
        *(LastRun, StandingResponse, Standing, LookupRequest, LookupResponse, ShortStanding),
        *(FlagsResponse, Flag, FirstVisit, CampaignsResponse, CampaignResponse, Campaign, Member),
    )
    for title, models in (("Request", asked), ("Answer", answered), ("What the last run said", told)):
        parts += [f"## {title}", ""]
        for model in models:
            rows = [(f"`{name}`", _one_line(field.description)) for name, field in model.model_fields.items()]
            parts += [f"### {model.__name__}", "", _prose(model.__doc__), ""]
            parts += [table(("field", "meaning"), rows), ""]
    return "\n".join(parts)


def functions(module: str, names: Iterable[str]) -> str:
    """Docstrings of a module's names."""
    lines = [f"# `{module}`", "", "```{eval-rst}"]
    for name in sorted(names):
        kind = "autoclass" if name[0].isupper() else "autofunction"
        lines += [f".. {kind}:: {module}.{name}", ""]
    return "\n".join([*lines, "```", ""])


def glossary() -> str:
    """The report's own words."""
    return "\n".join(f"{term}\n: {meaning}\n" for term, meaning in GLOSSARY)
