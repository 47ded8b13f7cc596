"""What a real OpenPBS was asked and answered is asked again.

Without PBS_EXEC the simulation is asked: it must not drift towards what the
gateway's parser likes. With PBS_EXEC=/opt/pbs a real PBS is, by the same
conversations but for those in `obstacle`. That this can be done with a server
that others use, with other names and numbers, is tested with a simulation
that is treated like a real one.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pbs.conftest import REAL
from tests.pbs.conversation import Player, parse
from tests.pbs.simulation import Simulation, pbssim

CONVERSATIONS = Path(__file__).parent.parent / "data" / "pbs" / "conversations"
NAMES = sorted(path.name for path in CONVERSATIONS.glob("*.txt"))


def steps_of(name: str) -> list:
    """The steps of a conversation, bytes intact."""
    return parse((CONVERSATIONS / name).read_text(errors="surrogateescape"))


def obstacle(name: str) -> str:
    """Why a conversation cannot be had with a server that is not ours; "" when it can."""
    for step in steps_of(name):
        if step.command.startswith(("@away", "@die", "@crash")):
            return "stops the server"
        if step.command.startswith('qmgr -c "set server max_queued'):
            return "limits what all users may submit"
        if step.command.startswith("qmgr") and "job_history_enable" in step.command:
            return "makes the server forget all jobs that have ended"
        if step.command.startswith("qmgr") and "print server" in step.command:
            return "lists the settings of one installation"
    return ""


ELSEWHERE = [
    pytest.param(name, marks=pytest.mark.skip(reason=why)) if (why := obstacle(name)) else name for name in NAMES
]


@pytest.mark.skipif(bool(REAL), reason="a real PBS is asked")
@pytest.mark.parametrize("name", NAMES)
def test_conversation(name: str, directory: Path, simulation: Simulation) -> None:
    with Player(simulation.bin, directory, simulation) as player:
        player.play(steps_of(name))


@pytest.fixture(scope="module")
def elsewhere(users: tuple[str, ...]) -> Iterator[Path]:
    """The commands of a PBS of which nothing is known: the real one, else a simulation with names of its own."""
    if REAL:
        yield Path(REAL) / "bin"
        return
    timing = {"kill": 1.0, "poll": 0.5, "hold": 0.5, "end": 0.4, "delete": 0.9}
    with Simulation.start(server="head01.example.org", timing=timing) as pbs:
        pbs.fault(qstat_pause=0.0, ports=1_000_000)
        pbs.set(next=5000)
        for user in ("alice", "bob"):  # jobs that are none of the conversations' business
            assert Player(pbs.bin, Path("/"), pbs).run(user, "qsub -h -J 0-1 -- /bin/true")[0] == 0
        yield pbs.bin


@pytest.mark.parametrize("name", ELSEWHERE)
def test_conversation_elsewhere(name: str, directory: Path, elsewhere: Path) -> None:
    pause = 0.3 if REAL else 0.05  # a real PBS has not many ports for those who ask
    with Player(elsewhere, directory, None, pause=pause) as player:
        player.play(steps_of(name))


@pytest.mark.parametrize(("code", "shown"), [(0, 0), (3, 1)])
def test_an_array_shows_how_its_last_subjob_ended(
    code: int, shown: int, directory: Path, simulation: Simulation
) -> None:
    """The recordings have this only where several end at once, in any order."""
    script = f"[ $PBS_ARRAY_INDEX = 0 ] && exit {code}; exec sleep 300"
    with Player(simulation.bin, directory, simulation) as player:
        number = player.run("alice", f"qsub -J 0-1 -- /bin/sh -c {shlex.quote(script)}")[1].partition("[")[0]
        player.play(parse(f"@until {number}[0].pbs X"))
        assert f"    Exit_status = {shown}\n" in player.run("alice", f"qstat -f '{number}[].pbs'")[1]


def test_a_shell_that_ends_before_it_is_told_what_to_do() -> None:
    """On a busy machine; its job has started all the same."""
    there, here = os.pipe()
    os.close(there)
    pbssim("mom").feed(os.fdopen(here, "wb"), b"script\n")
