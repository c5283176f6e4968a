"""The OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1) of everything that is asked over HTTP."""

from itertools import groupby
from typing import Any, Final

from gateway.access.auth import COOKIE
from gateway.live.dialogue import VERSION
from gateway.net.problem import MEDIA_TYPE, ProblemBody
from gateway.reference.messages import meaning_of
from gateway.reference.operation import Content, Operation, Parameter, Refusals, Reply
from gateway.reference.operations import OPERATIONS
from gateway.reference.schema import refer, schema_of, schemas
from protocol.errors import Unauthenticated

_ABOUT: Final = """\
Hatches AI agents: an LLM writes a persona, mflux draws its avatar, and everyone watching sees true progress.

The WebSocket at `/v1/ws` is described by `/v1/asyncapi.json`. Whatever answers GET answers HEAD. What changes something
needs a JSON content type (an upload a picture's), and an Origin, if there is one, that the gateway allows. Without
`access.tokens` no token is needed."""
_SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {
    "token": [{"bearer": []}, {"login": []}],
    "token or signature": [{"bearer": []}, {"login": []}, {"signature": []}],
    "signature": [{"signature": []}],
    "everybody": [],
}


def openapi() -> dict[str, Any]:
    """The whole document."""
    types = [content.type for operation in OPERATIONS for content in _contents(operation)]
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Hatchery",
            "version": str(VERSION),
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": _SECURITY["token"],
        "paths": {
            path: {operation.method: _operation(operation) for operation in same}
            for path, same in groupby(OPERATIONS, key=lambda operation: operation.path)
        },
        "components": {
            "schemas": schemas([*types, ProblemBody]),
            "responses": {"Problem": _problem("A refusal.")},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `access.tokens`."},
                "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "From `/v1/login`."},
                "signature": {"type": "apiKey", "in": "query", "name": "signature", "description": "Of a signed URL."},
            },
        },
    }


def _contents(operation: Operation) -> list[Content]:
    found = [operation.body, *(reply.content for reply in operation.replies)]
    return [content for content in found if content is not None]


def _operation(operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {"operationId": operation.name, "summary": operation.what}
    if operation.entry != "token":
        said["security"] = _SECURITY[operation.entry]
    if operation.parameters:
        said["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        said["requestBody"] = {"required": True, "content": _content(operation.body)}
    refusals = (*operation.refusals, Unauthenticated) if operation.entry == "token" else operation.refusals
    answers = _refusals(refusals) | {str(reply.status): _reply(reply) for reply in operation.replies}
    said["responses"] = dict(sorted(answers.items())) | {"default": {"$ref": "#/components/responses/Problem"}}
    return said


def _parameter(parameter: Parameter) -> dict[str, Any]:
    said = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.what,
        "required": parameter.required,
        "schema": schema_of(parameter.type),
    }
    return said | ({"style": "form", "explode": False} if parameter.listed else {})


def _reply(reply: Reply) -> dict[str, Any]:
    said: dict[str, Any] = {"description": reply.what}
    if reply.headers:
        said["headers"] = {
            name: {"description": what, "schema": {"type": "string"}} for name, what in reply.headers.items()
        }
    if reply.content is not None:
        said["content"] = _content(reply.content)
    return said


def _content(content: Content) -> dict[str, Any]:
    schema = {} if content.type is bytes else schema_of(content.type)  # bytes as they are, in no JSON
    return {media: {"schema": schema} if schema else {} for media in content.media}


def _refusals(refusals: Refusals) -> dict[str, Any]:
    by_status = groupby(sorted(refusals, key=lambda leaf: leaf.status), key=lambda leaf: leaf.status)
    return {
        str(status): _problem(" ".join(f"`{leaf.code}`: {meaning_of(leaf)}" for leaf in leaves))
        for status, leaves in by_status
    }


def _problem(what: str) -> dict[str, Any]:
    return {"description": what, "content": {MEDIA_TYPE: {"schema": refer(ProblemBody.__name__)}}}
