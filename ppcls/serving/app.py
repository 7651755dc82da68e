"""The application: all protocols of one server."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ppcls import __version__
from ppcls.serving import classification, kserve, openapi, pipeline
from ppcls.serving.middleware import RequestMiddleware, error_body
from ppcls.serving.service import Service


def create_app(service: Service) -> FastAPI:
    """The ASGI application of a server."""
    # The framework's own pages load their scripts from the internet.
    app = FastAPI(
        title="LoGoClas server",
        version=__version__,
        description=__doc__,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(RequestMiddleware, service=service)
    for protocol in (classification, kserve, pipeline):
        app.include_router(protocol.create_router(service))

    page = (Path(__file__).parent / "index.html").read_bytes()

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(page, media_type="text/html; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(openapi.render(app), media_type="text/html; charset=utf-8")

    @app.get("/health", tags=["server"])
    async def health(request: Request) -> "dict[str, Any]":
        """PaddleX's probe."""
        return {"logId": request.state.log_id, "errorCode": 0, "errorMsg": "Healthy"}

    @app.get("/models", tags=["server"])
    async def models() -> "list[dict[str, Any]]":
        """The models, the default one first."""
        return [_describe(service, name) for name in service.repository.names]

    @app.get("/metrics", tags=["server"])
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        """What the framework itself refuses: unknown paths and methods, bad query parameters."""
        status, text = 422, "the request is not valid"
        if isinstance(error, HTTPException):
            status, text = error.status_code, str(error.detail)
        document = error_body(request.url.path, status, text, request.state.log_id)
        return JSONResponse(document, status, headers=getattr(error, "headers", None))

    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse)
    openapi.install(app)
    return app


def _describe(service: Service, name: str) -> "dict[str, Any]":
    with service.repository.lease(name) as model:
        return {
            "name": name,
            "versions": service.repository.versions(name),
            "class_num": model.class_num,
            "input_shape": list(model.input_shape),
            "engine": model.engine_name,
        }
