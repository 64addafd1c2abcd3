"""Closes descriptors in threads of its own: the kernel takes up to 20 ms for one of PPP, and the loop must not wait."""

import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

BREATH = 0.001
"""Seconds between two descriptors: on a single processor, the loop gets its turn; calls that end are in no hurry."""


class Closer:
    """`close` hands descriptors over and returns at once; the threads start with the first and end with `stop`."""

    def __init__(self, threads: int) -> None:
        self.pending = 0  # descriptors that have not been closed yet
        self._most_threads = threads
        self._queue: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def close(self, descriptors: Sequence[int]) -> None:
        """Close ``descriptors`` in their order."""
        if len(self._threads) < self._most_threads:
            self._start_thread()
        if not self._threads:  # not one can be started: then the loop has to wait
            _close_all(descriptors)
            return
        with self._lock:
            self.pending += len(descriptors)
        self._queue.put(descriptors)

    def stop(self) -> None:
        """Wait until everything is closed. Blocks: not for the thread of the loop."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="poptrio-closer", daemon=True)
        with suppress(RuntimeError):  # too many threads; the next call tries again
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while (descriptors := self._queue.get()) is not None:
            _close_all(descriptors)
            with self._lock:
                self.pending -= len(descriptors)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
        time.sleep(BREATH)
