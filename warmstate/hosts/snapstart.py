"""SnapStart: the process waits to be snapshot, and wakes as one of many clones."""

from __future__ import annotations

from warmstate.errors import TransportError
from warmstate.lifecycle.events import Init
from warmstate.wire.failure import failure_from
from warmstate.wire.runtime_api import init_error_request, restore_error_request, restore_next_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from warmstate.hosts.logs import Log
    from warmstate.hosts.transport import NativeTransport
    from warmstate.instance import Instance
    from warmstate.lifecycle.marker import Claim
    from warmstate.wire.runtime_api import Failure, Request

__all__ = ["pass_through_snapshot"]

_BEFORE_SNAPSHOT_EXIT = 64
_AFTER_RESTORE_EXIT = 65
_RESTORE_LIMIT = 10.0  # seconds for the hooks after a restore


def pass_through_snapshot(
    transport: NativeTransport, instance: Instance, claimed: Claim, log: Log, leave: Callable[[int], object]
) -> None:
    """
    Run the hooks before the snapshot, block in restore/next across it, and begin anew in the clone.

    A hook that fails is told to the log and to the platform, and `leave` ends the process with an exit code.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html; exit codes as awslambdaric 4.2.2.

    Raises:
        TransportError: the platform has no restore/next.
    """

    def give_up(error: BaseException, kind: str, request: Callable[[Failure], Request]) -> None:
        failure = failure_from(error)
        log.failure(failure)
        failure.error_type = kind
        try:
            transport.post(request(failure))
        except TransportError:
            pass  # the log has it; the platform will see the exit

    try:
        instance.before_snapshot()
    except BaseException as error:  # noqa: BLE001 - hooks of the user
        give_up(error, "Runtime.BeforeSnapshotError", init_error_request)
        leave(_BEFORE_SNAPSHOT_EXIT)
    claimed.write("snapshot")
    reply = transport.get(restore_next_request())
    if reply.status != 200:
        raise TransportError(f"The Runtime API answered {reply.status} to restore/next: {reply.body[:200]!r}")
    transport.close()  # the other end of this connection stayed with the snapshot
    claimed.renew()
    try:
        instance.after_restore(Init("restore", 1, None, _RESTORE_LIMIT, claimed.fence))
    except BaseException as error:  # noqa: BLE001 - hooks of the user
        give_up(error, "Runtime.AfterRestoreError", restore_error_request)
        leave(_AFTER_RESTORE_EXIT)
