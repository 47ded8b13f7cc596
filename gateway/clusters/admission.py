"""Room for another cluster, which is counted before anything is made of it.

Where only clusters are in the way that are about to end, as after a notebook
was started anew, their end is waited for a moment.
"""

from collections.abc import Mapping
from typing import Any

import structlog
import trio

from gateway.clusters.ledger import Account, Ledger, LimitReached
from gateway.clusters.quota import Quota, stored_size
from gateway.config.cluster import ClusterConfig
from gateway.errors import InvalidRequest
from gateway.models import User

_log = structlog.get_logger()

#: Seconds that a new cluster waits for the end of others. Batch jobs that are cancelled take some to be seen to end.
PATIENCE = 15.0


async def admit(quota: Quota, ledger: Ledger, user: User, options: Mapping[str, Any], config: ClusterConfig) -> Account:
    """Count a new cluster in the quota and in the ledger; return its account there.

    Raises `InvalidRequest`, and then it is counted nowhere.
    """
    size = stored_size(options)
    try:
        quota.ask(user.name, size)
        account = ledger.account(user.name, user.groups, config)
        try:
            await _open(account)
        except BaseException:
            account.close()
            quota.give_back(user.name, size)
            raise
    except InvalidRequest as error:
        _log.warning("a cluster was refused", user=user.name, reason=str(error))
        raise
    return account


async def _open(account: Account) -> None:
    with trio.move_on_after(PATIENCE):
        while True:
            given_back = trio.Event()
            account.wake = given_back.set
            try:
                account.open()
            except LimitReached as error:
                if not error.passes:
                    raise
            else:
                return
            await given_back.wait()
    account.open()
