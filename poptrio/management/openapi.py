"""The OpenAPI 3.1 description, made of the table of endpoints and the models in it."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from poptrio import __version__
from poptrio.management.endpoint import Answer, Endpoint

REF = "#/components/schemas/{model}"


class Refusal(Answer):
    """The answer to what cannot be done."""

    error: str
    """What is wrong."""
    remedy: str
    """What to do about it; may be empty."""


def description(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description, as it is served at /openapi.json."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Refusal, "serialization")]
    for endpoint in endpoints:
        models.append((endpoint.ask, "validation"))
        if endpoint.answer is not None:
            models.append((endpoint.answer, "serialization"))
    references, schemas = models_json_schema(list(dict.fromkeys(models)), ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "poptrio",
            "version": __version__,
            "description": "The management API of a poptrio server.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint, references: Any) -> dict[str, Any]:
    good: dict[str, Any] = {}
    if endpoint.answer is not None:
        good = {"schema": references[endpoint.answer, "serialization"]}
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": " ".join(endpoint.description.split()),
        "responses": {
            "200": {"description": "Done.", "content": {endpoint.media_type: good}},
            "default": {
                "description": "Refused.",
                "content": {"application/json": {"schema": references[Refusal, "serialization"]}},
            },
        },
    }
    if endpoint.has_body:
        content = {"application/json": {"schema": references[endpoint.ask, "validation"]}}
        operation["requestBody"] = {"content": content, "required": False}
    else:
        operation["parameters"] = list(_parameters(endpoint))
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    schema = endpoint.ask.model_json_schema(ref_template=REF)
    parameters = []
    for name, of_name in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in endpoint.path
        parameter = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or name in schema.get("required", ()),
            "schema": {key: value for key, value in of_name.items() if key != "description"},
        }
        if "description" in of_name:
            parameter["description"] = of_name["description"]
        parameters.append(parameter)
    return parameters
