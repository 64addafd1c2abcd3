"""Write ``docs/reference/api.md`` from the table of endpoints, as /openapi.json is made of it.

``python docs/generate_api.py`` writes it; a test compares it, so that it cannot fall behind.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poptrio.management.endpoint import Endpoint
from poptrio.management.endpoints import ENDPOINTS
from poptrio.management.openapi import description

REFERENCE = Path(__file__).resolve().parent / "reference" / "api.md"

INTRODUCTION = """\
# The management API

HTTP/1.1 and JSON, on the Unix socket `[management] socket` for whoever may open it, and over TCP where
`[management] listen` says so, with TLS and a token. The commands, the [page](../howto/watch-the-page.md) and Prometheus
use the same. This page is generated from `poptrio/management/endpoints.py` by `make docs`; a server describes itself at
`/openapi.json` (OpenAPI 3.1).

```sh
curl --unix-socket /run/poptrio.sock http://localhost/v1/sessions?limit=10
curl --unix-socket /run/poptrio.sock http://localhost/v1/kick --json '{"user": "alice", "reason": "lunch"}'
curl --cacert certificate.pem -H "Authorization: Bearer $(cat token)" https://server:8443/v1/stats
```

- What is asked stands in the query of a `GET`, and in the JSON object in the body of anything else, sent with
  `Content-Type: application/json`. A name that is not below is an error, not ignored.
- The body is at most 64 KiB and has 10 seconds to come. A connection without a request is closed after a minute, and
  one whose client reads nothing after half a minute.
- What cannot be done is answered with a status from 400 on and a `Refusal`: `error`, the sentence, and `remedy`, what
  to do about it. 401: the token is missing or wrong. 403: a web page of another origin asks, or the Unix socket is
  asked for another name than `localhost`. 404, 405: there is no such thing. 408, 413: the body is late or too large.
  422: what is asked is not possible, with every fault in one sentence.

## Endpoints

| | |
|---|---|
"""

OBJECTS = """\
## Objects

"""


def reference_page() -> str:
    """The text of ``docs/reference/api.md``."""
    whole = description(ENDPOINTS)
    schemas = whole["components"]["schemas"]
    asked = {endpoint.ask.__name__ for endpoint in ENDPOINTS}
    rows = [f"| `{one.method} {one.path}` | {_line(one.description)} |\n" for one in ENDPOINTS]
    parts = [INTRODUCTION, *rows, "\n"]
    parts += [text for endpoint in ENDPOINTS for text in _endpoint(endpoint, schemas)]
    parts.append(OBJECTS)
    for name in sorted(set(schemas) - asked):
        parts.append(f"### {name}\n\n{_line(schemas[name].get('description', ''))}\n\n")
        parts += _fields(schemas[name], "field")
    return "".join(parts).rstrip() + "\n"


def _endpoint(endpoint: Endpoint, schemas: dict[str, Any]) -> Iterator[str]:
    yield f"### {endpoint.method} {endpoint.path}\n\n{_line(endpoint.description)}\n\n"
    yield from _fields(
        endpoint.ask.model_json_schema(), "asked in the body" if endpoint.has_body else "asked", ask=True
    )
    if endpoint.answer is not None:
        name = endpoint.answer.__name__
        yield f"The answer is one [`{name}`](#{name.lower()}).\n\n"
    else:
        yield f"The answer is `{endpoint.media_type}`.\n\n"


def _fields(schema: dict[str, Any], head: str, *, ask: bool = False) -> Iterator[str]:
    properties = schema.get("properties", {})
    if not properties:
        return
    yield f"| {head} | type |{' default |' if ask else ''} |\n|---|---|{'---|' if ask else ''}---|\n"
    for name, of_name in properties.items():
        cells = [f"`{name}`", _type(of_name)]
        if ask:
            default = of_name.get("default", "needed" if name in schema.get("required", ()) else None)
            cells.append("" if default is None else default if default == "needed" else f"`{json.dumps(default)}`")
        cells.append(_line(of_name.get("description", "")).replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |\n"
    yield "\n"


def _type(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[`{name}`](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    bounds = [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return " ".join([str(schema.get("format", kind)), *bounds])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    main()
