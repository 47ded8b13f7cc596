"""Pages for people with a browser: /login, /logout; rendered here, without any script.

They use the sessions of the API: a session that begins here is a cookie for
everything below the gateway's prefix. A form is only taken from a page of our own, which the
browser says with it (request_origin.py).
"""

from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import structlog
from attrs import frozen
from quart import Quart, Response, current_app, g, redirect, render_template, request

from gateway.auth.authenticator import Authenticator, Login
from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.auth.login_state import MAX_AGE, LoginState, LoginStates
from gateway.auth.token_text import PREFIX
from gateway.errors import GatewayError, NoAccount, NotFound, Unauthorized
from gateway.web.next_page import next_page

_log = structlog.get_logger()

#: No script, nothing from elsewhere, in nobody's frame.
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
#: Forms lead here, and to where a login leads on: Chromium counts the redirects after a form. (So those that log in
#: elsewhere are links.) In the app's configuration: hosts of dashboards, as a policy names them, or an empty text.
LEADS_TO = "LEADS_TO"
#: The endpoints that take forms.
FORMS = frozenset(("log_in", "log_out", "make_token_by_form", "revoke_token_by_form"))


def add_pages(app: Quart, chain: Chain, states: LoginStates, prefix: str) -> None:
    """Add the pages' routes to the app of the API; `prefix` is before the paths that browsers see."""
    pages = _Pages(chain, states, prefix)
    app.get("/")(pages.show_first)
    app.get("/login")(pages.show_login)
    app.post("/login")(pages.log_in)
    app.get("/login/<method>")(pages.begin_login)
    app.get("/login/<method>/callback")(pages.finish_login)
    app.get("/logout")(pages.show_logout)
    app.post("/logout")(pages.log_out)
    app.get("/assets/style.css")(style)


def wants_page() -> bool:
    """Whether this request is a browser's that shows what it gets."""
    return request.method in ("GET", "HEAD", "POST") and "text/html" in request.headers.get("Accept", "").lower()


async def error_page(error: GatewayError, prefix: str) -> Response:
    """An error for somebody with a browser: the way to the login, or a page that says what it is."""
    nameless = isinstance(error, NoAccount)  # whom another login would not help
    if isinstance(error, Unauthorized) and not nameless and request.method in ("GET", "HEAD"):
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        return redirect_to(f"{prefix}/login", next=f"{prefix}{request.path}{query}")
    status = 422 if nameless else _status(error)
    return await rendered(status, "page.html", prefix, title="This did not work", text=str(error))


async def rendered(status: int, template: str, prefix: str, **values: Any) -> Response:
    """A page."""
    html = await render_template(template, prefix=prefix, **values)
    policy = f"{POLICY}; form-action 'self' {current_app.config[LEADS_TO]}".rstrip()
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}
    return Response(html, status, headers, content_type="text/html; charset=utf-8")


async def style() -> Response:
    """The style sheet of all pages."""
    return Response(files("gateway.web").joinpath("style.css").read_bytes(), content_type="text/css")


@frozen
class _Pages:
    """The routes, by their functions' names."""

    chain: Chain
    states: LoginStates
    prefix: str

    async def show_first(self) -> Response:
        """What whoever asks for the gateway itself sees."""
        return redirect_to(f"{self.prefix}/tokens")

    async def show_login(self) -> Response:
        """The ways to log in; whoever has a session goes on at once."""
        if self.chain.user_by_cookie(_cookies()) is not None:
            return redirect_to(self._next(request.args.get("next", "")))
        ways = [one for one in self.chain.authenticators if one.logs_in is not Login.NONE and one.login_max_age]
        if len(ways) == 1 and ways[0].logs_in is Login.REDIRECT and "failure" not in request.args:
            return redirect_to(f"{self.prefix}/login/{ways[0].name}", next=self._next(request.args.get("next", "")))
        return await self._login_page(200, next=self._next(request.args.get("next", "")))

    async def log_in(self) -> Response:
        """Log in with a name and a password."""
        form = await request.form
        name, password, next_ = form.get("name", ""), form.get("password", ""), self._next(form.get("next", ""))
        way = self._way(form.get("method", ""), Login.FORM)
        try:
            if password.startswith(PREFIX):  # else it would go to whoever checks passwords
                raise Unauthorized("A personal token is for programs: log in here with your password")
            await self._begin_session(way, name, lambda: way.check_password(name, password))
        except GatewayError as error:
            return await self._login_page(_status(error), next=next_, name=name[:256], failure=str(error))
        return redirect_to(next_)

    async def begin_login(self, method: str) -> Response:
        """Go to another server to log in, or let the browser answer the challenge."""
        way, next_ = self._way(method, Login.REDIRECT, Login.CHALLENGE), self._next(request.args.get("next", ""))
        if way.logs_in is Login.CHALLENGE:
            return await self._answer_challenge(way, next_)
        step = await way.begin_login(self._callback(way))
        response = redirect_to(step.url)
        value = self.states.write(LoginState(way.name, next_, step.remembered))
        response.headers.add("Set-Cookie", self._state_cookie(value, MAX_AGE))
        return response

    async def finish_login(self, method: str) -> Response:
        """Back from another server."""
        way = self._way(method, Login.REDIRECT)
        state = self.states.read(request.cookies.get(self._cookie_name, ""))
        if state is None or state.method != way.name:
            text = "This login has expired, or began in another browser. Log in again."
            return await self._login_page(403, next=self._next(""), failure=text)
        query = {name: value for name, value in request.args.items() if len(value) <= 4000}
        try:
            await self._begin_session(way, "", lambda: way.finish_login(self._callback(way), query, state.remembered))
        except GatewayError as error:
            response = await self._login_page(_status(error), next=self._next(state.next), failure=str(error))
        else:
            response = redirect_to(self._next(state.next))
        response.headers.add("Set-Cookie", self._state_cookie("", 0))
        return response

    async def show_logout(self) -> Response:
        """A button; a link alone, which any page may have, ends no session."""
        user = self.chain.user_by_cookie(_cookies())
        return await rendered(200, "logout.html", self.prefix, user=user)

    async def log_out(self) -> Response:
        """End the session."""
        await self.chain.end_session(_cookies())
        response = redirect_to(f"{self.prefix}/logout")
        response.headers.add("Set-Cookie", self.chain.sessions.removal(secure=request.scheme == "https"))
        return response

    async def _answer_challenge(self, way: Authenticator, next_: str) -> Response:
        try:
            await self._begin_session(way, "", lambda: way.authenticate(request))
        except Unauthorized as error:
            response = await self._login_page(
                401, next=next_, failure=f"Your browser could not log in {way.login_label}. {error}"
            )
            response.headers.add("WWW-Authenticate", error.challenge or way.challenge)
            return response
        return redirect_to(next_)

    async def _begin_session(self, way: Authenticator, claimed: str, how: Any) -> Identity:
        address, secure = request.remote_addr or "", request.scheme == "https"
        identity: Identity = await self.chain.log_in(way, address, claimed, how, secure=secure)
        g.identity = identity
        _log.info("logged in", user=identity.user.name, method=way.name, address=address)
        return identity

    async def _login_page(self, status: int, **values: Any) -> Response:
        ways = [one for one in self.chain.authenticators if one.login_max_age]
        forms = [one for one in ways if one.logs_in is Login.FORM]
        links = [one for one in ways if one.logs_in in (Login.REDIRECT, Login.CHALLENGE)]
        return await rendered(status, "login.html", self.prefix, forms=forms, links=links, **values)

    def _way(self, name: str, *kinds: Login) -> Authenticator:
        way = self.chain.named(name)
        if way is None or way.logs_in not in kinds or not way.login_max_age:
            raise NotFound(f"There is no login of this kind at {self.prefix}/login")
        return way

    def _next(self, wanted: str) -> str:
        return next_page(wanted, f"{self.prefix}/")

    def _callback(self, way: Authenticator) -> str:
        return f"{request.scheme}://{request.host}{self.prefix}/login/{way.name}/callback"

    @property
    def _cookie_name(self) -> str:
        return f"{self.chain.sessions.cookie_name}-login"

    def _state_cookie(self, value: str, max_age: int) -> str:
        secure = "; Secure" if request.scheme == "https" else ""
        return (
            f"{self._cookie_name}={value}; Max-Age={max_age}; Path={self.prefix}/login; HttpOnly; SameSite=Lax{secure}"
        )


def _cookies() -> str:
    """All cookies of the request; HTTP/2 may have a header for each."""
    return "; ".join(request.headers.getlist("Cookie"))


def _status(error: GatewayError) -> int:
    """Not 401: that would have the browser ask for a password by itself."""
    return 403 if error.status == 401 else error.status


def redirect_to(location: str, **query: str) -> Response:
    """An answer that sends a browser on (303), maybe with a query."""
    if query:
        location = f"{location}?{urlencode(query)}"
    response: Response = redirect(location, 303)  # type: ignore[assignment]
    return response
