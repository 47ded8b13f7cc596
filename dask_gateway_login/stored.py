"""What a login leaves behind: a file for the client, and one that renews the login; readable by their owner alone.

The client's is read by dask with its other files of configuration, the later
ones in the order of their names winning, so it has a name that comes after `gateway.yaml`.
What renews a login is kept elsewhere, as dask may hand its configuration on to other processes.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dask_gateway_login.device_flow import Login

Settings = dict[str, dict[str, Any]]

_HEAD = "# Written by python -m dask_gateway_login, which writes it anew at each login. Whoever has the token is you.\n"


def client_settings(login: Login, *, fresh: bool, ca: str = "") -> Settings:
    """What dask is told of a login; `fresh`: the client asks this package for a token each time."""
    if fresh:
        own = {"ca": os.path.abspath(ca)} if ca else {}
        auth = {"type": "dask_gateway_login.FreshTokenAuth", "kwargs": own}
    else:
        auth = {"type": "jupyterhub", "kwargs": {"api_token": login.access_token}}
    return {"gateway": {"address": login.gateway, "auth": auth}}


class Stored:
    """The files below a folder, as a rule ~/.config."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path.home() / ".config"
        self.client_file = folder / "dask" / "gateway_login.yaml"
        self.logins_file = folder / "dask-gateway-login" / "logins.json"

    def find(self, url: str) -> Login | None:
        """The login to the gateway that this URL is of, if there is one."""
        fitting = [login for login in self._read() if _is_below(url, login.gateway)]
        return max(fitting, key=lambda login: len(login.gateway), default=None)

    def keep(self, login: Login, settings: Settings) -> None:
        """Store a login, and what the client is told of it."""
        self.remember(login)
        _write(self.client_file, f"{_HEAD}{json.dumps(settings, indent=2)}\n")  # JSON is YAML, too

    def remember(self, login: Login) -> None:
        """Store what renews a login; of a gateway there is one."""
        self._write([*(one for one in self._read() if one.gateway != login.gateway), login])

    def forget(self, url: str) -> bool:
        """Remove the login to this gateway, and the client's file. Whether there was one."""
        logins = self._read()
        left = [login for login in logins if login.gateway != url.rstrip("/")]
        if len(left) == len(logins):
            return False
        self._write(left)
        self.client_file.unlink(missing_ok=True)
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While nobody else renews a login: some issuers take it for theft when a refresh token comes twice."""
        _make_folder(self.logins_file.parent)
        with open(os.open(self.logins_file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600), "w") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self) -> list[Login]:
        try:
            return [Login(**login) for login in json.loads(self.logins_file.read_text())]
        except (OSError, ValueError, TypeError):  # none yet, or of another version
            return []

    def _write(self, logins: list[Login]) -> None:
        _write(self.logins_file, json.dumps([login.to_json() for login in logins], indent=2))


def _is_below(url: str, gateway: str) -> bool:
    return url == gateway or url.startswith(f"{gateway}/")


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(file: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone from the beginning. Raises OSError."""
    _make_folder(file.parent)
    number, name = tempfile.mkstemp(
        dir=file.parent, prefix=f".{file.name}.", suffix=".new"
    )  # 0600, and dask reads no .new
    try:
        with open(number, "w") as new:
            new.write(text)
            new.flush()
            os.fsync(number)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
