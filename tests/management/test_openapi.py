"""The description of the API is OpenAPI, and what a server answers is what is described, no more and no less."""

import json
import re

import pytest
import trio
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from poptrio.errors import CauseOfEnd
from poptrio.management.app import application
from poptrio.management.endpoint import Manager
from poptrio.management.endpoints import ENDPOINTS
from poptrio.management.openapi import description
from poptrio.management.page_files import PAGE_PATHS
from poptrio.management.rates import Rates
from poptrio.testing.server import CLIENT_ADDRESS

DESCRIPTION = description(ENDPOINTS)
EXAMPLES = {
    "/v1/kick": {"user": "nobody", "reason": "an example"},
    "/v1/log": {},
    "/v1/trace": {"user": "alice"},
    "/v1/trace/end": {"user": "alice"},
    "/v1/reload": {},
    "/v1/drain": {"seconds": 1000},
    "/v1/drain/cancel": {},
    "/v1/shutdown": {},
}
"""What is asked of each endpoint that has a body."""

BEFORE = {"/v1/trace/end": "/v1/trace", "/v1/drain/cancel": "/v1/drain"}
"""Endpoints that undo what another one does."""

ELSEWHERE = {
    "/v1/capture": "a stream of packets: tests of captures read it",
    "/v1/upgrade": "needs a program that can be started again: tests of upgrades do it",
}
"""Endpoints whose good answer is no JSON of a server in memory; that they refuse as described is tested here too."""


HERE = [endpoint for endpoint in ENDPOINTS if endpoint.path not in ELSEWHERE]


def name(endpoint):
    return f"{endpoint.method} {endpoint.path}"


def conforms(value, schema):
    """Raises `jsonschema.ValidationError` if ``value`` is not what ``schema`` of the description says."""
    whole = {**schema, "components": DESCRIPTION["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def check(answer, endpoint, status):
    """The answer has this status, and is what is described for it."""
    assert answer.status_code == status, answer.text
    responses = DESCRIPTION["paths"][endpoint.path][endpoint.method.lower()]["responses"]
    content = responses["200" if status == 200 else "default"]["content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    if media_type == "application/json":
        conforms(answer.json(), content[media_type]["schema"])


def test_it_is_openapi():
    validate(DESCRIPTION)


async def test_it_is_served(api):
    async with api() as server:
        assert await server.get("/openapi.json") == json.loads(json.dumps(DESCRIPTION))


def test_every_endpoint_says_what_it_does_and_has_a_name_of_its_own():
    operations = [operation for path in DESCRIPTION["paths"].values() for operation in path.values()]
    assert len(operations) == len(ENDPOINTS)
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_every_object_is_described():
    for title, schema in DESCRIPTION["components"]["schemas"].items():
        assert schema.get("description"), f"{title} has no docstring"


def test_there_are_no_routes_but_those_described_and_the_page():
    routes = application(Manager(None, Rates())).routes
    found = {(method, route.path_format) for route in routes for method in route.methods - {"HEAD"}}
    described = {(method.upper(), path) for path, of_path in DESCRIPTION["paths"].items() for method in of_path}
    assert found - described == {("GET", path) for path in {*PAGE_PATHS, "/openapi.json"}}
    assert described <= found


@pytest.mark.parametrize("endpoint", [one for one in HERE if not one.has_body], ids=name)
async def test_a_question_is_answered_as_described(api, endpoint):
    async with api() as server:
        call = await server.memory.dial()
        await server.memory.dial(password="wrong", peer=CLIENT_ADDRESS + 1)
        (session,) = (await server.get("/v1/sessions"))["sessions"]
        path = endpoint.path.format_map({"call": session["call"], "pool": "default"})
        if endpoint.media_type != "text/event-stream":
            check(await server.client.get(path), endpoint, 200)
            return
        async with await trio.open_unix_socket(str(server.socket)) as stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            said = b""
            with trio.fail_after(5):
                while b"events follow" not in said:
                    said += await stream.receive_some()
                call.terminate()
                while not (found := re.search(rb"^event: call-down\ndata: (.*)\n\n", said, re.M)):
                    said += await stream.receive_some()
            assert b"\r\ncontent-type: text/event-stream" in said
            conforms(json.loads(found[1]), {"$ref": "#/components/schemas/EventView"})


@pytest.mark.parametrize("endpoint", [one for one in HERE if one.has_body], ids=name)
async def test_an_order_is_answered_as_described(api, endpoint):
    assert endpoint.path in EXAMPLES, f"add what to ask of {endpoint.path} to EXAMPLES"
    async with api() as server:
        await server.memory.dial()
        before = BEFORE.get(endpoint.path)
        if before is not None:
            await server.post(before, **EXAMPLES[before])
        answer = await server.client.request(endpoint.method, endpoint.path, json=EXAMPLES[endpoint.path])
        check(answer, endpoint, 200)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
async def test_what_is_unknown_is_refused_as_described(api, endpoint):
    async with api() as server:
        path = endpoint.path.format_map({"call": 1, "pool": "none"})
        unknown = {"no-such-thing": 1}
        where = {"json": unknown} if endpoint.has_body else {"params": unknown}
        answer = await server.client.request(endpoint.method, path, **where)
        check(answer, endpoint, 422)
        assert "no-such-thing" in answer.json()["error"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name)
async def test_other_methods_are_not_there(api, endpoint):
    async with api() as server:
        path = endpoint.path.format_map({"call": 1, "pool": "none"})
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {
            method.upper() for method in DESCRIPTION["paths"][endpoint.path]
        }:
            answer = await server.client.request(method, path)
            assert answer.status_code == 405
            assert method in answer.json()["error"]
        assert not server.memory.server.stopping


async def test_states_and_causes_are_those_of_the_server(api):
    """The description's lists are typed by hand, for its readers; here they are compared with the code's."""
    from poptrio.observe.journal import Happening
    from poptrio.server.call_events import CallState

    schemas = DESCRIPTION["components"]["schemas"]
    assert schemas["SessionView"]["properties"]["state"]["enum"] == [state.value for state in CallState]
    assert schemas["EventView"]["properties"]["event"]["enum"] == [happening.value for happening in Happening]
    async with api() as server:
        await server.memory.dial(password="wrong")
        (failure,) = (await server.get("/v1/failures"))["failures"]
        assert failure["cause"] == CauseOfEnd.AUTHENTICATION_FAILED.label
