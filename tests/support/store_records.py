"""Records to store."""

from typing import Any

from gateway.models import ClusterRecord, JobId, Role, SubmissionRecord


def a_cluster(name: str = "one", **changes: Any) -> ClusterRecord:
    fields = {
        "name": name,
        "username": "alice",
        "token": "token-of-" + name,
        "tls_cert": "-----BEGIN CERTIFICATE-----\n",
        "tls_key": "key-of-" + name,
        "options": {"size": "large"},
        "config": {"worker_cores": 2, "environment": {"A": "b"}},
        "start_time": 1_700_000_000_000,
        **changes,
    }
    return ClusterRecord(**fields)


def a_submission(cluster: str = "one", group: str = "w1", **changes: Any) -> SubmissionRecord:
    fields = {"role": Role.WORKER, "count": 2, "jobs": (JobId("7_0"), JobId("7_1")), **changes}
    return SubmissionRecord(cluster=cluster, group=group, **fields)
