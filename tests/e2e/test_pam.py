"""PAM as it is: real accounts, wrong passwords, locked, expired, without a password; with the published client."""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway, secrets_in
from tests.support.pam_rig import pam_rig
from tests.support.users import ensure_dask, is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="accounts and PAM services need root")]

CONFIG = """
c.DaskGateway.authenticator_class = "gateway.auth.PAMAuthenticator"
c.PAMAuthenticator.service = {service!r}
"""


@pytest.fixture(scope="module")
def rig():
    with pam_rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def house(rig, tmp_path_factory):
    with open_gateway(tmp_path_factory.mktemp("pam") / "house", CONFIG.format(service=rig.service)) as house:
        yield house
        assert secrets_in(house.log) == []


def asked(house, name, password):
    """Status, challenge and what is said to whoever comes with these."""
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    status, headers, body = house.request("GET", "/api/v1/clusters/", headers=[("Authorization", f"Basic {basic}")])
    said = json.loads(body)
    return status, headers.get("www-authenticate"), said.get("error", "")


def test_the_published_client_computes(house, rig):
    async def compute(gateway):
        async with await gateway.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                return await client.submit(inc, 1)

    # Neither ASCII nor short; the published client sends Latin-1.
    name = rig.add_user("sésame ouvre-toi: la caverne")
    assert house.client(compute, user=name, password="sésame ouvre-toi: la caverne") == 2
    assert "sésame" not in house.log


def test_the_published_client_with_a_wrong_password(house, rig):
    async def count(gateway):
        return len(await gateway.list_clusters())

    name = rig.add_user("right")
    with pytest.raises(ClientFailed, match="401"):
        house.client(count, user=name, password="wrong")
    assert f"user={name}" in house.log
    assert "The user name or the password is wrong" in house.log
    assert "password=wrong" not in house.log
    assert house.client(count, user=name, password="right") == 0


def test_whom_it_does_not_let_in(house, rig):
    wrong = "The user name or the password is wrong"
    cases = [
        (rig.add_user("right"), "Right", wrong),
        (rig.add_user("right"), "right\0more", wrong),
        (rig.add_user("right"), "", "No password was given"),
        ("nobody-like-this", "right", wrong),
        ("x\nroot", "right", wrong),
        (rig.add_user("right", "usermod --lock"), "right", wrong),
        (rig.add_user("right", "passwd --delete"), "anything", wrong),
        (rig.add_user("right", "chage --expiredate 0"), "right", "The account has expired"),
        (rig.add_user("right", "chage --lastday 0"), "right", "The password has expired: change it first"),
        ("root", "anything", "The rules of this machine do not let this user in"),
    ]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda case: asked(house, *case[:2]), cases))
    assert [(status, challenge) for status, challenge, _ in answers] == [(401, "Basic")] * len(cases)
    for (name, _, reason), (_, _, said) in zip(cases, answers, strict=True):
        assert said.startswith(reason), name
    assert "(the machine says: Your account has expired; please contact your system administrator" in answers[7][2]
    assert "right" not in house.log.replace("anything", "")


def test_another_spelling_is_the_same_account(house, rig):
    """Whoever is let in under one name is not somebody else under another."""
    name = rig.add_user("right")
    assert asked(house, name.upper(), "right")[0] == 401  # this machine's own accounts have one spelling
    assert asked(house, name, "right")[0] == 200


def test_the_form(house, rig):
    name = rig.add_user("right", "chage --expiredate 0")
    form = f"method=pam&next=/&name={name}&password=right".encode()
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", "same-origin")]
    status, _, body = house.request("POST", "/login", headers=[*headers, ("Accept", "text/html")], body=form)
    assert (status, b"The account has expired" in body) == (403, True)
    form = form.replace(name.encode(), rig.add_user("right").encode())
    status, headers, _ = house.request("POST", "/login", headers=headers, body=form)
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert house.request("GET", "/api/v1/clusters/", headers=[("Cookie", cookie)])[0] == 200


LOCKS = """
auth    requisite pam_succeed_if.so rhost = 127.0.0.1
auth    required pam_faillock.so preauth dir={dir} deny=2 nodelay
auth    [success=1 default=bad] pam_unix.so nodelay
auth    [default=die] pam_faillock.so authfail dir={dir} deny=2 nodelay
auth    required pam_permit.so
account required pam_unix.so
"""


def test_a_module_that_locks_users_out_is_heard(tmp_path):
    (tmp_path / "tally").mkdir()
    with (
        pam_rig(LOCKS.format(dir=tmp_path / "tally")) as rig,
        open_gateway(tmp_path / "house", CONFIG.format(service=rig.service)) as house,
    ):
        name = rig.add_user("right")
        assert [asked(house, name, password)[0] for password in ("wrong", "wrong", "right")] == [401] * 3
        _, _, said = asked(house, name, "right")
        assert "(the machine says: The account is locked due to 2 failed logins." in said
        assert asked(house, rig.add_user("right"), "right")[0] == 200


def check(folder, config, *, groups=()):
    """What check-config says to the gateway's own account."""
    file = folder / "dask_gateway_config.py"
    file.write_text('c.Proxy.address = "127.0.0.1:0"\n' + config)
    file.chmod(0o644)
    ensure_dask()
    as_dask = ["setpriv", "--reuid=dask", "--regid=dask", f"--groups={','.join(('dask', *groups))}"]
    done = subprocess.run(
        [*as_dask, sys.executable, "-m", "gateway", "check-config", "-f", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def open_folder():
    """A folder that the gateway's own account can read."""
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_is_found_before_the_first_login(open_folder):
    folder = open_folder
    with pam_rig() as rig:
        config = CONFIG.format(service=rig.service)
        code, said = check(folder, config)
        assert code != 0
        assert f"{folder}/dask_gateway_config.py:4" in said
        assert "the gateway's account 'dask' cannot read /etc/shadow" in said
        assert check(folder, config, groups=["shadow"])[0] == 0
    code, said = check(folder, config)
    assert code != 0
    assert f".py:4: c.PAMAuthenticator.service = {rig.service!r}: names {rig.service!r}, for which there is no" in said
