"""qstat: one connection an operand, and its traps with several of them."""

import getopt
import sys
import time
from typing import Any

from pbssim import formats
from pbssim.wire import Away, ask, complain, put, server_name

USAGE = """\
usage:\x20
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format | -w] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user] [-n] [-s] [-G|-M] [-1] [-w]
	[ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version"""


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code, which is that of its last error."""
    if argv == ["--version"]:
        put("pbs_version = 23.06.06\n")
        return 0
    try:
        pairs, operands = getopt.getopt(argv, "fJptxEF:wD:au:")
    except getopt.GetoptError as error:
        complain(f"qstat: {error}\n{USAGE}")
        return 2
    options = dict(pairs)
    if "-u" in options and "-f" in options:
        complain(f"qstat: conflicting options.\n{USAGE}")
        return 2
    style = options.get("-F", "text").lower() if "-f" in options else "table"
    request = {
        "argv": argv,
        "full": "-f" in options,
        "options": {"history": "-x" in options, "subjobs": "-t" in options, "arrays": "-J" in options},
    }
    return _print(style, request, operands or [""])


def _print(style: str, request: dict[str, Any], operands: list[str]) -> int:
    code, printed_json = 0, False
    if style == "json":
        put(formats.json_head(server_name(), int(time.time())))
    for number, operand in enumerate(operands):
        try:
            answer = ask("qstat", {**request, "operand": operand})
        except Away as away:
            if style == "json":
                put(formats.JSON_TAIL)
            complain(str(away))
            return away.code
        time.sleep(answer.get("pause", 0) if number == 0 else 0)
        for text, number_ in answer.get("refused", []):
            complain(f"qstat: {text}")
            code = number_ or code
        jobs = answer.get("jobs", [])
        if style == "json" and jobs and not printed_json:
            printed_json = True  # the trap: only the first operand that finds anything is printed
            put(formats.json_jobs(jobs))
        elif style == "table" and jobs:
            put(formats.HEADER if number == 0 else "")  # the trap: no header unless the first operand is printed
            put("".join(formats.row_of(job, attributes) for job, attributes in jobs))
        elif style in ("text", "dsv"):
            render = formats.text_of if style == "text" else formats.dsv_of
            put("".join(render(job, attributes) for job, attributes in jobs))
    if style == "json":
        put(formats.JSON_TAIL)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
