"""Servers for the tests of poptrio-radius: scripted ones, in memory."""

import pytest
from structlog.testing import capture_logs


@pytest.fixture
def log_events():
    """What is logged during the test."""
    with capture_logs() as events:
        yield events
