"""Servers for the tests of poptrio-radius: scripted ones, in memory."""

import importlib.util
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

# The folders of tests are no packages: let the tests of this distribution import their own helpers by name.
for name in ("peer", "radius_sessions"):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


@pytest.fixture
def log_events():
    """What is logged during the test."""
    with capture_logs() as events:
        yield events
