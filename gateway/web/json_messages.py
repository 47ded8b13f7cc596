"""What routes read and say: JSON."""

from collections.abc import Mapping
from typing import Any

import orjson
from quart import Response, request

from gateway.config.structure import shown
from gateway.errors import BadRequest, InvalidRequest


def json_answer(status: int, body: Any = None) -> Response:
    """An answer with this body; none has no body."""
    return Response(b"" if body is None else orjson.dumps(body), status, content_type="application/json")


async def json_object() -> Mapping[str, Any]:
    """The body of the request. Raises `BadRequest` for what is no object."""
    try:
        body = orjson.loads(await request.get_data())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The request body is a JSON {type(body).__name__}, expected an object")
    return body


def count_in(values: Mapping[str, Any], field: str, most: int) -> int:
    """A number of a body. Raises `InvalidRequest` for anything but an integer from 0 to `most`."""
    value = values.get(field)
    if type(value) is int and 0 <= value <= most:
        return value
    raise InvalidRequest(f"Field {field!r} is {shown(value)}, expected a non-negative integer up to {most}")
