"""What a request is refused for before its route is asked, and how errors are told: as JSON, or to people as pages."""

import orjson
import structlog
from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from gateway.auth.chain import finished
from gateway.config.site_errors import advice
from gateway.errors import Forbidden, GatewayError, NoAccount, NotFound, NotJson
from gateway.web.pages import FORMS, error_page, wants_page
from gateway.web.request_origin import is_own_form, may_change

_log = structlog.get_logger()


async def check_path() -> None:
    """Let nothing be at a path that only resembles one. Raises `NotFound`."""
    if isinstance(request.routing_exception, RequestRedirect):  # to the same path with or without a slash
        raise NotFound(f"There is nothing at {request.path}")


async def check_declaration() -> None:
    """Take changes as JSON, and forms from our own pages. Raises `NotJson` and `Forbidden`."""
    headers = request.scope["headers"]
    if request.endpoint in FORMS:
        if not is_own_form(headers):
            raise Forbidden("A form is only taken from a browser that says which page it comes from")
    elif request.routing_exception is None and not may_change(request.method, headers):
        raise NotJson("Changes are taken as JSON: send the header Content-Type: application/json")


def add_error_handlers(app: Quart, prefix: str) -> None:
    """Have errors told; `prefix` is before the paths that browsers see."""

    @app.errorhandler(GatewayError)
    async def told(error: GatewayError) -> Response:
        if wants_page():
            return await error_page(error, prefix)
        # Of a 401 the published client shows no text, and other credentials would not help one without an account.
        response = _json(422 if isinstance(error, NoAccount) else error.status, str(error))
        if not isinstance(error, NoAccount):
            for name, value in error.headers:
                response.headers.add(name, value)
        if error.answer_through is not None:
            await finished(error.answer_through(request, response))
        return response

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> Response:
        response = _json(error.code or 500, error.description or error.name)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "www-authenticate"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        hint = advice(error).removeprefix(": ")
        more = {"hint": hint} if hint else {}
        _log.error("an error inside the gateway", method=request.method, path=request.path, **more, exc_info=error)
        return _json(500, "An error inside the gateway; its log has the details")


def _json(status: int, sentence: str) -> Response:
    return Response(orjson.dumps({"error": sentence}), status, content_type="application/json")
