"""How long calls took to come up, and each step of it."""

from collections.abc import Mapping

from poptrio.measurements import SECONDS, Histogram

BOUNDS = (*SECONDS, 30.0)


class SetupTimes:
    """In seconds, of calls that came up: ``whole`` from request to address, ``steps`` each from the one before."""

    def __init__(self) -> None:
        self.whole = Histogram(BOUNDS)
        self.steps: dict[str, Histogram] = {}

    def came_up(self, steps: Mapping[str, float]) -> None:
        """A call came up; ``steps`` are the seconds from its beginning to each."""
        before = 0.0
        for step, seconds in sorted(steps.items(), key=lambda item: item[1]):
            if step not in self.steps:
                self.steps[step] = Histogram(BOUNDS)
            self.steps[step].observe(seconds - before)
            before = seconds
        self.whole.observe(before)
