"""The management API: HTTP and JSON on a Unix socket, for the command line, the page, Prometheus and whoever operates.

Every endpoint is one row of `endpoints.ENDPOINTS`; routes, checks of what is asked and the OpenAPI description are made
of it.
"""
