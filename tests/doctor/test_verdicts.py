"""Verdicts on sudo's rules, on what a job tells, and on what became of it."""

import json

import pytest

from gateway.auth.oidc.discovery import Metadata
from gateway.backends.commands import Answer
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.doctor import clock, kerberos, pam
from gateway.doctor.jupyterhub import api_verdict as hub_verdict
from gateway.doctor.jupyterhub import token_verdict
from gateway.doctor.oidc import verdict as issuer_verdict
from gateway.doctor.probe import api_verdict, python_verdict, same_verdict, told, version_of
from gateway.doctor.sudo_rules import Allowed, allowed, rule_verdict
from gateway.doctor.trial import answer_verdict, freshness_verdict, name_verdict
from gateway.doctor.wishes import asked
from gateway.models import Role

LAUNCHER = "/opt/dask-gateway/venv/bin/dask-gateway-jobqueue-launcher"
HEAD = "User dask may run the following commands on login1:\n"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", None),
        (f"    (%dask_users, !root) NOPASSWD: {LAUNCHER}\n", Allowed(groups=("dask_users",), except_root=True)),
        (f"    (alice, bob : ALL) NOPASSWD: /bin/x, {LAUNCHER}\n", Allowed(users=("alice", "bob"), except_root=True)),
        (f"    (ALL) SETENV: NOPASSWD: {LAUNCHER}\n", Allowed(everybody=True)),
        (f"    (root) NOPASSWD: {LAUNCHER}\n", Allowed()),
        ("    (ALL : ALL) NOPASSWD: ALL\n", Allowed(everybody=True, any_command=True)),
        (f"    (%dask_users) {LAUNCHER}\n", None),  # with a password
        ("    (%dask_users) NOPASSWD: /other\n", None),
    ],
)
def test_rules_of_sudo(rules, expected):
    assert allowed(HEAD + rules, LAUNCHER) == expected


@pytest.mark.parametrize(
    ("rule", "status", "words"),
    [
        (None, "failed", "lists no rule"),
        (Allowed(any_command=True), "warning", "any command"),
        (Allowed(everybody=True), "warning", "as root"),
        (Allowed(users=("ann",), groups=("dask_users",), except_root=True), "ok", "the group dask_users, ann"),
        (Allowed(except_root=True), "ok", "as some"),
    ],
)
def test_how_wide_a_rule_is(rule, status, words):
    found = rule_verdict(rule, "dask", LAUNCHER)
    assert found.status == status
    assert words in found.evidence


def test_sudos_own_words_are_told():
    found = rule_verdict(None, "dask", LAUNCHER, 'sudo: The "no new privileges" flag is set\n')
    assert "sudo says: sudo: The" in found.evidence


SAID = {"python": "3.11", "dask": "1", "distributed": "1", "dask-gateway": "2", "bokeh": "3", "host": "n1"}


def test_what_a_job_tells_is_found_in_its_log():
    log = f"noise\ndask-gateway-doctor: {{\ndask-gateway-doctor: 1\ndask-gateway-doctor: {json.dumps(SAID)}\nmore"
    assert told(log) == SAID
    assert told("dask-gateway-" + '"doctor: "') is None
    assert version_of("dask worker, version 2026.8.0\n") == "2026.8.0"
    assert version_of("no such command") == ""


def test_what_its_python_has():
    assert python_verdict(SAID, {"dask": "0", "distributed": "1"}).evidence.endswith("on n1; here dask 0")
    assert python_verdict({**SAID, "bokeh": ""}, {}).status == "warning"
    found = python_verdict({**SAID, "dask-gateway": ""}, {})
    assert (found.status, "dask-gateway not installed" in found.evidence) == ("failed", True)
    assert "here" not in python_verdict(SAID, {}).evidence
    assert same_verdict(SAID, "1").status == "ok"
    assert same_verdict({}, "9").status == "ok"
    assert same_verdict(SAID, "9").status == "failed"


def test_whether_it_reached_the_api():
    assert api_verdict(SAID).status == "skipped"
    assert api_verdict({**SAID, "url": "http://a/api", "api": ""}).status == "ok"
    assert api_verdict({**SAID, "url": "http://a/api", "api": "No route to host"}).status == "failed"


def test_what_became_of_a_submission():
    assert answer_verdict("a", "sbatch", Answer(0, "5\n\n", "")).status == "ok"
    assert answer_verdict("a", "sbatch", Answer(0, "5\nhello\n", "")).status == "warning"
    assert answer_verdict("a", "sbatch", Answer(0, "5\n", "hello\n")).status == "warning"
    assert name_verdict("sbatch", "5", "ours", "ours").status == "ok"
    assert name_verdict("sbatch", "5", "", "ours").status == "failed"
    assert "the job theirs" in name_verdict("sbatch", "5", "theirs", "ours").evidence


@pytest.mark.parametrize(
    ("seconds", "looks", "has_run", "status"),
    [
        (0.5, 1, True, "ok"),
        (20.0, 9, True, "warning"),
        (None, 2, True, "ok"),
        (None, 9, True, "failed"),
        (None, 9, False, "failed"),
    ],
)
def test_how_fresh_the_queue_is(seconds, looks, has_run, status):
    assert freshness_verdict(seconds, 30.0, looks, has_run=has_run).status == status


def test_what_is_asked_is_what_a_site_makes_of_it():
    config = SlurmClusterConfig(partition="main", directives_skip=("--mem",), extra_args=("--licenses=matlab",))
    arguments = asked(Slurm(), config, Role.WORKER)
    assert {"--partition=main", "--licenses=matlab"} <= set(arguments)
    assert not any(argument.startswith("--mem") for argument in arguments)


def test_keys_for_the_names_that_people_use():
    principals = ["HTTP/gateway.example@REALM", "dask@REALM"]
    for names, certain, status in (
        (["gateway.example"], True, "ok"),
        (["Gateway.example", "other.example"], True, "failed"),
        (["host"], False, "warning"),
    ):
        assert kerberos.keytab_verdict(principals, "HTTP", names, are_certain=certain).status == status
    assert "of nobody" in kerberos.keytab_verdict([], "HTTP", ["a"], are_certain=True).evidence


def test_clocks_and_passwords():
    assert [clock.verdict(state).status for state in (0, 5, -1)] == ["ok", "warning", "skipped"]
    assert clock.state() >= -1
    assert pam.verdict("a", None, False, "dask").status == "warning"
    assert {pam.verdict("a", needs, True, "dask").status for needs in (None, True, False)} == {"ok"}


def test_issuers():
    whole = Metadata("https://i", "https://i/keys", "https://i/auth", "https://i/token")
    assert issuer_verdict("https://i", whole, 2, wants_login=True).status == "ok"
    assert issuer_verdict("https://i", whole, 0, wants_login=True).status == "failed"
    assert issuer_verdict("https://i", Metadata("https://i", "https://i/keys"), 1, wants_login=True).status == "failed"


@pytest.mark.parametrize(
    ("status", "model", "service", "verdict"),
    [
        (403, {}, "gateway", "failed"),
        (200, {"kind": "user", "name": "ann"}, "gateway", "failed"),
        (200, {"kind": "service", "name": "other"}, "gateway", "failed"),
        (200, {"kind": "service", "name": "gateway", "scopes": ["read:users"]}, "gateway", "ok"),
        (200, {"kind": "service", "name": "gateway"}, "", "ok"),
    ],
)
def test_tokens_of_the_hub(status, model, service, verdict):
    assert token_verdict(status, model, service).status == verdict


def test_hubs():
    assert hub_verdict("http://127.0.0.1:8081/hub/api", 200, "5.0").status == "ok"
    assert hub_verdict("http://[fd00::1]:8081/hub/api", 200, "5.0").status == "warning"
    assert hub_verdict("https://hub/hub/api", 200, None).status == "failed"
    assert hub_verdict("https://hub/hub/api", 404, "5.0").status == "failed"
