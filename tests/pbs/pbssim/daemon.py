"""The daemon: connections of users, controls of the tests, and faults.

    python daemon.py DIRECTORY '{"settings": {...}, "timing": {...}}'

prints `ready` when both sockets listen: `server.sock` for everybody and
`control.sock` for the owner of the daemon. A control is one of

    {"set": {"history": false, ...}}    Settings and Timing fields, and `next`: the next job's number
    {"faults": {"hang": {"qdel": 1}}}   fields of Faults
    {"away": true | false}              the server stops or starts; jobs go on
    {"crash": true}                     the server is killed: as away, and ids go on at the next thousand
    {"force": {"id": ..., "state": ...}}  attributes of a job
    {"calls": true}                     what was asked so far: [[program, user, arguments], ...]
    {"stop": true}                      kill all jobs and exit
"""

import asyncio
import collections
import json
import os
import pwd
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pbssim.attributes import attributes_of
from pbssim.deleting import Crash, delete
from pbssim.errors import Refused
from pbssim.jobs import Request
from pbssim.manager import manage, print_server
from pbssim.mom import ProcessMom
from pbssim.pbsnodes import print_nodes
from pbssim.server import Server
from pbssim.settings import Settings, Timing
from pbssim.wire import COMMON, SEEN

TABLE = {"Job_Name", "Job_Owner", "resources_used", "job_state", "queue"}


@dataclass
class Faults:
    """What goes wrong on purpose, and the limits of the machine."""

    deaths: dict[str, list[str]] = field(default_factory=dict)  # program → how its next calls end (wire.py: DEATHS)
    hang: dict[str, int] = field(default_factory=dict)  # program → how many of its next calls get no answer
    ports: int = 900  # reserved ports
    ports_each: int = 3  # taken by one connection of qstat
    ports_other: int = 1  # taken by another command, however many ids it is given
    linger: float = 60.0  # seconds until a port is free again
    qstat_pause: float = 0.2  # a user's second qstat within a second sleeps so long


class Daemon:
    """Both sockets and what stands behind them."""

    def __init__(self, home: Path, options: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.home = home
        self.faults = Faults()
        self.mom = ProcessMom(home, loop)
        self.server = Server(
            Settings(**options.get("settings", {})), Timing(**options.get("timing", {})), self.mom, loop.call_later
        )
        self.stopped = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._ports: collections.deque[float] = collections.deque()
        self._last_status: dict[str, float] = {}
        self._calls: list[tuple[str, str, list[str]]] = []

    async def listen(self) -> None:
        """Accept users."""
        path = self.home / "server.sock"
        path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._serve_user, path, limit=1 << 26, backlog=1000)
        path.chmod(0o666)

    async def _serve_user(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        try:
            user = pwd.getpwuid(uid).pw_name
            request = json.loads(await reader.readline())
            program = request["program"]
            self._calls.append((program, user, request.get("argv", [])))
            if self.faults.hang.get(program, 0) > 0:
                self.faults.hang[program] -= 1
                await reader.read()  # until the client gives up
                return
            if deaths := self.faults.deaths.get(program):
                writer.write(json.dumps({"death": deaths.pop(0)}).encode() + b"\n")
                await writer.drain()
                return
            await self._take_ports(program)
            answer = self._answer(user, program, request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            return
        finally:
            writer.close()

    def _answer(self, user: str, program: str, request: dict[str, Any]) -> dict[str, Any]:
        """Dispatch; a refusal becomes `refused`: [[text, code], ...]."""
        server = self.server
        try:
            if program == "qsub":
                return {"id": server.submit(user, Request(**request["job"]))}
            if program == "qstat":
                jobs = server.status(user, request["operand"], **request["options"])
                wanted = None if request["full"] else TABLE
                found = [(job.id, attributes_of(job, server.settings.host)) for job in jobs]
                if wanted:
                    found = [(job, [entry for entry in each if entry[0] in wanted]) for job, each in found]
                return {"jobs": found, "now": int(time.time()), "pause": self._pause(user)}
            if program == "qselect":
                return {"ids": server.select(user=user, **request["options"])}
            if program == "qdel":
                refusals = delete(server, user, request["operands"], **request["options"])
                return {"refused": [[refusal.text, refusal.code] for refusal in refusals]}
            if program == "pbsnodes":
                return {"print": print_nodes(server.settings)}
            if program == "qmgr":
                command = request["command"]
                return (
                    {"print": print_server(server.settings)}
                    if command == "print server"
                    else self._manage(user, command)
                )
            server.operate(user, request["action"], request["operand"])
        except Refused as refusal:
            return {"refused": [[refusal.text, refusal.code]], "pause": 0, "now": int(time.time())}
        except Crash as crash:
            return {"crash": str(crash)}
        return {}

    def _manage(self, user: str, command: str) -> dict[str, Any]:
        """One command of qmgr, if it is one of those that were recorded."""
        if user not in ("root", pwd.getpwuid(os.getuid()).pw_name):
            return {"refused": [["Unauthorized Request ", 159]]}
        refusal = manage(self.server, command)
        self.server.schedule()
        return {"refused": [[refusal, 1]]} if refusal else {}

    def _pause(self, user: str) -> float:
        last, self._last_status[user] = self._last_status.get(user, 0.0), time.time()
        return self.faults.qstat_pause if int(last) == int(self._last_status[user]) else 0.0

    async def _take_ports(self, program: str) -> None:
        """A connection takes reserved ports that stay in TIME_WAIT; when they run out, it waits."""
        taken = self.faults.ports_each if program == "qstat" else self.faults.ports_other
        if not taken:
            return
        now = time.monotonic()
        while self._ports and self._ports[0] <= now:
            self._ports.popleft()
        if len(self._ports) + taken > self.faults.ports:
            await asyncio.sleep(self._ports[0] - now if self._ports else self.faults.linger)
        self._ports.extend([time.monotonic() + self.faults.linger] * taken)

    async def serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control of the tests."""
        try:
            request, answer = json.loads(await reader.readline()), {}
            for name, value in request.get("set", {}).items():
                self._set(name, value)
            for name, value in request.get("faults", {}).items():
                if name == "deaths":
                    _check_deaths(value)
                setattr(self.faults, name, value)
            if "force" in request:
                changes = request["force"]
                self.server.force(changes.pop("id"), **changes)
            if (request.get("away") is True or "crash" in request) and self._listener is not None:
                self._listener.close()
                self._listener = None
                if "crash" in request:
                    self.server.crash()
                self.server.leave()
            elif request.get("away") is False and self._listener is None:
                await self.listen()
                self.server.come_back()
            if "calls" in request:
                answer["calls"] = self._calls
            if "stop" in request:
                self.stopped.set()
            self.server.schedule()
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        finally:
            writer.close()

    def _set(self, name: str, value: Any) -> None:
        if name == "history":
            self.server.set_history(value)
        elif name == "next":
            self.server.next = value
        else:
            target = self.server.settings if hasattr(self.server.settings, name) else self.server.timing
            setattr(target, name, value)

    async def run(self) -> None:
        """Serve until told to stop."""
        control = self.home / "control.sock"
        listener = await asyncio.start_unix_server(self.serve_control, control, limit=1 << 26)
        control.chmod(0o600)
        await self.listen()
        print("ready", flush=True)
        loop = asyncio.get_running_loop()

        def poll() -> None:
            self.server.look_at_limits()
            loop.call_later(self.server.timing.poll, poll)

        poll()
        loop.add_reader(sys.stdin, self.stopped.set)  # nothing is ever sent: the end of whoever started us
        await self.stopped.wait()
        listener.close()
        self.mom.end_all()


def _check_deaths(deaths: dict[str, list[str]]) -> None:
    """Only what was seen is played."""
    for program, kinds in deaths.items():
        unseen = set(kinds).difference(COMMON, SEEN.get(program, ()))
        assert not unseen, f"{program} was not seen to end by {unseen}"


async def main() -> None:
    """Run from the command line."""
    os.umask(0o022)
    await Daemon(Path(sys.argv[1]), json.loads(sys.argv[2]), asyncio.get_running_loop()).run()


if __name__ == "__main__":
    asyncio.run(main())
