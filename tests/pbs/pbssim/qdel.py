"""qdel: all ids in one request; the exit code is that of the last refusal."""

import getopt
import sys

from pbssim.wire import Away, ask, complain


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        pairs, operands = getopt.getopt(argv, "xW:")
    except getopt.GetoptError:
        operands = []
    if not operands:
        complain("usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version")
        return 2
    options = dict(pairs)
    request = {"operands": operands, "options": {"purge": "-x" in options, "force": options.get("-W") == "force"}}
    try:
        answer = ask("qdel", {"argv": argv, **request})
    except Away as away:
        complain(str(away))
        return away.code
    if "crash" in answer:
        complain(answer["crash"])
        return 134
    code = 0
    for text, number in answer.get("refused", []):
        complain(f"qdel: {text}")
        code = number
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
