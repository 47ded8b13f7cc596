"""A PBS to test with: `qsub`, `qstat`, `qselect`, `qdel` and a daemon that runs jobs as processes.

A real OpenPBS cannot be installed everywhere that the tests run. This one
answers as recordings of a real OpenPBS 23.06 show (tests/data/pbs), its traps
included; `tests/pbs/test_conformance.py` holds it to them. What was not
recorded it should refuse rather than guess. Python's standard library is all
it needs.

    <dir>/bin/qsub ...      small programs, as in PBS_EXEC/bin  qsub.py qstat.py qselect.py qdel.py qoper.py pbsnodes.py
         │ one JSON request a connection, the user told by SO_PEERCRED     wire.py
    <dir>/server.sock
         │
    daemon.py               connections, controls, faults (away, hung, dying, no ports left)
    server.py               the jobs: what requests and events do to them
    deleting.py             qdel of several ids, with its traps
    settings.py             what an administrator would set, and how long things take
    mom.py                  a job's process: environment, output, signals
    jobs.py                 one job, its id, its resources, its states
    limits.py               on how many jobs may be queued
    manager.py              qmgr: `print server`, and the commands that were recorded
    attributes.py           a job as the attributes that PBS prints
    formats.py              attributes as table, text, dsv, JSON
    errors.py               refusals: message and exit code

The programs find their server by their own place, so nothing need be in their
environment (sudo empties it). `simulation.py`, beside this package, starts
and stops one in a new directory; several run side by side.
"""
