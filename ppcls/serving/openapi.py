"""The OpenAPI document with the bodies that routes read by themselves, and a page of it."""

import html
import json
from typing import Any, Optional

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REFERENCE = "#/components/schemas/{model}"
_messages: "list[type[BaseModel]]" = []


def describe_body(
    message: "type[BaseModel]", other: "Optional[dict[str, Any]]" = None
) -> "dict[str, Any]":
    """`openapi_extra` of a route that takes `message` as JSON, or one of `other` content types."""
    if message not in _messages:
        _messages.append(message)
    schema = {"$ref": _REFERENCE.format(model=message.__name__)}
    content = {"application/json": {"schema": schema}, **(other or {})}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI) -> None:
    """Makes the document of `app` hold the messages given to `describe_body`."""

    def openapi() -> "dict[str, Any]":
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            kinds = [(message, "validation") for message in _messages]
            _, definitions = models_json_schema(kinds, ref_template=_REFERENCE)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(definitions["$defs"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }}
  pre {{ overflow-x: auto; }}
  h2 {{ font-size: 1.1rem; overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1>
<p>Made from <a href="openapi.json">openapi.json</a>, which other tools read.</p>
{operations}
<h2 id="schemas">Schemas</h2>
{schemas}
</html>
"""


def render(app: FastAPI) -> str:
    """The document as a page that needs nothing from elsewhere."""
    document = app.openapi()
    operations = [
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>\n"
        f"<p>{html.escape(operation.get('description', operation['summary']))}</p>\n"
        + _details("Parameters", operation.get("parameters"))
        + _details("Body", operation.get("requestBody", {}).get("content"))
        + _details("Answers", operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [_details(name, schema) for name, schema in document["components"]["schemas"].items()]
    return _PAGE.format(
        title=html.escape(f"{app.title} {app.version}"),
        operations="\n".join(operations),
        schemas="\n".join(schemas),
    )


def _details(title: str, content: Any) -> str:
    if not content:
        return ""
    text = html.escape(json.dumps(content, indent=2, ensure_ascii=False))
    return f"<details><summary>{html.escape(title)}</summary><pre>{text}</pre></details>\n"
