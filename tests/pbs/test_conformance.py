"""What a real OpenPBS was asked and answered is asked again.

Without PBS_EXEC the simulation is asked: it must not drift towards what the
gateway's parser likes. With PBS_EXEC=/opt/pbs a real PBS is, by the same
conversations as far as they do not stop its server, switch its settings, or
rely on numbers that only a simulation can promise.
"""

from pathlib import Path

import pytest

from tests.pbs.conftest import REAL
from tests.pbs.conversation import Player, parse
from tests.pbs.simulation import Simulation

CONVERSATIONS = Path(__file__).parent.parent / "data" / "pbs" / "conversations"


def steps_of(name: str) -> list:
    """The steps of a conversation, bytes intact."""
    return parse((CONVERSATIONS / name).read_text(errors="surrogateescape"))


def needs_simulation(name: str) -> bool:
    """True when a conversation controls the server, or prepares jobs by number."""
    for step in steps_of(name):
        word, _, rest = step.command[1:].partition(" ")
        prepares = word in ("alice", "bob") and "qsub" in rest
        if not step.user and (prepares or word in ("away", "root") or rest.startswith("exit")):
            return True
        if step.user == "root" and step.command.startswith("qmgr"):
            return True
    return False


NAMES = sorted(path.name for path in CONVERSATIONS.glob("*.txt"))
ANYWHERE = [name for name in NAMES if not needs_simulation(name)]
SIMULATED = [name for name in NAMES if needs_simulation(name)]


@pytest.mark.parametrize("name", ANYWHERE)
def test_conversation(name: str, directory: Path, request: pytest.FixtureRequest) -> None:
    if REAL:
        Player(Path(REAL) / "bin", directory, None).play(steps_of(name))
    else:
        pbs: Simulation = request.getfixturevalue("simulation")
        Player(pbs.bin, directory, pbs).play(steps_of(name))


@pytest.mark.skipif(bool(REAL), reason="controls the server or its job numbers")
@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_conversation(name: str, directory: Path, simulation: Simulation) -> None:
    Player(simulation.bin, directory, simulation).play(steps_of(name))
