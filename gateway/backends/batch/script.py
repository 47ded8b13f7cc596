"""A job's script: shebang, environment, setup lines, then the command in place of the shell (pure).

The batch system hands the script to `#!/bin/bash -l` unless a site says
otherwise. Everything that comes from outside is quoted, but for the setup
lines, which are shell on purpose, and the variables in the site's commands. Variables are set before the setup so that
it may build on them, and after the login shell's profile so that it does not
overwrite them.

The first line after the shebang is a command, on purpose: batch systems read
their directives (`#SBATCH`, `#PBS`) from the comments before it, and a setup
text should not be able to hold any. It is `true`, since OpenPBS's qsub takes a
line that begins with `:` for no command and reads on.

The second line leaves a mark in the job's log. A login shell reads its profile
first, which may end it (`exit 0`) or replace it (`exec`), and then nothing but
the lack of that mark tells why a job ended without having done anything.
"""

import re
import shlex
from collections.abc import Iterator, Mapping

from attrs import field, frozen

from gateway.backends.batch.dialect import LogWords
from gateway.backends.commands import FALLBACKS, with_fallback
from gateway.backends.tracebacks import STARTED
from gateway.config.structure import ShellWord

_ORDINARY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# bash refuses to set these, and the shell's own work would change with IFS.
_OWN_NAMES = frozenset(("BASHOPTS", "BASH_VERSINFO", "EUID", "GROUPS", "IFS", "PPID", "SHELLOPTS", "UID"))

_PORTS = """\
ports=
for port in $(shuf -i {first}-{last}); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports="$ports $port"
  set -- $ports
  [ $# -lt 3 ] || break
done
if [ $# -lt 3 ]; then
  echo "Fewer than three free ports from {first} to {last} on $(hostname)." >&2
  exit 1
fi
"""


@frozen(kw_only=True)
class JobScript:
    """What a script is made of.

    `job_variable` is an environment variable that is set in jobs only.
    `index_variable` is the environment variable that holds the index within
    an array; the words `name` and that index, with a dash between, are then
    the last argument. `ports` are the first and last port of which a
    scheduler takes three free ones. `environment` may hold secrets where the
    script is the best place for them.
    """

    shebang: str
    command: tuple[str, ...]
    job_variable: str
    setup: str = ""
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    name: str = ""
    index_variable: str = ""
    ports: tuple[int, int] | None = None


def render_script(script: JobScript) -> str:
    """The text of the script."""
    exports, env = _environment(script.environment)
    setup = script.setup.replace("\r\n", "\n")
    return "".join(
        (
            f"{script.shebang}\ntrue\n",
            # Jobs only: what reads a script elsewhere is not told.
            f'[ -z "${{{script.job_variable}-}}" ] || echo {shlex.quote(STARTED)}\n',
            *exports,
            # The empty line ends a setup whose last line asks for one more (a backslash).
            f"{setup}\n\n" if setup.strip() else "",
            _PORTS.format(first=script.ports[0], last=script.ports[1]) if script.ports else "",
            *_exec_lines(script.command[0], " ".join(["", *_arguments(script)]), env),
        )
    )


def _environment(variables: Mapping[str, str]) -> tuple[list[str], str]:
    """Lines that set these variables, and the command that sets those whose names are none to a shell."""
    odd = [name for name in variables if not _ORDINARY_NAME.fullmatch(name) or name in _OWN_NAMES]
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items() if name not in odd]
    prefix = "".join(f" {shlex.quote(f'{name}={variables[name]}')}" for name in odd)
    return exports, f"env --{prefix} " if prefix else ""


def _arguments(script: JobScript) -> Iterator[str]:
    """The command's arguments, as words of a shell."""
    yield from map(_word, script.command[1:])
    if script.index_variable:
        yield f'{shlex.quote(script.name)}-"${{{script.index_variable}}}"'
    if script.ports is not None:
        yield from ("--port", '"$1"', "--dashboard-address", ':"$2"', "--dg-api-address", '0.0.0.0:"$3"')


#: How the kernel and shells say that they could not begin with the script.
_NOT_BEGUN = r"bad interpreter|execve\(\)"

PROFILE_HINT = (
    "the job ended before its first command: does a profile (~/.bash_profile, ~/.profile, ~/.bashrc, /etc/profile.d) "
    "end the shell, with exit or exec?"
)


def profile_hint(end: str, log: str, words: LogWords) -> str:
    """A hint at the user's profile, if a job seems to have ended before its script; else an empty text.

    `end` is how the job ended, in the words of the batch system's dialect; `log` is its whole log.
    """
    by_itself = re.search(words.by_itself, end) is not None
    begun = STARTED in log or re.search(f"{_NOT_BEGUN}|{words.not_begun}", log)
    return PROFILE_HINT if by_itself and not begun else ""


def _exec_lines(program: str, arguments: str, env: str) -> tuple[str, ...]:
    """The last lines: the program takes the shell's place. The rule of backends/commands.py, with the job's path."""
    last = f"exec {env}{_word(program)}{arguments}\n"
    if program.rpartition("/")[2] not in FALLBACKS:
        return (last,)
    fallback, *words = with_fallback((program,), lambda _: None)
    instead = " ".join(_word(word) for word in (type(program)(fallback), *words))
    return f"command -v {_word(program)} >/dev/null || exec {env}{instead}{arguments}\n", last


def _word(word: str) -> str:
    """One word for the shell; a tilde at its start is the home of the job's user.

    A variable alone stands for as many words as it holds, since that is how arguments are handed on ($ARGUMENTS).
    """
    if isinstance(word, ShellWord) and ShellWord.VARIABLE.fullmatch(word):
        return str(word)
    home, rest = ('"$HOME"', word[1:]) if word == "~" or word.startswith("~/") else ("", word)
    if not isinstance(word, ShellWord):
        return home + (shlex.quote(rest) if rest or not home else "")
    parts, end = [home], 0
    for variable in ShellWord.VARIABLE.finditer(rest):
        before = rest[end : variable.start()]
        # In quotes: whatever the variable holds, it is a part of this word.
        parts += shlex.quote(before) if before else "", f'"{variable[0]}"'
        end = variable.end()
    return "".join((*parts, shlex.quote(rest[end:]) if rest[end:] else ""))
