"""The document is complete, and the same each time it is rendered."""

import json

from orderonce_ledger.http import render_openapi

ROUTES = {
    ("/v1/accounts", "get"),
    ("/v1/accounts/{account}/balances", "get"),
    ("/v1/fills", "get"),
    ("/v1/journals/{journal_id}", "get"),
    ("/v1/proof", "get"),
    ("/v1/breaks", "get"),
    ("/v1/reconciliations", "post"),
    ("/v1/reconciliations/{run_id}", "get"),
}


def test_every_route_with_its_answers() -> None:
    document = json.loads(render_openapi())
    found = {(path, method) for path, one in document["paths"].items() for method in one}
    assert found == ROUTES
    for path, method in ROUTES:
        responses = document["paths"][path][method]["responses"]
        assert "422" not in responses
        assert {"200", "400", "401", "403", "404", "503"} <= responses.keys()
        schema = responses["200"]["content"]["application/json"]["schema"]
        assert (
            schema["$ref"].removeprefix("#/components/schemas/")
            in document["components"]["schemas"]
        )


def test_it_is_deterministic() -> None:
    assert render_openapi() == render_openapi()
