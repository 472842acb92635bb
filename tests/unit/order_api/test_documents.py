"""The OpenAPI documents: complete, consistent, the same at each call."""

import json
from typing import Any, cast

import pytest
from orderonce_api import errors, openapi
from orderonce_api.admin import Admin, admin_app
from orderonce_api.bots import Bots, bots_app
from orderonce_api.surroundings import PAGES
from orderonce_shared.contracts.http import PlaceBody
from orderonce_shared.runtime.process import Health
from prometheus_client import CollectorRegistry

BOTS = json.loads(openapi.render_openapi())
ADMIN = json.loads(openapi.render_admin_openapi())


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_deterministic() -> None:
    assert openapi.render_openapi() == openapi.render_openapi()
    assert openapi.render_admin_openapi() == openapi.render_admin_openapi()


def test_every_route_is_documented() -> None:
    unused = cast(Any, None)
    apps = (
        (BOTS, bots_app(Bots(*[unused] * 7))),
        (ADMIN, admin_app(Admin(unused, unused, unused, Health(), CollectorRegistry()))),
    )
    for document, app in apps:
        served = {
            (route.path, method.lower())  # type: ignore[attr-defined]
            for route in app.routes
            for method in (route.methods or ())  # type: ignore[attr-defined]
        }
        plain = {("/livez", "get"), ("/readyz", "get"), ("/metrics", "get")}
        heads = {(path, "head") for path, _ in plain}
        told = {(path, method) for path, method, _ in operations(document)}
        assert served - heads - plain == told


@pytest.mark.parametrize("document", [BOTS, ADMIN])
def test_every_reference_resolves_and_every_schema_is_used(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used == names


def test_every_problem_type_stands_somewhere_and_has_a_page() -> None:
    text = json.dumps([BOTS, ADMIN])
    for kind in errors.PROBLEMS:
        if kind is not errors.MethodNotAllowed:  # belongs to no route
            assert f'"/errors/{kind.type}"' in text, kind
    assert {page.stem for page in PAGES.glob("*.md")} == {kind.type for kind in errors.PROBLEMS}
    assert len({kind.type for kind in errors.PROBLEMS}) == len(errors.PROBLEMS)


def test_place() -> None:
    place = BOTS["paths"]["/v1/orders"]["post"]
    body = place["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/PlaceBody"}
    schema = BOTS["components"]["schemas"]["PlaceBody"]
    assert set(schema["properties"]) == set(PlaceBody.model_fields)
    for name in ("quantity", "quote_quantity"):
        assert [one["type"] for one in schema["properties"][name]["anyOf"]] == ["string", "null"]
    assert schema["additionalProperties"] is False
    assert {p["name"] for p in place["parameters"]} == {"Idempotency-Key", "Prefer", "traceparent"}
    assert set(place["responses"]) == {
        "200", "202", "400", "401", "403", "409", "413", "415", "422", "429", "500", "503",
    }  # fmt: skip
    accepted = place["responses"]["202"]["headers"]
    assert set(accepted) == {
        "Location", "Idempotency-Key", "Idempotent-Replayed", "Preference-Applied", "X-Request-Id",
    }  # fmt: skip
    settled = place["responses"]["200"]["content"]["application/json"]["schema"]
    assert settled == {"$ref": "#/components/schemas/OrderShown"}
    assert place["security"] == [{"bearer": []}]


def test_path_parameters_are_declared() -> None:
    for document in (BOTS, ADMIN):
        for path, method, operation in operations(document):
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            wanted = {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert declared == wanted, (path, method)
