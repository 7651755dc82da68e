"""`POST /<name>/prediction`: the HTTP form of Paddle Serving's pipelines (see `pipeline_form`)."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ppcls.serving.openapi import describe_body
from ppcls.serving.pipeline_form import read_pairs, write_answer
from ppcls.serving.service import Service, parse_message

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
            texts, topk = read_pairs(message.key, message.value)
            images = [await service.image_from_text(text, timeout) for text in texts]
            results = served.results(await served.predict(images, timeout), topk or 1)
        answer = write_answer(results, topk)
        return {
            "err_no": 0,
            "err_msg": "",
            "key": list(answer),
            "value": list(answer.values()),
            "tensors": [],
        }

    return router
