"""Which modules PAM runs for a service, by the files of /etc/pam.d (pam.conf(5)), and what is wrong with them; pure.

A service without a file gets the rules of the service `other`, which on many
systems are those of the console: nobody would notice. A service whose rules
check nothing lets everybody in as anybody. Both are found here, before the
first login.
"""

import re
from collections.abc import Callable, Iterator

from attrs import frozen

#: Modules that check no password: they pass, refuse, count, or prepare something.
_NAMES_WITHOUT_CHECK = """
    access cap debug deny echo env exec faildelay faillock group issue keyinit limits lastlog localuser loginuid mail
    motd namespace nologin permit pwhistory rootok securetty selinux sepermit setquota shells succeed_if systemd tally
    tally2 time timestamp tty_audit umask usertype warn wheel
"""
_CHECK_NOTHING = frozenset(f"pam_{name}.so" for name in _NAMES_WITHOUT_CHECK.split())
_UNIX = "pam_unix.so"
#: Files within files.
_DEEPEST = 32


@frozen
class Rule:
    """One line of a service: the kind ("auth", "account", ...) and the module that is run, without its folder."""

    kind: str
    module: str


class NoSuchService(Exception):
    """There is no file of this name; PAM would use the rules of `other`."""

    def __init__(self, service: str) -> None:
        super().__init__(service)
        self.service = service


def rules_of(service: str, read: Callable[[str], str | None]) -> list[Rule]:
    """The rules of a service in their order, those of included files among them.

    `read` returns the text of a service's file, or None when there is none. Raises `NoSuchService`.
    """
    return list(_rules(service, read, "", 0))


def _rules(service: str, read: Callable[[str], str | None], only: str, depth: int) -> Iterator[Rule]:
    """Those of one kind `only`, unless it is empty."""
    text = read(service)
    if text is None:
        raise NoSuchService(service)
    for words in _lines(text):
        if words[0].lower() == "@include" and len(words) > 1:
            included, kind = words[1], only
        else:
            kind, control, module = _parts(words)
            if not module or (only and kind != only):
                continue
            if control not in ("include", "substack"):
                yield Rule(kind, module.rpartition("/")[2])
                continue
            included = module
        if depth < _DEEPEST:
            yield from _rules(included, read, kind, depth + 1)


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line that says something; a line that ends in a backslash goes on in the next one."""
    for line in text.replace("\\\n", " ").split("\n"):
        words = re.findall(r"\[[^]]*\]|\S+", line.partition("#")[0])
        if words:
            yield words


def _parts(words: list[str]) -> tuple[str, str, str]:
    """Kind, control and module of a line; a dash before the kind only means that the module may be missing."""
    kind, control, module = [*words, "", ""][:3]
    return kind.removeprefix("-").lower(), control.lower(), module


def weakness(rules: list[Rule], *, is_root: bool) -> str:
    """Why these rules let in whoever asks, as the end of a sentence about them; empty when they do not."""
    checks = {rule.module for rule in rules if rule.kind == "auth"}
    if not checks:
        return "has no line that begins with auth, for which PAM then uses the service 'other'"
    if not any(rule.kind == "account" for rule in rules):
        return "has no line that begins with account, for which PAM then uses the service 'other'"
    if checks <= _CHECK_NOTHING:
        return f"checks no password: its auth lines have only {', '.join(sorted(checks))}"
    if is_root and "pam_rootok.so" in checks:
        return "has pam_rootok.so, which lets in whoever asks a gateway that runs as root"
    return ""


def needs_shadow(rules: list[Rule]) -> bool | None:
    """Whether passwords are checked against /etc/shadow: True when nowhere else, None when elsewhere as well."""
    checks = {rule.module for rule in rules if rule.kind == "auth"} - _CHECK_NOTHING
    if _UNIX not in checks:
        return False
    return True if checks == {_UNIX} else None
