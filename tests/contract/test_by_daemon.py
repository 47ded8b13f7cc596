"""The contract where the launcher's daemon acts as the users: those parts of it that the launcher has a hand in.

On PBS, which is simulated everywhere; the daemon beside a real Slurm is tested in `tests/slurm` and `tests/systemd`.
"""

import pytest
from attrs import evolve

from tests.contract.backends import pbs
from tests.contract.test_driver_contract import (  # noqa: F401 - run by pytest
    cluster,
    test_a_cancelled_submission_is_found_again_or_was_never_made,
    test_a_failure_is_explained_with_exit_code_and_log,
    test_jobs_run_as_their_user_with_their_environment_and_secrets,
    test_logs_are_kept_until_they_are_not_wanted,
    test_the_working_directory_is_the_cluster_s,
)
from tests.support.launcher_daemon import gateway_of, open_daemon
from tests.support.users import ensure_dask, is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="submits jobs of other users")]


@pytest.fixture
def bench(tmp_path):
    ensure_dask()
    with pbs(tmp_path) as bench, open_daemon("gateway = dask\ngroups = dask_users", commands=()) as daemon:
        backend = evolve(bench.backend, impersonation="socket", launcher_socket=daemon.path)
        with gateway_of("dask"):
            yield evolve(bench, backend=backend, open_driver=backend.open_driver)
