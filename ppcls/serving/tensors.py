"""Tensors of the Open Inference Protocol: as JSON, and as the binary data appended to it.

Binary data: the body is JSON, as long as the header `Inference-Header-Content-Length` says, then
the raw little-endian values of each tensor that names its `binary_data_size`. An element of type
BYTES is four bytes of length and its content.
"""

import struct
from typing import Any, Optional

import numpy as np

from ppcls.serving.errors import BadRequest, Unprocessable

LENGTH_HEADER = "Inference-Header-Content-Length"
_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}


def decode_floats(
    name: str, shape: "list[int]", datatype: str, values: Any, raw: Optional[bytes]
) -> np.ndarray:
    """A tensor of numbers as float32, in its shape.

    Args:
        values: a list, nested or flat; unless there is `raw`.
        raw: binary data.

    Raises:
        BadRequest: type, values and shape do not fit.
    """
    if datatype not in _FLOATS:
        raise BadRequest(f"input '{name}': datatype {datatype[:20]}, expected FP32")
    try:
        if raw is not None:
            array = np.frombuffer(raw, _FLOATS[datatype])
        else:
            array = np.array(values, np.float64).ravel()
        # Too large for float32 becomes infinite, which is refused below.
        with np.errstate(over="ignore"):
            array = array.astype(np.float32).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise BadRequest(f"input '{name}': the values do not fit the shape {shape[:8]}") from None
    if not np.isfinite(array).all():
        raise Unprocessable(f"input '{name}': a value is not finite")
    return array


def decode_bytes(name: str, shape: "list[int]", values: Any, raw: Optional[bytes]) -> "list[Any]":
    """The elements of a BYTES tensor: texts of JSON, or the bytes of binary data.

    Raises:
        BadRequest: values and shape do not fit.
    """
    elements = _flatten(values) if raw is None else _split(name, raw)
    if len(elements) != _product(shape):
        raise BadRequest(
            f"input '{name}': {len(elements)} elements do not fit the shape {shape[:8]}"
        )
    if not all(isinstance(element, (str, bytes)) for element in elements):
        raise BadRequest(f"input '{name}': every element of a BYTES tensor must be text")
    return elements


def encode(array: np.ndarray) -> bytes:
    """Binary data of an output; texts as BYTES."""
    if array.dtype == object:
        elements = [element.encode("utf-8") for element in array.ravel()]
        return b"".join(struct.pack("<I", len(element)) + element for element in elements)
    return array.tobytes()


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an output's type."""
    return {"float32": "FP32", "int64": "INT64", "object": "BYTES"}[array.dtype.name]


def _split(name: str, raw: bytes) -> "list[bytes]":
    elements, position = [], 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise BadRequest(f"input '{name}': the binary data ends within an element")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise BadRequest(f"input '{name}': the binary data ends within an element")
        elements.append(raw[position : position + length])
        position += length
    return elements


def _flatten(values: Any) -> "list[Any]":
    if not isinstance(values, list):
        return [values]
    return [element for value in values for element in _flatten(value)]


def _product(shape: "list[int]") -> int:
    product = 1
    for size in shape:
        product *= size
    return product
