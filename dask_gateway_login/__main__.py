"""python -m dask_gateway_login URL: log in to a Dask gateway with a browser, on this machine or any other."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from dask_gateway_login.device_flow import Login, clean, find_way, log_in, renew
from dask_gateway_login.json_http import JsonHttp, LoginFailed
from dask_gateway_login.stored import Settings, Stored, client_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    stored = Stored()
    try:
        if options.logout:
            was_there = stored.forget(options.url)
            print(f"{'You are logged out of' if was_there else 'You were not logged in to'} {options.url}")
            return 0
        http = JsonHttp(options.ca)
        login = _renewed(http, stored, options) or log_in(http, find_way(http, options.url), _tell)
        _check(http, login)
        settings = client_settings(login, fresh=options.fresh, ca=options.ca)
        stored.keep(login, settings)
    except LoginFailed as error:
        print(clean(str(error)), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The login cannot be stored: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _tell_how_long(login, stored, fresh=options.fresh)
    if not _is_found(settings):
        print(
            "But other settings count for more than this file: look for gateway.address and gateway.auth in the other"
            " files beside it, and for DASK_GATEWAY__* in the environment",
            file=sys.stderr,
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m dask_gateway_login", description=__doc__)
    parser.add_argument("url", help="the gateway's address, such as https://gateway.example")
    parser.add_argument("--new", action="store_true", help="ask for a new login, even if the last one can be renewed")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="have the client ask this package for its token, and renew it; else the token stands in the client's file",
    )
    parser.add_argument("--logout", action="store_true", help="remove what a login has left on this machine")
    parser.add_argument("--ca", default="", metavar="FILE", help="a PEM file of more authorities to trust")
    return parser


def _renewed(http: JsonHttp, stored: Stored, options: Any) -> Login | None:
    """The last login to this gateway with a new token, if that is possible without its user."""
    if options.new or stored.find(options.url.rstrip("/")) is None:
        return None
    with stored.locked():
        login = stored.find(options.url.rstrip("/"))
        try:
            login = None if login is None else renew(http, login)
        except LoginFailed:
            return None
        if login is not None:
            stored.remember(login)
        return login


def _tell(page: str, code: str, page_with_code: str) -> None:
    print(f"Open {page} with a browser, on any machine, and type in the code\n\n    {code}\n")
    if page_with_code:
        print(f"or open {page_with_code}\n")
    print("Waiting until you have logged in there ...", flush=True)


def _check(http: JsonHttp, login: Login) -> None:
    """Whether the gateway takes the token. Raises `LoginFailed` with its reason when it does not."""
    status, answer = http.ask(
        f"{login.gateway}/api/v1/options", headers={"Authorization": f"Bearer {login.access_token}"}
    )
    if status != 200:
        reason = str(answer.get("error") or f"status {status}")
        raise LoginFailed(f"The issuer has let you in, and the gateway at {login.gateway} has not: {reason}")


def _tell_how_long(login: Login, stored: Stored, *, fresh: bool) -> None:
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(login.expires))
    print(f"You are logged in to {login.gateway}: dask_gateway.Gateway() finds that in {stored.client_file}")
    if fresh:
        print("The client renews its token by itself, as long as the issuer lets it")
    elif login.refresh_token:
        print(f"The token is good until {until}; the same command renews it without a browser")
    else:
        print(f"The token is good until {until}; then log in again")


def _is_found(settings: Settings) -> bool:
    """Whether dask, if it is installed here, makes of all its files what was stored."""
    try:
        from dask.config import collect
    except ImportError:
        return not any(name.startswith("DASK_GATEWAY__A") for name in os.environ)
    found = collect().get("gateway") or {}
    return all(found.get(name) == value for name, value in settings["gateway"].items())


if __name__ == "__main__":
    sys.exit(main())
