"""What every test run does: tests marked ``root`` are skipped, with the reason, where the machine cannot run them."""

import gc
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


def why_not_root() -> str | None:
    """Why tests that need root, network namespaces and a TUN cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    if not Path("/proc/self/ns/net").exists():
        return "needs network namespaces"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run here."""
    reason = why_not_root()
    if reason is not None:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, because a run without root is not the whole suite."""
    reason = why_not_root()
    skipped = [report for report in terminalreporter.getreports("skipped") if "root" in report.keywords]
    if reason is not None and skipped:
        terminalreporter.write_line(f"{len(skipped)} tests with real tunnels were skipped: {reason}", yellow=True)


@pytest.fixture(autouse=True)
def garbage_as_usual() -> Iterator[None]:
    """Undo what commands do to the garbage collector of their process: hypothesis looks for frozen objects in vain."""
    thresholds = gc.get_threshold()
    yield
    if gc.get_freeze_count():
        gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """For tests that configure logging: afterwards it is as it was."""
    handlers, level = logging.root.handlers, logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers = handlers
    logging.root.setLevel(level)


@pytest.fixture
def python_for_all() -> list[str]:
    """A command line of this Python that any user can go on with; both may well lie below /root.

    It is mounted elsewhere, with what is installed and with poptrio, in a mount namespace of the process.
    """
    site = Path(structlog.__file__).parents[1]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    script = f"""
        set -e
        mount -t tmpfs -o mode=755 tmpfs /mnt
        mkdir /mnt/python /mnt/site /mnt/poptrio
        mount --bind {shlex.quote(sys.base_prefix)} /mnt/python
        mount --bind {shlex.quote(str(site))} /mnt/site
        mount --bind {shlex.quote(str(Path(__file__).resolve().parents[1]))} /mnt/poptrio
        export PYTHONPATH=/mnt/poptrio:/mnt/site LD_LIBRARY_PATH=/mnt/python/lib PYTHONDONTWRITEBYTECODE=1
        exec /mnt/python/bin/{version} "$@"
    """
    return ["unshare", "--mount", "sh", "-c", script, "sh"]
