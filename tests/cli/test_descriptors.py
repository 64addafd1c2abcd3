"""The limits of the server follow the file descriptors that the process may have."""

import pytest
from structlog.testing import capture_logs

from poptrio.cli.descriptors import RESERVE, fitted, hard_limit, needed, raise_limit, within
from poptrio.config import Config
from poptrio.config.management import MOST_CONNECTIONS

CONFIG = Config.parse("[server]\nmax_calls = 10000\nmax_unauthenticated = 500")


def test_what_fits_stays_as_it_is():
    with capture_logs() as entries:
        assert fitted(CONFIG, 10_800) is CONFIG
    assert entries == []


@pytest.mark.parametrize(("limit", "calls", "strangers"), [(10_799, 9_999, 500), (1024, 543, 181), (8, 1, 1)])
def test_what_does_not_fit_is_lowered_and_said(limit, calls, strangers, tmp_path):
    config = Config.parse("[server]\nmax_calls = 10000\nmax_unauthenticated = 500", folder=tmp_path)
    with capture_logs() as entries:
        lowered = fitted(config, limit)
    assert (lowered.server.max_calls, lowered.server.max_unauthenticated) == (calls, strangers)
    assert needed(lowered) <= max(limit, RESERVE + MOST_CONNECTIONS + 2)
    assert lowered.folder == tmp_path
    assert config.server.max_calls == 10_000
    (entry,) = entries
    assert (entry["event"], entry["log_level"], entry["limit"]) == ("too few file descriptors", "warning", limit)


def test_operators_leave_descriptors_for_calls():
    """Whoever opens all connections of the API must not keep clients from being accepted."""
    calls = "[server]\nmax_calls = 10000\nmax_unauthenticated = 500\n"
    none = Config.parse(f'{calls}[management]\nsocket = ""')
    both = Config.parse(f'{calls}[management]\nlisten = ["127.0.0.1:8443"]')
    in_parent = Config.parse(f"{calls}workers = 2")
    assert needed(none) == 10_500 + RESERVE
    assert needed(both) == needed(none) + 2 * MOST_CONNECTIONS
    assert needed(in_parent, 2) == 5_250 + RESERVE


def test_the_limit_is_raised_as_far_as_it_goes():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert raise_limit() == hard_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_each_of_several_processes_has_its_share():
    assert needed(CONFIG, 2) == 5_250 + RESERVE
    with capture_logs() as entries:
        assert fitted(CONFIG, 5_350, 2) is CONFIG
        lowered = fitted(CONFIG, 1_100, 2)
    assert (lowered.server.max_calls, lowered.server.max_unauthenticated) == (1_500, 500)
    assert len(entries) == 1
    server = CONFIG.server.model_copy(update={"workers": 2})  # as in each of them
    assert within(CONFIG.model_copy(update={"server": server}), 1_100).server.max_calls == 750
