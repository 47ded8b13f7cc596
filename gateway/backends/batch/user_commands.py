"""Batch commands that act for a user: what is asked of the launcher, and what its answers are."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from gateway.backends.base import ClusterRef, LogText
from gateway.backends.batch.dialect import Dialect, Submission
from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.backends.commands import Answer
from gateway.backends.launcher.client import AsUsers
from gateway.errors import AnswerLost


@frozen
class UserCommands:
    """Requests to the launcher about clusters, as their users; each command may take `timeout` seconds."""

    launcher: AsUsers
    timeout: float

    async def run(self, cluster: ClusterRef, request: Mapping[str, Any]) -> Answer:
        """Run a batch command. Raises JobRefused, BackendUnavailable or AnswerLost."""
        result = await self.request(cluster, request)
        code, stdout, stderr = result.get("returncode"), result.get("stdout"), result.get("stderr")
        if type(code) is not int or not isinstance(stdout, str) or not isinstance(stderr, str):
            # It is the user's process, and can answer anything.
            raise AnswerLost(f"The launcher's answer for {cluster.username} makes no sense.")
        return Answer(code, stdout, stderr)

    async def request(self, cluster: ClusterRef, request: Mapping[str, Any]) -> dict[str, Any]:
        """Any other request. Raises JobRefused, BackendUnavailable or AnswerLost."""
        where = {"cluster": cluster.name, "staging_directory": directory_of(cluster)}
        return await self.launcher.request(cluster.username, {**where, **request}, seconds=self.timeout)


def log_text(answer: Mapping[str, Any]) -> LogText:
    """What the launcher has read of a log. Raises AnswerLost."""
    text, start, end = answer.get("text"), answer.get("start"), answer.get("end")
    if not isinstance(text, str) or type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise AnswerLost("The launcher's answer about a log makes no sense.")
    return LogText(text=text, start=start, end=end)


def config_of(cluster: ClusterRef) -> JobQueueClusterConfig:
    """The options of a cluster on a batch system. Raises TypeError for any other."""
    if not isinstance(cluster.config, JobQueueClusterConfig):
        raise TypeError(f"clusters of a batch system need a JobQueueClusterConfig, not {type(cluster.config).__name__}")
    return cluster.config


def directory_of(cluster: ClusterRef) -> str:
    """The template of the directory in which the cluster has its own."""
    config = config_of(cluster)
    return config.log_directory or config.staging_directory


def submit_request(dialect: Dialect, path: str, submission: Submission) -> dict[str, Any]:
    """What the launcher is asked for a submission; `path` is that of the submit command, or empty."""
    return {
        "action": "submit",
        "rules": dialect.rules.name,
        "path": path,
        "arguments": submission.arguments,
        "script": submission.script,
        "environment": dict(submission.environment),
        "log": submission.log,
    }
