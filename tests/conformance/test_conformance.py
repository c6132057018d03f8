"""Both corpora, each row against a real process; `python -m tests.conformance` prints the score over both transports."""

from __future__ import annotations

import pytest

from tests.conformance import score_handlers, score_protocol
from tests.conformance.handler_faults import HANDLER_FAULTS
from tests.conformance.protocol_faults import PROTOCOL_FAULTS

pytestmark = pytest.mark.process

TRANSPORTS = ["native", "requests"]


def rows(faults):
    return [pytest.param(fault, id=f"{fault.id} {fault.name}") for fault in faults]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", rows(PROTOCOL_FAULTS))
def test_the_platform_does_what_it_should_not(fault, transport):
    """The event is answered, refused or skipped, or the process ends in order: never by a signal, never hanging or spinning."""
    assert score_protocol.problem_with(fault, transport) is None


@pytest.mark.parametrize("fault", rows(HANDLER_FAULTS))
def test_the_handler_does_what_it_should_not(fault):
    """It gets one answer, the same process answers the next events, and what it changed does not reach them."""
    assert score_handlers.problem_with(fault, "native") is None


@pytest.mark.soak
@pytest.mark.parametrize("fault", rows(HANDLER_FAULTS))
def test_the_handler_does_what_it_should_not_over_requests(fault):
    """The same over the other transport, which differs in how it posts and nothing else."""
    assert score_handlers.problem_with(fault, "requests") is None


def test_the_corpora_are_as_large_as_they_should_be():
    """At least 60 handlers and 50 protocol faults, each row once."""
    assert len(HANDLER_FAULTS) >= 60
    assert len(PROTOCOL_FAULTS) >= 50
    assert len({(fault.id, fault.name) for fault in HANDLER_FAULTS}) == len(HANDLER_FAULTS)
    assert len({(fault.id, fault.name) for fault in PROTOCOL_FAULTS}) == len(PROTOCOL_FAULTS)
