"""The launcher's daemon for tests: one conversation with it, or the whole of it as a process of root's."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from gateway.backends.launcher import conversation
from gateway.backends.launcher.children import fork
from gateway.backends.launcher.identity import Account

START = """
import os, sys
from gateway.backends.launcher import daemon
try:
    daemon.start(os.environ, os.getpid(), sys.argv[1])
except daemon.CannotStart as error:
    sys.exit(str(error))
"""


@contextmanager
def being(account):
    """Have the kernel take us for this account; for root, who can come back."""
    os.seteuid(pwd.getpwnam(account).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def converse(connection, user, request):
    """Say who is meant and what is to be done; all that is answered."""
    with connection:
        try:
            connection.sendall(user.encode("utf-8", "surrogateescape") + b"\n" + request)
            connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # the answer says why
        answered = bytearray()
        try:
            while piece := connection.recv(65536):
                answered += piece
        except ConnectionResetError:
            pass
    return bytes(answered)


def answer_of_daemon(request, settings_path="/nowhere/launcher.conf"):
    """The answer in a conversation that becomes nobody else: what a test has patched holds there as well."""
    ours, theirs = socket.socketpair()
    with pytest.MonkeyPatch.context() as patch, theirs:
        patch.setattr(conversation, "find_account", lambda name, policy: Account(name, os.getuid(), os.getgid(), ()))
        patch.setattr(conversation, "become", lambda account, no_new_privileges: None)
        keeper = fork(partial(conversation.keep, theirs, settings_path))
    answered = converse(ours, "alice", request)
    os.waitpid(keeper, 0)
    return {key: value for key, value in json.loads(answered).items() if key != "away"}


class RunningDaemon:
    """A daemon at work. Whatever `folder` holds is root's; the site's own commands of these names are there."""

    def __init__(self, folder, commands, process):
        self.folder = folder
        self.commands = commands
        self.path = str(folder / "launcher.sock")
        self.pid = process.pid
        self.process = process

    def allow(self, policy):
        """Have another policy."""
        write_settings(self.folder, policy, self.commands)

    def command(self, name, script):
        """Make a batch command, and return its path."""
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}")
        file.chmod(0o755)
        return str(file)

    def connect(self, account="dask"):
        """A connection as this account has it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        with being(account):
            connection.connect(self.path)
        return connection

    def ask(self, user, *, account="dask", **request):
        """The answer to a request as this user."""
        answered = converse(self.connect(account), user, json.dumps(request).encode())
        return json.loads(answered.strip().split(b"\n")[-1])

    def conversations(self):
        """The processes of its conversations."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def stop(self):
        """End it as systemd does; its exit code."""
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def folder_of_root():
    """A folder that root alone can change, and everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-launcherd-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_settings(folder, policy, commands):
    """Root's settings, with a policy, and the files of a folder as the commands of these names."""
    listed = "".join(f"{name} = {folder}/{name}\n" for name in commands)
    (folder / "launcher.conf").write_text(f"[policy]\n{policy}\n[commands]\n{listed}")
    return folder / "launcher.conf"


@contextmanager
def open_daemon(policy, *, commands=("sbatch", "scancel")):
    """A daemon with a policy, as root, at a socket that everybody may connect to."""
    with folder_of_root() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "launcher.sock"))
        os.chmod(folder / "launcher.sock", 0o666)
        listener.listen(100)
        process = start_daemon(write_settings(folder, policy, commands), listener)
        running = RunningDaemon(folder, commands, process)
        try:
            yield running
            if process.poll() is None:
                assert running.stop() == 0
        finally:
            process.kill()
            process.communicate()


def start_daemon(settings, *listeners, user=None):
    """Start it as systemd does, with the sockets from number 3 on."""
    handing = " ".join(f"{number}<&{listener.fileno()}" for number, listener in enumerate(listeners, 3))
    script = f'LISTEN_PID=$$ LISTEN_FDS={len(listeners)} exec "$@" {handing}'
    return subprocess.Popen(
        ["/bin/bash", "-c", script, "-", sys.executable, "-c", START, str(settings)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        user=user,
        pass_fds=[listener.fileno() for listener in listeners],
    )


@contextmanager
def gateway_of(account="dask"):
    """Have this process, which is root's, connect to Unix sockets as a gateway of this account would."""

    async def open_unix_socket(path):
        await trio.lowlevel.checkpoint()
        connection = socket.socket(socket.AF_UNIX)
        with being(account):
            connection.connect(path)
        return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio, "open_unix_socket", open_unix_socket)
        yield
