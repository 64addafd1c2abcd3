"""Closes descriptors in threads of its own: the kernel takes up to 20 ms for one of PPTP, and the loop must not wait.

A few threads, because the kernel's waits (for an RCU grace period) can be shared, and no more, because the rest of it
is done under one lock.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

THREADS = 4


class Closer:
    """`close` hands descriptors over and returns at once; the threads start with the first and end with `stop`."""

    def __init__(self) -> None:
        self.pending = 0  # descriptors that have not been closed yet
        self._queue: queue.SimpleQueue[tuple[Sequence[int], Callable[[], None] | None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def close(self, descriptors: Sequence[int], closed: Callable[[], None] | None = None) -> None:
        """Close ``descriptors`` in their order; then call ``closed``, which may not raise, in the thread."""
        with self._lock:
            self.pending += len(descriptors)
        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._run, name="poptrio-closer", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put((descriptors, closed))

    def stop(self) -> None:
        """Wait until everything is closed. Blocks: not for the thread of the loop."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            descriptors, closed = item
            for descriptor in descriptors:
                with suppress(OSError):
                    os.close(descriptor)
            with self._lock:
                self.pending -= len(descriptors)
            if closed is not None:
                closed()
