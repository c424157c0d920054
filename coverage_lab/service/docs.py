"""The page at /docs: the OpenAPI schema as plain HTML.

Swagger UI would be 1.5 MB of scripts from a CDN, or of a vendored copy to keep patched, for two routes.
This page needs no script and no network, so the service can forbid both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape

_ANY: Final = "any"


@dataclass(frozen=True)
class Field:
    """A row of a model's table."""

    name: str
    kind: str
    link: str | None
    required: bool
    description: str


@dataclass(frozen=True)
class Model:
    """A component of the schema."""

    name: str
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Route:
    """A path with a method."""

    method: str
    path: str
    description: str
    body: str | None
    example: str | None
    answers: tuple[tuple[str, str, str], ...]
    locked: bool


def docs_page(schema: dict[str, Any]) -> str:
    """Render an OpenAPI schema as one HTML page without scripts.

    Parameters
    ----------
    schema : dict
        OpenAPI 3.1, as `create_app(...).openapi()` gives it.
    """
    template = resources.files("coverage_lab.service").joinpath("docs.html").read_text(encoding="utf-8")
    models = schema["components"]["schemas"]
    routes = [
        _route(path, method, operation, models)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["marked"] = _marked
    return environment.from_string(template).render(
        info=schema["info"], routes=routes, models=[_model(name, model) for name, model in models.items()]
    )


def _route(path: str, method: str, operation: dict[str, Any], models: dict[str, Any]) -> Route:
    body = example = None
    if "requestBody" in operation:
        body = _named(operation["requestBody"]["content"]["application/json"]["schema"])
        example = _pretty(models[body]["examples"][0])
    answers = tuple(
        (status, answer["description"], _named(answer["content"]["application/json"]["schema"]))
        for status, answer in operation["responses"].items()
    )
    return Route(
        method=method.upper(),
        path=path,
        description=operation["description"],
        body=body,
        example=example,
        answers=answers,
        locked="security" in operation,
    )


def _model(name: str, schema: dict[str, Any]) -> Model:
    required = set(schema.get("required", ()))
    fields = tuple(
        Field(
            name=field,
            kind=_kind(part),
            link=_link(part),
            required=field in required,
            description=part.get("description", ""),
        )
        for field, part in schema["properties"].items()
    )
    return Model(name=name, description=schema.get("description", ""), fields=fields)


def _kind(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return _named(part)
    if "anyOf" in part:
        return " or ".join(_kind(option) for option in part["anyOf"])
    if "const" in part:
        return json.dumps(part["const"])
    kind = part.get("type", _ANY)
    if kind == "array":
        return f"list of {_kind(part['items'])}"
    if kind == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"name → {_kind(part['additionalProperties'])}"
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{words} ({part['format']})" if "format" in part else words


def _link(part: dict[str, Any]) -> str | None:
    if "$ref" in part:
        return _named(part)
    if "anyOf" in part:
        return next((link for link in map(_link, part["anyOf"]) if link), None)
    return _link(part["items"]) if "items" in part else None


def _marked(text: str) -> Markup:
    """Escape, and show what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _named(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
