"""qselect: ids, one a line."""

import getopt
import sys

from pbssim.wire import Away, ask, complain, put


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        pairs, operands = getopt.getopt(argv, "N:P:q:s:u:xTJ")
    except getopt.GetoptError as error:
        complain(f"qselect: {error}")
        return 2
    if operands:
        complain("usage: qselect [-N name] [-P project] [-q destination] [-s states] [-u user_list] [-x] [-T] [-J]")
        return 2
    options = dict(pairs)
    request = {
        "users": [user.partition("@")[0] for user in options.get("-u", "").split(",") if user],
        "states": options.get("-s", ""),
        "name": options.get("-N", ""),
        "queue": options.get("-q", ""),
        "project": options.get("-P", ""),
        "history": "-x" in options,
        "subjobs": "-T" in options,
        "arrays": "-J" in options,
    }
    try:
        answer = ask("qselect", {"argv": argv, "options": request})
    except Away as away:
        complain(str(away))
        return away.code
    code = 0
    for text, number in answer.get("refused", []):
        complain(f"qselect: {text}")
        code = number
    put("".join(f"{job}\n" for job in answer.get("ids", [])))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
