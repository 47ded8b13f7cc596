"""The rules of PAM services, as they stand in /etc/pam.d."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.pam.stack import NoSuchService, Rule, needs_shadow, rules_of, weakness

DEBIAN = {
    "dask-gateway": "# who\n@include common-auth\naccount required pam_nologin.so\n@include common-account\n",
    "common-auth": "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\tpam_deny.so\n"
    "auth required pam_permit.so\nauth optional pam_cap.so\n",
    "common-account": "account [success=1 new_authtok_reqd=done] pam_unix.so\naccount requisite pam_deny.so",
}
RHEL = {
    "dask-gateway": "auth substack password-auth\naccount required pam_nologin.so\naccount include password-auth\n",
    "password-auth": "auth required pam_env.so\nauth sufficient pam_unix.so nullok\n-auth sufficient pam_sss.so \\\n"
    "  forward_pass\nauth required pam_deny.so\naccount required pam_unix.so\nsession required pam_limits.so\n",
}


def modules(files: dict[str, str], kind: str) -> list[str]:
    return [rule.module for rule in rules_of("dask-gateway", files.get) if rule.kind == kind]


def test_what_debian_has() -> None:
    assert modules(DEBIAN, "auth") == ["pam_unix.so", "pam_deny.so", "pam_permit.so", "pam_cap.so"]
    assert modules(DEBIAN, "account") == ["pam_nologin.so", "pam_unix.so", "pam_deny.so"]


def test_what_red_hat_has() -> None:
    assert modules(RHEL, "auth") == ["pam_env.so", "pam_unix.so", "pam_sss.so", "pam_deny.so"]
    assert modules(RHEL, "account") == ["pam_nologin.so", "pam_unix.so"]
    assert modules(RHEL, "session") == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("AUTH Required /lib/security/pam_unix.so", Rule("auth", "pam_unix.so")),
        ("auth [success=1  default=ignore] pam_sss.so # the directory", Rule("auth", "pam_sss.so")),
        ("auth", None),
        ("auth required", None),
        ("@include", None),
        ("", None),
    ],
)
def test_a_line(line: str, rule: Rule | None) -> None:
    assert rules_of("a", {"a": line}.get) == ([rule] if rule else [])


def test_a_service_without_a_file() -> None:
    with pytest.raises(NoSuchService) as missing:
        rules_of("dask-gateway", {}.get)
    assert missing.value.service == "dask-gateway"
    with pytest.raises(NoSuchService) as missing:
        rules_of("a", {"a": "auth include b"}.get)
    assert missing.value.service == "b"


def test_files_that_include_each_other_come_to_an_end() -> None:
    files = {"a": "auth required pam_unix.so\n@include b", "b": "auth include a"}
    rules = rules_of("a", files.get)
    assert set(rules) == {Rule("auth", "pam_unix.so")}
    assert len(rules) < 40


ACCOUNT = "\naccount required pam_unix.so"


@pytest.mark.parametrize(
    ("text", "is_root", "reason"),
    [
        ("auth required pam_unix.so" + ACCOUNT, True, ""),
        (ACCOUNT, False, "no line that begins with auth"),
        ("auth required pam_unix.so", False, "no line that begins with account"),
        ("auth required pam_env.so\nauth sufficient pam_permit.so" + ACCOUNT, False, "only pam_env.so, pam_permit.so"),
        ("auth sufficient pam_rootok.so\nauth required pam_unix.so" + ACCOUNT, True, "pam_rootok.so"),
        ("auth sufficient pam_rootok.so\nauth required pam_unix.so" + ACCOUNT, False, ""),
    ],
)
def test_rules_that_let_anybody_in(text: str, is_root: bool, reason: str) -> None:
    found = weakness(rules_of("a", {"a": text}.get), is_root=is_root)
    assert (reason in found) if reason else found == ""


@pytest.mark.parametrize(
    ("files", "needed"),
    [(DEBIAN, True), (RHEL, None), ({"dask-gateway": "auth required pam_sss.so\naccount required pam_unix.so"}, False)],
)
def test_who_has_to_read_the_file_of_passwords(files: dict[str, str], needed: bool | None) -> None:
    assert needs_shadow(rules_of("dask-gateway", files.get)) is needed


@given(st.text(alphabet="auth cn[]=@-\\\n#\t.s", max_size=200))
def test_any_text_has_rules(text: str) -> None:
    for rule in rules_of("a", lambda service: text):
        assert rule.module


@pytest.mark.parametrize("system", ["Debian", "RHEL"])
def test_the_example_that_is_shipped(system: str) -> None:
    text = (Path(__file__).parents[3] / "deploy" / "pam.d" / "dask-gateway").read_text()
    debian, red_hat = text.split("# RHEL")
    if system == "RHEL":
        lines = [line.removeprefix("#") for line in red_hat.splitlines() if line.startswith(("#auth", "#account"))]
        files = {**RHEL, "dask-gateway": "\n".join(lines)}
    else:
        files = {**DEBIAN, "dask-gateway": debian}
    kinds = [rule.kind for rule in rules_of("dask-gateway", files.get)]
    assert weakness(rules_of("dask-gateway", files.get), is_root=True) == ""
    assert {"auth", "account"} <= set(kinds)
