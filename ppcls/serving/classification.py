"""`POST /image-classification`: PaddleX's basic serving, uploads of forms, and plain files."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Optional

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ppcls.serving.errors import BadRequest, Unprocessable
from ppcls.serving.openapi import describe_body
from ppcls.serving.service import Service, parse_message
from ppcls.serving.topk import parse_topk

PATH = "/image-classification"


class ClassificationRequest(BaseModel):
    """PaddleX's request."""

    image: str = Field(description="base64 of an image file, or its address where enabled")
    topk: Optional[Annotated[int, Field(gt=0)]] = Field(
        None, description="classes in the answer; without it, as the model was exported"
    )


class Category(BaseModel):
    """One class of an answer."""

    id: int
    name: str
    score: float


class ClassificationResult(BaseModel):
    """Most probable class first."""

    categories: list[Category]


class ErrorResponse(BaseModel):
    """PaddleX's response to what cannot be answered; `errorCode` is the HTTP status."""

    model_config = ConfigDict(alias_generator=to_camel)

    log_id: str
    error_code: int
    error_msg: str


class ClassificationResponse(ErrorResponse):
    """PaddleX's response."""

    result: ClassificationResult


_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "string", "format": "binary"},
                "topk": {"type": "integer", "minimum": 1},
            },
        }
    },
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}


def create_router(service: Service) -> APIRouter:
    """The routes of this protocol."""
    router = APIRouter(tags=["classification"])

    @router.post(
        PATH,
        response_model=ClassificationResponse,
        responses={"default": {"model": ErrorResponse}},
        openapi_extra=describe_body(ClassificationRequest, _FORM),
    )
    async def classify(
        request: Request, model: Optional[str] = None, version: Optional[str] = None
    ) -> "dict[str, Any]":
        """Classifies one image: JSON as PaddleX's clients send it, a form, or the file itself.

        `model` and `version` choose among several; `topk` may also stand in the query.
        """
        with service.repository.lease(model, version) as served:
            timeout = service.timeout(request)
            image, topk = await _read(service, request, timeout)
            probabilities = await served.predict([image], timeout)
            result = served.results(probabilities, topk)[0]
        categories = [
            {"id": i, "name": served.label(i), "score": score}
            for i, score in zip(result["class_ids"], result["scores"])
        ]
        return {
            "logId": request.state.log_id,
            "errorCode": 0,
            "errorMsg": "Success",
            "result": {"categories": categories},
        }

    return router


async def _read(
    service: Service, request: Request, timeout: float
) -> "tuple[bytes, Optional[int]]":
    """The image and `topk` of a request."""
    topk = parse_topk(request.query_params.get("topk"))
    body = await service.read_body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        image, of_form = await _read_form(request, body)
        return image, of_form or topk
    if kind.startswith("image/") or kind == "application/octet-stream":
        return body, topk
    message = await service.in_thread(parse_message, ClassificationRequest, body)
    return await service.image_from_text(message.image, timeout), message.topk or topk


async def _read_form(request: Request, body: bytes) -> "tuple[bytes, Optional[int]]":
    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=2, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BadRequest(f"the form cannot be read: {error}") from None
    try:
        images = form.getlist("image") + form.getlist("file")
        if len(images) != 1 or not isinstance(images[0], UploadFile):
            raise Unprocessable("the form needs exactly one file, in the field 'image'")
        topk = form.get("topk")
        return await images[0].read(), parse_topk(topk if isinstance(topk, str) else None)
    finally:
        await form.close()
