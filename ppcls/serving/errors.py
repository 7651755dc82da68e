"""Why a request is not answered, with the HTTP status of each reason."""

from typing import Optional


class RequestError(Exception):
    """The request cannot be answered; the message is for the client."""

    status = 400
    #: Seconds after which to try again.
    retry_after: Optional[int] = None


class BadRequest(RequestError):
    """Cannot be parsed."""


class Unauthorized(RequestError):
    """No key, or a wrong one."""

    status = 401


class Forbidden(RequestError):
    """Asks for what the operator has not enabled."""

    status = 403


class NotFound(RequestError):
    """No such model, version or path."""

    status = 404


class BodyTimeout(RequestError):
    """The body did not arrive in time."""

    status = 408


class TooLarge(RequestError):
    """More bytes, pixels or images than allowed."""

    status = 413


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    status = 415


class Unprocessable(RequestError):
    """Parsed, but a value is wrong or an image is unreadable."""

    status = 422


class Busy(RequestError):
    """The queue is full."""

    status = 429
    retry_after = 1


class Unavailable(RequestError):
    """The server is at its limit or stopping."""

    status = 503
    retry_after = 1


class DeadlineExceeded(RequestError):
    """No answer in time."""

    status = 504
