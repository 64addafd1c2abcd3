"""What the plugin tells operators: its metrics and its health, from what the helpers count."""

from collections.abc import Iterator

from poptrio.api import Health, Measurement, Metric
from poptrio_ntlm_auth.helpers import Helpers

LIMIT = Metric("helpers_max", "gauge", "How many helpers may there be (helpers)?")
BUSY = Metric("helpers_busy", "gauge", "How many helpers have a question just now?")
IDLE = Metric("helpers_idle", "gauge", "How many helpers wait for one?")
WAITING = Metric("questions_waiting", "gauge", "How many questions wait for a helper?")
STARTS = Metric("helper_starts", "counter", "How often was a helper started? Many mean that they die.")
ANSWERS = Metric("answers", "counter", "How many questions were answered?")
FAILURES = Metric("failures", "counter", "How many questions got no answer, or were given up?")

METRICS = (LIMIT, BUSY, IDLE, WAITING, STARTS, ANSWERS, FAILURES)


def measurements(helpers: Helpers) -> Iterator[Measurement]:
    """All that is counted."""
    yield LIMIT.at(helpers.limit)
    yield BUSY.at(helpers.busy)
    yield IDLE.at(helpers.idle)
    yield WAITING.at(helpers.waiting)
    yield STARTS.at(helpers.starts)
    yield ANSWERS.at(helpers.answers)
    yield FAILURES.at(helpers.failures)


def health(helpers: Helpers) -> Health:
    """Well unless the last question got no answer."""
    details: dict[str, str | int | float | bool | None] = {"busy": helpers.busy, "idle": helpers.idle}
    if helpers.last_failed:
        remedy = "see whether winbindd runs and the machine is still a member of the domain: wbinfo -t, wbinfo -P"
        return Health(ok=False, sentence="ntlm_auth gave no answer last time", remedy=remedy, details=details)
    sentence = "the last question was answered" if helpers.answers else "nothing was asked yet"
    return Health(ok=True, sentence=sentence, details=details)
