"""A real OpenID provider (npm's oidc-provider) as a process, and somebody who logs in there with a browser.

The provider has the keys of the test, so that tokens can be made which it might
have issued itself. Clients are added while it runs.
"""

import functools
import html
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".node" / "node_modules" / "oidc-provider" / "lib" / "index.js"
PROGRAM = Path(__file__).with_suffix(".mjs")


@functools.cache
def missing() -> str:
    """Why there is no provider here; empty when there is one."""
    if shutil.which("node") is None:
        return "no node on this machine"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().removeprefix("v").partition(".")[0]) < 20:
        return f"node {version.strip()} is too old for oidc-provider, which needs 20"
    return "" if PACKAGE.exists() else "no oidc-provider: npm install --prefix .node oidc-provider@9"


class Provider:
    """A running one; `url` is its issuer's name."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.url = self._answer()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def add_client(self, name: str, **metadata: Any) -> None:
        """Make a client known, or change it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"client_id": name, **metadata}) + "\n")
        self._process.stdin.flush()
        assert self._answer() == name

    def stop(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the provider has ended; its words are above"
        return line.strip()


@contextmanager
def oidc_provider(keys: list[dict[str, Any]], log: Path, port: int = 0) -> Iterator[Provider]:
    """A provider that signs with the first of these private keys (JWKs), as long as the body runs."""
    with log.open("a") as words:
        process = subprocess.Popen(
            ["node", str(PROGRAM), str(PACKAGE), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(keys) + "\n")
            process.stdin.flush()
            yield Provider(process)
        finally:
            if process.poll() is None:
                process.communicate(timeout=20)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows them as browsers do: what is asked for then comes from another site, and from no page of it."""

    def redirect_request(self, request: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        new = super().redirect_request(request, *answer)
        if new is not None:
            new.remove_header("Origin")
            if urllib.parse.urlsplit(request.full_url).netloc != urllib.parse.urlsplit(new.full_url).netloc:
                new.add_header("Sec-fetch-site", "cross-site")
        return new


class Visitor:
    """Somebody with a browser without scripts: it keeps cookies, follows redirects and fills in forms."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies), _Redirects)
        self.url = self.page = ""
        self.status = 0

    def go(self, url: str, form: dict[str, str] | None = None) -> None:
        """Open a page whose address was typed in, or send the form of a page."""
        headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        headers["Sec-Fetch-Site"] = "none" if form is None else "same-origin"
        if form is not None:
            headers["Origin"] = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
        data = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            answer = self._opener.open(urllib.request.Request(url, data, headers), timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.url, self.status, self.page = answer.url, answer.status, answer.read().decode()

    def submit(self, **fields: str) -> None:
        """Send the page's first form, with these fields filled in."""
        action = re.search(r'<form[^>]*action="([^"]*)"', self.page)
        assert action, self.page
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', self.page)
        form = {name: html.unescape(value) for name, value in hidden} | fields
        self.go(urllib.parse.urljoin(self.url, html.unescape(action[1])), form)

    def log_in(self, name: str) -> None:
        """Log in at the provider, which has sent its login page, and agree to what the client wants."""
        self.submit(login=name, password="any")
        if 'name="prompt" value="consent"' in self.page:
            self.submit()
