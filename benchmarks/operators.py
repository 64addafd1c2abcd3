"""Operators at a server: what the page, `poptrio sessions`, Prometheus and a follower of events ask of its API.

python benchmarks/operators.py SOCKET SECONDS           prints how often each was answered, and the slowest answers
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poptrio.management.client import Client

PAGE, LIST, SCRAPE = 2.0, 4.0, 5.0
"""Seconds between two looks of the page, of a listing of all calls, and of Prometheus (which takes 15 by default)."""


class Operators:
    """All of them, each in a thread of its own."""

    def __init__(self, socket: Path, seconds: float) -> None:
        self._socket = socket
        self._end = time.monotonic() + seconds
        self.answers: dict[str, list[float]] = {}

    def run(self) -> None:
        """Ask until the time is over."""
        threading.Thread(target=self._follow, daemon=True).start()
        asking = [
            threading.Thread(target=self._ask_again, args=("page", PAGE, self._page)),
            threading.Thread(target=self._ask_again, args=("sessions", LIST, self._list)),
            threading.Thread(target=self._ask_again, args=("metrics", SCRAPE, self._scrape)),
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()

    def _ask_again(self, name: str, interval: float, ask: Callable[[Client], object]) -> None:
        with Client(self._socket) as client:
            while time.monotonic() < self._end:
                begun = time.monotonic()
                ask(client)
                self.answers.setdefault(name, []).append(time.monotonic() - begun)
                time.sleep(interval)

    def _page(self, client: Client) -> None:
        client.get("/v1/stats")
        client.get("/v1/sessions", order="rate_in", descending=True, limit=200)
        client.get("/v1/failures", limit=50)

    def _list(self, client: Client) -> None:
        for _ in client.pages("/v1/sessions", "sessions", "session_id"):
            pass

    def _scrape(self, client: Client) -> None:
        with client.stream("/metrics") as response:
            response.read()

    def _follow(self) -> None:
        with Client(self._socket) as client:
            for _ in client.events("/v1/events"):
                pass


def main() -> None:
    """Ask, and print."""
    operators = Operators(Path(sys.argv[1]), float(sys.argv[2]))
    operators.run()
    facts: dict[str, Any] = {
        name: {"answers": len(seconds), "slowest": max(seconds)} for name, seconds in operators.answers.items()
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
