"""Tell stories to the machine of a cluster for a while: `python -m tests.fuzz.machine --seconds 600`.

The world and its rules are in tests/clusters/test_machine_rules.py. A story
that fails is shrunk and printed, and ends the program with an error; else it
prints how many stories there were, and how many steps in all.
"""

import argparse
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.clusters.test_machine_rules import MachineRules

#: Stories between two looks at the time, and steps of each at most.
ROUND, STEPS = 200, 80


def main() -> None:
    """Run until the time is up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    end = time.monotonic() + parser.parse_args().seconds
    longer = settings(
        max_examples=ROUND,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    rounds = 0
    while time.monotonic() < end:
        run_state_machine_as_test(MachineRules, settings=longer)
        rounds += 1
    print(f"{rounds * ROUND} stories, {MachineRules.steps} steps, and the machine did what it should in each")


if __name__ == "__main__":
    main()
