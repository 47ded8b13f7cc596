"""Commands with bounds, on real processes."""

import os
import signal
import sys

import pytest
import trio

from gateway.backends.processes import GRACE, OutputTooLong, run_command

PYTHON = (sys.executable, "-I", "-S", "-c")


async def run(program, **options):
    return await run_command((*PYTHON, program), environment=options.pop("environment", {}), **options)


async def test_input_output_and_exit_code():
    program = "import sys; print(sys.stdin.read()[::-1]); print('err', file=sys.stderr); sys.exit(3)"
    answer = await run(program, stdin=b"abc")
    assert (answer.returncode, answer.stdout, answer.stderr) == (3, "cba\n", "err\n")
    assert answer.words == "err"


async def test_the_environment_is_what_it_is_given():
    answer = await run("import os; print(os.environ['A'], 'HOME' in os.environ, os.getcwd())", environment={"A": "1"})
    assert answer.stdout == "1 False /\n"
    assert answer.words == "1 False /"


async def test_words_of_a_command_without_words():
    assert (await run("raise SystemExit(4)")).words == "exit code 4"


async def test_much_input_that_is_not_read_and_bytes_that_are_no_text():
    answer = await run(r"import os; os.write(1, b'\xff\n')", stdin=b"x" * 2**20)
    assert answer.stdout == "\ufffd\n"


async def test_much_output_both_ways():
    answer = await run(
        "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('e' * 300000)", stdin=b"x" * 2**20
    )
    assert len(answer.stdout) == 2**20
    assert len(answer.stderr) == 300000


async def test_a_command_that_does_not_exist():
    with pytest.raises(FileNotFoundError):
        await run_command(("/no/such/command",), environment={})


@pytest.mark.parametrize("stream", [1, 2])
async def test_output_that_exceeds_a_limit_is_not_kept(stream):
    program = f"import os\nwhile True: os.write({stream}, b'x' * 4096)"
    with pytest.raises(OutputTooLong, match="more than 5000 bytes"):
        await run(program, max_output=5000)
    assert len((await run("print('x' * 4999)", max_output=5000)).stdout) == 5000


async def test_a_deadline_ends_the_whole_process_group():
    # A pipe that the command and its child hold open: it ends when both have.
    reader, writer = os.pipe()
    started = []

    async def wait_started(scope):
        await trio.lowlevel.wait_readable(reader)
        started.append(await trio.to_thread.run_sync(os.read, reader, 10))
        scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_started, nursery.cancel_scope)
            path = f"/proc/{os.getpid()}/fd/{writer}"
            program = (
                f"import os, signal; f = os.open({path!r}, os.O_WRONLY); os.fork(); os.write(f, b'x'); signal.pause()"
            )
            await run(program)
    finally:
        os.close(writer)
        # The end of the pipe: nobody holds its other end any more.
        with trio.fail_after(30):
            while await trio.to_thread.run_sync(os.read, reader, 10):
                pass
        os.close(reader)
    assert started


async def test_a_background_process_with_the_output_does_not_count(autojump_clock):
    program = "import os, time; pid = os.fork(); print(pid or '') if pid else time.sleep(600)"
    answer = await run(program)
    assert answer.returncode == 0
    assert trio.current_time() == pytest.approx(GRACE)
    os.kill(int(answer.stdout.split()[0]), signal.SIGKILL)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_process_that_cannot_be_killed_is_left_behind(monkeypatch, autojump_clock):
    real = os.killpg
    spared = []

    def refuse(pid, number):
        spared.append(pid)
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "killpg", refuse)
    with trio.move_on_after(1) as scope:
        await run("import signal; signal.pause()")
    assert scope.cancelled_caught
    real(spared[0], signal.SIGKILL)
    await trio.to_thread.run_sync(os.waitpid, spared[0], 0)
