"""How processes end, in words that are the same whoever has run them (pure)."""

import signal

#: Behind an exit code of 127, which is a shell's own.
COMMAND_NOT_FOUND = " (a command was not found: is the environment activated?)"


def killed_by(number: int) -> str:
    """What a signal has done: `killed by signal 9 (SIGKILL)`; a real-time signal has no name."""
    try:
        return f"killed by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"killed by signal {number}"
