"""A real MIT Kerberos server of our own, for two realms that trust each other; nothing of this machine's is touched.

EXAMPLE.TEST is the gateway's realm. alice and bob are in it, and an alice in
OTHER.TEST who is somebody else. Passwords are names. The service of the
gateway is HTTP/localhost, so that its URL has to say localhost.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

REALM, OTHER_REALM = "EXAMPLE.TEST", "OTHER.TEST"
_PACKAGES = {
    "krb5kdc": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kdb5_util": "krb5-kdc",
    "kinit": "krb5-user",
    "curl": "curl",
}
_PATH = f"{os.environ['PATH']}:/usr/sbin"

_CLIENTS = """
[libdefaults]
  default_realm = EXAMPLE.TEST
  dns_canonicalize_hostname = false
  dns_lookup_kdc = false
  dns_lookup_realm = false
  rdns = false
  udp_preference_limit = 1
  default_rcache_name = file2:{directory}/{replays}
[realms]
  EXAMPLE.TEST = {{
    kdc = 127.0.0.1:{port}
    {rules}
  }}
  OTHER.TEST = {{
    kdc = 127.0.0.1:{port}
  }}
"""
_SERVERS = """
[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = 127.0.0.1:0
[realms]
  EXAMPLE.TEST = {{
    database_name = {directory}/example
    key_stash_file = {directory}/example.stash
  }}
  OTHER.TEST = {{
    database_name = {directory}/other
    key_stash_file = {directory}/other.stash
  }}
[logging]
  default = FILE:{directory}/kdc.log
"""
MECHANISMS = {"krb5": "1.2.840.113554.1.2.2", "spnego": "1.3.6.1.5.5.2"}


def why_not():
    """What is missing for a Kerberos server, and for its clients; empty when nothing is."""
    missing = {package for program, package in _PACKAGES.items() if not shutil.which(program, path=_PATH)}
    if missing:
        return f"needs Kerberos (apt-get install {' '.join(sorted(missing))})"
    modules = [name for name in ("gssapi", "kerberos") if importlib.util.find_spec(name) is None]
    return (
        f"needs Kerberos for Python (pip install -e '.[test-kerberos]': no {' and '.join(modules)})" if modules else ""
    )


needs_kerberos = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


class Kdc:
    """A running server. `environment` leads whoever has it to this one, `keytab` has the keys of HTTP/localhost."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.port = 0
        self.keytab = self.directory / "http.keytab"
        self.environment = {
            "KRB5_CONFIG": str(self.directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.directory}/nobody",
        }

    def run(self, *command, said="", wrapper=(), environment=None):
        """What a program prints that finds this server."""
        done = subprocess.run(
            [*wrapper, *command],
            input=said.encode(),
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": _PATH, **self.environment, **(environment or {})},
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def administer(self, *commands, realm=REALM):
        """Run commands of kadmin."""
        self.run("kadmin.local", "-r", realm, said="".join(f"{command}\n" for command in commands))

    def new_keytab(self, name, *principals):
        """A keytab with new keys of these, whose old keys are good no more."""
        path = self.directory / name
        for principal in principals:
            self.administer(f"addprinc -randkey {principal}", f"ktadd -k {path} {principal}")
        return path

    def log_in(self, principal):
        """The environment of somebody who has just got a ticket. Passwords are names, up to a / or an @."""
        words = re.findall(r"[A-Za-z]+", principal)
        environment = {"KRB5CCNAME": f"FILE:{self.directory}/cache-of-{'-'.join(words)}"}
        self.run("kinit", principal, said=f"{words[0]}\n", environment=environment)
        return self.environment | environment

    def token(self, who, mechanism="krb5", service="HTTP@localhost"):
        """What a client of the service sends first; `who` is from `log_in`. `KRB5_CONFIG` has to be set here."""
        import gssapi

        return gssapi.SecurityContext(
            usage="initiate",
            name=gssapi.Name(service, gssapi.NameType.hostbased_service),
            mech=gssapi.OID.from_int_seq(MECHANISMS[mechanism]),
            flags=[gssapi.RequirementFlag.mutual_authentication],
            creds=gssapi.Credentials(usage="initiate", store={"ccache": who["KRB5CCNAME"]}),
        ).step()

    def write_krb5_conf(self, name, *, rules="", replays="replay-cache"):
        """The path of a krb5.conf with these rules for names in the realm EXAMPLE.TEST."""
        path = self.directory / name
        path.write_text(_CLIENTS.format(directory=self.directory, port=self.port, rules=rules, replays=replays))
        return str(path)


@contextmanager
def run_kdc(directory):
    """A server as long as the body runs."""
    kdc = Kdc(directory)
    kdc.write_krb5_conf("krb5.conf")
    (kdc.directory / "kdc.conf").write_text(_SERVERS.format(directory=directory))
    for realm in (REALM, OTHER_REALM):
        kdc.run("kdb5_util", "create", "-s", "-r", realm, "-P", "master")
    trust = f"addprinc -pw trust krbtgt/{REALM}@{OTHER_REALM}"
    kdc.administer("addprinc -pw alice alice", "addprinc -pw bob bob", "addprinc -pw root root", trust)
    kdc.administer("addprinc -pw alice alice", trust, realm=OTHER_REALM)
    kdc.new_keytab("http.keytab", "HTTP/localhost")
    command = [shutil.which("krb5kdc", path=_PATH), "-n", "-r", REALM, "-r", OTHER_REALM]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ, **kdc.environment}, cwd=kdc.directory
    )
    try:
        assert b"starting" in process.stderr.readline(), (kdc.directory / "kdc.log").read_text()  # it listens
        kdc.port = _port_of(process.pid)
        kdc.write_krb5_conf("krb5.conf")
        yield kdc
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _port_of(pid):
    """The TCP port at which a process listens."""
    sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in sockets and fields[3] == "0A":  # LISTEN
            return int(fields[1].partition(":")[2], 16)
    raise AssertionError("krb5kdc listens nowhere")
