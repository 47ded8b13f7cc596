"""qsub: options, `#PBS` lines, and what `-v` and `-V` do to a job's variables."""

import getopt
import os
import re
import sys

from pbssim.jobs import parse_range
from pbssim.wire import Away, ask, complain, put

USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
LETTERS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
NO_RERUN_ARRAY = "qsub:  cannot submit non-rerunable Array Job"
LISTS = "lWv"  # options that may be given several times


class Mistake(Exception):
    """qsub refuses before it asks the server."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code."""
    if argv == ["--version"]:
        put("pbs_version = 23.06.06\n")
        return 0
    try:
        answer = ask("qsub", {"argv": argv, "job": _job(argv)})
    except Mistake as mistake:
        complain(str(mistake))
        return mistake.code
    except Away as away:
        complain(str(away))
        return away.code
    for text, code in answer.get("refused", []):
        complain(f"qsub: {text}")
        return int(code)
    put(f"{answer['id']}\n")
    return 0


def _job(argv: list[str]) -> dict[str, object]:
    before, command = argv, None
    if "--" in argv:
        position = argv.index("--")
        before, command = argv[:position], argv[position + 1 :]
    pairs, rest = _pairs(before)
    options = _options(pairs)
    rerun, array = _check_rerun(pairs, "y", False)
    script, name = None, "STDIN"
    if command is None:
        script, name = _script(rest)
        given = set(options)
        for words in _directives(script, options.get("C", ["#PBS"])[-1]):
            found, _ = _pairs(words)
            try:
                # The rerun flag of a command line wins, but `-J` of a directive looks at it all the same.
                kept = [pair for pair in found if pair[0] != "-r" or "r" not in given]
                rerun, array = _check_rerun(kept, rerun, array)
            except Mistake:
                raise Mistake(f"{NO_RERUN_ARRAY}\nqsub: directive error: {' '.join(words)} ", 1) from None
            for letter, values in _options(found).items():
                options.setdefault(letter, values)
    name = options.get("N", [name])[-1]
    if len(name) > 230:
        raise Mistake("qsub: Job name is too long ", 2)
    if not re.fullmatch(r"[A-Za-z0-9_+.-]+", name):
        raise Mistake(f"qsub: illegal -N value\n{USAGE}", 2)
    if "J" in options and not _is_array(options["J"][-1]):
        raise Mistake(f"qsub: illegal -J value\n{USAGE}", 2)
    return {
        "name": name,
        "options": options,
        "arguments": " ".join(argv),
        "script": script,
        "command": command,
        "variables": [*_origin(), *_variables(options)],
        "workdir": os.getcwd(),
    }


def _pairs(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    try:
        return getopt.getopt(argv, LETTERS)
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires" in str(error) else "invalid option"
        raise Mistake(f"qsub: {what} -- '{error.opt}'\n{USAGE}", 2) from None


def _check_rerun(pairs: list[tuple[str, str]], rerun: str, array: bool) -> tuple[str, bool]:
    """The options one by one, as qsub goes through them: `-J` after `-r n`, or `-r n` after `-J`, is refused."""
    for flag, value in pairs:
        if flag == "-r" and value not in ("y", "n"):
            raise Mistake(f"qsub: illegal -r value\n{USAGE}", 2)
        rerun = value if flag == "-r" else rerun
        array = array or flag == "-J"
        if flag in ("-r", "-J") and array and rerun == "n":
            raise Mistake(f"{NO_RERUN_ARRAY}\n{USAGE}", 2)
    return rerun, array


def _options(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for flag, value in pairs:
        if flag[1] in LISTS:
            options.setdefault(flag[1], []).append(value)
        else:
            options[flag[1]] = [value]
    if "W" in options:
        options["W"] = [part for value in options["W"] for part in re.split(r",(?=\w+=)", value)]
    return options


def _is_array(text: str) -> bool:
    """A range of more than one index as it is written: `0-1:2` is one, `0-0` and `0-1,5` are none."""
    indices = parse_range(text.partition("%")[0])
    first, _, last = text.partition("%")[0].partition(":")[0].partition("-")
    return indices is not None and bool(last) and int(last) > int(first)


def _script(rest: list[str]) -> tuple[str, str]:
    if not rest or rest == ["-"]:
        return os.fsdecode(sys.stdin.buffer.read()), "STDIN"
    try:
        with open(rest[0], "rb") as file:
            return os.fsdecode(file.read()), os.path.basename(rest[0])
    except OSError as error:
        raise Mistake(f"qsub: script file:: {error.strerror}", 1) from None


def _directives(script: str, prefix: str) -> list[list[str]]:
    """The words of each line that begins with `prefix`, up to the first command, which `:` and `#!` do not begin."""
    found: list[list[str]] = []
    for line in script.splitlines():
        if prefix and line.lstrip().startswith(prefix):
            found.append(line.lstrip()[len(prefix) :].split())
        elif line.strip() and not line.startswith(":") and not line.lstrip().startswith("#"):
            break
    return found


def _origin() -> list[tuple[str, str]]:
    named = [(f"PBS_O_{name}", os.environ[name]) for name in ("HOME", "LOGNAME", "PATH", "SHELL") if name in os.environ]
    if "HOME" not in os.environ:
        named.insert(0, ("PBS_O_HOME", "/"))
    return [
        *named,
        ("PBS_O_INTERACTIVE_AUTH_METHOD", "resvport"),
        ("PBS_O_INTERACTIVE_ENCRYPT_METHOD", ""),
        ("PBS_O_WORKDIR", os.getcwd()),
        ("PBS_O_SYSTEM", "Linux"),
    ]


def _variables(options: dict[str, list[str]]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for item in (item for value in options.get("v", []) for item in _split(value)):
        name, given, value = item.partition("=")
        if not given:
            if name not in os.environ:
                raise Mistake("qsub: cannot send environment with the job", 1)
            value = _mangled(os.environ[name])
        found[name] = value
    if "V" in options:
        found |= os.environ
    return list(found.items())


def _split(text: str) -> list[str]:
    """`-v`'s argument at commas that are neither quoted nor escaped."""
    items, quote, escaped = [""], "", False
    for letter in text:
        if escaped:
            items[-1] += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        elif letter == "," and not quote:
            items.append("")
        else:
            items[-1] += letter
    return items


def _mangled(value: str) -> str:
    """What becomes of a value that `-v NAME` takes from the environment."""
    quote = ""
    for letter in value:
        if letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
    if quote:
        raise Mistake("qsub: cannot send environment with the job", 1)
    if value.count('"') >= 4 and "," in value:
        raise Mistake("munmap_chunk(): invalid pointer", 134)
    value = value.replace("\\", "\\\\") if "," not in value else value
    return re.sub(r"['\"]", r"\\", value).rstrip(" ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
