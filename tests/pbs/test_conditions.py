"""What the tests say when they cannot run on a real PBS; a simulation stands for it."""

from pathlib import Path

from tests.pbs.conditions import lacking
from tests.pbs.simulation import Simulation


def test_nothing_is_lacking_with_a_history_and_an_operator(simulation: Simulation) -> None:
    assert list(lacking(simulation.bin)) == []


def test_settings_that_are_lacking_are_told_with_their_commands(users: tuple[str, ...]) -> None:
    with Simulation.start(history=False, operators=["root"]) as pbs:
        history, operator = lacking(pbs.bin)
    assert "job_history_enable = True" in history
    assert "operators += dask@*" in operator


def test_too_little_room_is_told(users: tuple[str, ...]) -> None:
    with Simulation.start(ncpus=20) as pbs:
        (text,) = lacking(pbs.bin, patience=5)
        assert "only 20 of 21 jobs" in text
        assert "ncpus" in text


def test_a_folder_without_the_commands_is_told(users: tuple[str, ...]) -> None:
    (text,) = lacking(Path("/nowhere/bin"))
    assert "PBS_EXEC is the folder above bin" in text


def test_a_server_that_does_not_answer_is_told_in_its_words(simulation: Simulation) -> None:
    with simulation.away():
        (text,) = lacking(simulation.bin)
    assert "cannot connect to server pbs" in text
