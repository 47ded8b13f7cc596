"""qrerun, qhold, qrls, qsig and qmgr, as far as the recordings need them."""

import sys

from pbssim.wire import Away, ask, complain, put

ACTIONS = {"qrerun": "rerun", "qhold": "hold", "qrls": "release"}


def main(program: str, argv: list[str]) -> int:
    """Run one of them; returns its exit code."""
    if program == "qmgr":
        return _send(program, {"argv": argv, "command": argv[-1]})
    action = argv[1] if program == "qsig" else ACTIONS[program]
    operands = argv[2:] if program == "qsig" else argv
    codes = [_send(program, {"argv": argv, "action": action, "operand": operand}) for operand in operands]
    return max(codes, default=2)


def _send(program: str, request: dict[str, object]) -> int:
    try:
        answer = ask(program, request)
    except Away as away:
        complain(str(away))
        return away.code
    put(answer.get("print", ""))
    code = 0
    for text, number in answer.get("refused", []):
        complain(f"{program}: {text}" if program != "qmgr" else _managed(request, text))
        code = number
    return code


def _managed(request: dict[str, object], text: str) -> str:
    """qmgr names the object (and the server's error number, which is only known of the one that was recorded)."""
    if text != "Cannot delete busy object":
        return f"qmgr: {text}"
    return (
        f"qmgr obj={str(request['command']).split()[-1]} svr=default: {text}\nqmgr: Error (15027) returned from server"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
