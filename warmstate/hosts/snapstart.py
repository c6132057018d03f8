"""SnapStart: the process waits to be snapshot, and wakes as one of many clones."""

from __future__ import annotations

import os

from warmstate.errors import TransportError
from warmstate.lifecycle.events import Init
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import init_error_request, restore_error_request, restore_next_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.hosts.transport import NativeTransport
    from warmstate.instance import Instance
    from warmstate.lifecycle.marker import Claim

__all__ = ["pass_through_snapshot"]

_BEFORE_SNAPSHOT_EXIT = 64
_AFTER_RESTORE_EXIT = 65
_RESTORE_LIMIT = 10.0  # seconds for the hooks after a restore


def pass_through_snapshot(transport: NativeTransport, instance: Instance, claimed: Claim) -> None:
    """
    Run the hooks before the snapshot, block in restore/next across it, and begin anew in the clone.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html; exit codes as awslambdaric 4.2.2.

    Raises:
        TransportError: the platform has no restore/next.
    """
    try:
        instance.before_snapshot()
    except BaseException as error:  # noqa: BLE001 - hooks of the user
        failure = failure_from(error)
        failure.error_type = "Runtime.BeforeSnapshotError"
        transport.post(init_error_request(failure))
        os._exit(_BEFORE_SNAPSHOT_EXIT)
    claimed.write("snapshot")
    reply = transport.get(restore_next_request())
    if reply.status != 200:
        raise TransportError(f"The Runtime API answered {reply.status} to restore/next: {reply.body[:200]!r}")
    transport.close()  # the other end of this connection stayed with the snapshot
    claimed.renew()
    try:
        instance.after_restore(Init("restore", 1, None, _RESTORE_LIMIT, claimed.fence))
    except BaseException as error:  # noqa: BLE001 - hooks of the user
        failure = failure_from(error)
        failure.error_type = "Runtime.AfterRestoreError"
        transport.post(restore_error_request(failure))
        os._exit(_AFTER_RESTORE_EXIT)
