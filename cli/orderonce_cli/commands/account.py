"""`orderonce account list | halt | resume`: venue accounts, and the switch that stops sending."""

from typing import Annotated
from urllib.parse import quote

import typer

from orderonce_cli import output
from orderonce_cli.api import Given, connect
from orderonce_cli.commands.options import DataOption, JsonOption, KeyFileOption, UrlOption, rows

app = typer.Typer(help="Venue accounts, and their halts.", no_args_is_help=True)

COLUMNS = ("account", "venue", "halted")
Account = Annotated[str, typer.Argument(help="e.g. paper-1")]


@app.command("list")
def list_accounts(
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """List the accounts that the key may trade."""
    body = connect("order_api", Given(data, url, key_file)).get("/v1/accounts")
    if json:
        output.as_json(body)
    else:
        output.table(rows(body), COLUMNS)


@app.command()
def halt(
    account: Account,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Stop sending orders of an account, those already accepted included."""
    _switch("halt", account, Given(data, url, key_file), json)


@app.command()
def resume(
    account: Account,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """End a halt."""
    _switch("resume", account, Given(data, url, key_file), json)


def _switch(act: str, account: str, given: Given, json: bool) -> None:
    told = connect("order_api_admin", given).post(f"/v1/accounts/{quote(account, safe='')}/{act}")
    if json:
        output.as_json(told)
    else:
        print(f"{account}: {'halted' if act == 'halt' else 'resumed'}")
