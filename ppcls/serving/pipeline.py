"""`POST /<name>/prediction`: the HTTP form of Paddle Serving's pipelines.

The request pairs `key` with `value`. Each value is the base64 of an image, whatever its key is
called, as in PaddleClas's services; the key `topk` asks for more than the most probable class. The
answer's values are texts of Python lists: of a label per image, or of `topk` labels per image.
"""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ppcls.serving.errors import Unprocessable
from ppcls.serving.openapi import describe_body
from ppcls.serving.service import Service, parse_message, parse_topk

SUFFIX = "/prediction"


class PipelineRequest(BaseModel):
    """Paddle Serving's request."""

    key: list[str] = Field(description='such as ["image"]')
    value: list[str] = Field(description="base64 of an image file for each key")


class PipelineResponse(BaseModel):
    """Paddle Serving's response."""

    err_no: int = Field(description="0, or the HTTP status of the error")
    err_msg: str
    key: list[str]
    value: list[str]
    tensors: list[Any] = []


def create_router(service: Service) -> APIRouter:
    """The routes of this protocol."""
    router = APIRouter(tags=["Paddle Serving"])

    @router.post(
        "/{name}" + SUFFIX,
        response_model=PipelineResponse,
        openapi_extra=describe_body(PipelineRequest),
    )
    async def predict(request: Request, name: str) -> "dict[str, Any]":
        """Classifies the images of a request of Paddle Serving's pipeline clients."""
        with service.repository.lease(name) as served:
            timeout = service.timeout(request)
            body = await service.read_body(request)
            message = await service.in_thread(parse_message, PipelineRequest, body)
            pairs = _pairs(message)
            topk = parse_topk(pairs.pop("topk", None))
            if not pairs:
                raise Unprocessable("value: there is no image")
            images = [await service.image_from_text(text, timeout) for text in pairs.values()]
            results = served.results(await served.predict(images, timeout), topk or 1)
            has_names = bool(served.label_names)
        labels = [result["label_names" if has_names else "class_ids"] for result in results]
        scores = [result["scores"] for result in results]
        if topk is None:
            labels, scores = ([row[0] for row in rows] for rows in (labels, scores))
        return {
            "err_no": 0,
            "err_msg": "",
            "key": ["label", "prob"],
            "value": [str(labels), str(scores)],
            "tensors": [],
        }

    return router


def _pairs(message: PipelineRequest) -> "dict[str, str]":
    if len(message.key) != len(message.value):
        raise Unprocessable(f"{len(message.key)} keys, but {len(message.value)} values")
    pairs = dict(zip(message.key, message.value))
    if len(pairs) < len(message.key):
        raise Unprocessable("key: every key must be another one")
    return pairs
