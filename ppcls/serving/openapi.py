"""Bodies of requests in the OpenAPI document; the routes read them by themselves."""

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
