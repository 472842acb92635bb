"""`orderonce key create | list | revoke`: API keys of bots, over the admin port."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from orderonce_cli import output
from orderonce_cli.api import Given, connect
from orderonce_cli.commands.options import DataOption, JsonOption, KeyFileOption, UrlOption, rows
from orderonce_cli.problems import Problem
from orderonce_cli.stack.layout import write_private

app = typer.Typer(help="API keys of bots.", no_args_is_help=True)

COLUMNS = ("kid", "client", "name", "scopes", "accounts", "status", "created_at")
MOST_PER_SECOND = 100_000  # the order API's own limit
DEFAULT_SCOPES = ("orders:read", "orders:write", "orders:cancel")
SCOPES = (*DEFAULT_SCOPES, "ledger:read", "admin")
ScopeOption = typer.Option(help=f"Repeat for several. One of {', '.join(SCOPES)}.")


@app.command()
def create(
    client: Annotated[str, typer.Option(help="Whose key it is: one key space per client.")],
    name: Annotated[str, typer.Option(help="A word to tell a client's keys apart.")],
    scope: Annotated[list[str], ScopeOption] = list(DEFAULT_SCOPES),  # noqa: B006
    account: Annotated[list[str], typer.Option(help="Repeat for several; * is all.")] = ["*"],  # noqa: B006
    max_quantity: Annotated[
        str | None, typer.Option(help="Of one order, in its base asset, plain decimal.")
    ] = None,
    max_notional: Annotated[
        str | None, typer.Option(help="Of one order, in its quote asset, plain decimal.")
    ] = None,
    orders_per_second: Annotated[int | None, typer.Option(min=1, max=MOST_PER_SECOND)] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="When it ends, UTC, e.g. 2027-01-31T00:00:00Z.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the key to this file (0600), not to the screen.")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key. It is told once: only its hash is kept."""
    if out is not None and out.exists():
        raise Problem(f"{out} is there already; choose another file.")
    limits = {
        "max_quantity": max_quantity,
        "max_notional": max_notional,
        "orders_per_second": orders_per_second,
        "expires_at": expires_at,
    }
    body: dict[str, Any] = {
        "client": client,
        "name": name,
        "scopes": scope,
        "accounts": account,
        **{limit: value for limit, value in limits.items() if value is not None},
    }
    told: dict[str, Any] = connect("order_api_admin", Given(data, url, key_file)).post(
        "/v1/keys", body
    )
    if out is not None:
        write_private(out.absolute(), str(told.pop("key")))
        told["file"] = str(out)
    if json:
        output.as_json(told)
    else:
        output.facts(told)


@app.command("list")
def list_keys(
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """List keys, without their secrets."""
    body = connect("order_api_admin", Given(data, url, key_file)).get("/v1/keys")
    if json:
        output.as_json(body)
    else:
        output.table(rows(body), COLUMNS)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="The key's id.")],
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a key for good; its queued orders are denied."""
    api = connect("order_api_admin", Given(data, url, key_file))
    told = api.post(f"/v1/keys/{quote(kid, safe='')}/revoke")
    if json:
        output.as_json(told)
    else:
        print(f"revoked {kid}")
