"""The table of all endpoints."""

from poptrio.management.capture import MEDIA_TYPE, capture
from poptrio.management.control import cancel_drain, drain, reload, show_drain, shut_down
from poptrio.management.endpoint import Endpoint
from poptrio.management.events import list_failures, stream_events
from poptrio.management.log import begin_trace, change_log, end_trace, show_log
from poptrio.management.metrics import metrics
from poptrio.management.plugins import list_plugins, list_pools, show_pool
from poptrio.management.sessions import kick, list_sessions, show_session
from poptrio.management.stats import show_stats
from poptrio.management.upgrade import upgrade

ENDPOINTS = (
    Endpoint("GET", "/v1/sessions", list_sessions),
    Endpoint("GET", "/v1/sessions/{call}", show_session),
    Endpoint("POST", "/v1/kick", kick),
    Endpoint("GET", "/v1/failures", list_failures),
    Endpoint("GET", "/v1/events", stream_events, "text/event-stream"),
    Endpoint("GET", "/v1/stats", show_stats),
    Endpoint("GET", "/v1/plugins", list_plugins),
    Endpoint("GET", "/v1/pools", list_pools),
    Endpoint("GET", "/v1/pools/{pool}", show_pool),
    Endpoint("GET", "/metrics", metrics, "text/plain"),
    Endpoint("GET", "/v1/log", show_log),
    Endpoint("PUT", "/v1/log", change_log),
    Endpoint("POST", "/v1/trace", begin_trace),
    Endpoint("POST", "/v1/trace/end", end_trace),
    Endpoint("GET", "/v1/capture", capture, MEDIA_TYPE),
    Endpoint("POST", "/v1/reload", reload),
    Endpoint("GET", "/v1/drain", show_drain),
    Endpoint("POST", "/v1/drain", drain),
    Endpoint("POST", "/v1/drain/cancel", cancel_drain),
    Endpoint("POST", "/v1/shutdown", shut_down),
    Endpoint("POST", "/v1/upgrade", upgrade, "text/event-stream"),
)
