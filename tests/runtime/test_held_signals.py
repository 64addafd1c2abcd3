"""Signals that come too early, or too late, end nothing."""

import signal
import threading

from poptrio.runtime.held_signals import HELD, held, let_through


def test_signals_wait_for_whoever_handles_them():
    got, me = [], threading.get_ident()
    before = {number: signal.signal(number, lambda number, frame: got.append(number)) for number in HELD}
    try:
        with held():
            for number in HELD:
                signal.pthread_kill(me, number)
            assert got == []
            with let_through():
                assert set(got) == set(HELD)
                signal.pthread_kill(me, HELD[0])
                assert len(got) == 3
            signal.pthread_kill(me, HELD[1])
        assert len(got) == 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(HELD)
