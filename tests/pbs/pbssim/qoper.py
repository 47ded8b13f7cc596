"""qrerun, qhold, qrls, qsig and qmgr, as far as the recordings need them."""

import re
import sys

from pbssim.wire import Away, ask, complain, put

ACTIONS = {"qrerun": "rerun", "qhold": "hold", "qrls": "release"}


def main(program: str, argv: list[str]) -> int:
    """Run one of them; returns its exit code."""
    if program == "qmgr":
        return _send(program, {"argv": argv, "print": argv[-1] == "print server", "set": _settings(argv[-1])})
    action = argv[1] if program == "qsig" else ACTIONS[program]
    operands = argv[2:] if program == "qsig" else argv
    codes = [_send(program, {"argv": argv, "action": action, "operand": operand}) for operand in operands]
    return max(codes, default=2)


def _settings(command: str) -> dict[str, str]:
    match = re.fullmatch(r"set (server|queue (\S+)) (\w+)\s*\+?=\s*(\S+)", command)
    if match is None:
        return {}
    return {f"{match[2]}.{match[3]}" if match[2] else match[3]: match[4]}


def _send(program: str, request: dict[str, object]) -> int:
    try:
        answer = ask(program, request)
    except Away as away:
        complain(f"Connection refused\n{away}")
        return away.code
    put(answer.get("print", ""))
    code = 0
    for text, number in answer.get("refused", []):
        complain(f"{program}: {text}")
        code = number
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
