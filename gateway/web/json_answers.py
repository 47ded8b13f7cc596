"""What the routes of the API read and answer: JSON objects."""

from collections.abc import Mapping
from typing import Any

import orjson
from quart import Response, request

from gateway.errors import BadRequest


def json_answer(status: int, body: Any = None) -> Response:
    """An answer in JSON, or without a body."""
    return Response(b"" if body is None else orjson.dumps(body), status, content_type="application/json")


async def json_body() -> Mapping[str, Any]:
    """The object that was sent. Raises `BadRequest` for what is none."""
    try:
        body = orjson.loads(await request.get_data())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The request body is a JSON {type(body).__name__}, expected an object")
    return body


def flag(text: str | None) -> bool:
    """`?wait` and `?wait=1` are true, no `wait`, `?wait=0` and anything that is no number are false."""
    if text is None or text == "":
        return text == ""
    try:
        return int(text) != 0
    except ValueError:
        return False
