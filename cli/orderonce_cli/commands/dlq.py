"""`orderonce dlq list | show | replay | discard`: records that a service could not take."""

import sys
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from orderonce_cli import output
from orderonce_cli.api import Given, connect
from orderonce_cli.commands.options import DataOption, JsonOption, KeyFileOption, UrlOption, rows
from orderonce_cli.problems import Exit, Problem

app = typer.Typer(help="Dead letters: see, replay or discard them.", no_args_is_help=True)

COLUMNS = ("letter_id", "state", "topic", "order_id", "client", "times", "last_seen", "error")
MOST_LISTED = 200  # the order API's own limit of a page
PATH = "/v1/dead-letters"
State = Literal["waiting", "replaying", "replayed", "discarded"]
Letter = Annotated[str, typer.Argument(help="Id of the letter, as the list shows it.")]


@app.command("list")
def list_letters(
    state: Annotated[State | None, typer.Option(help="Only this state.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Those that were replayed or discarded, too.")
    ] = False,
    topic: Annotated[str | None, typer.Option(help="Only records of this topic.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED)] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """List the dead letters that wait for a person, newest first."""
    asked = state or ("all" if every else None)
    body = connect("order_api_admin", Given(data, url, key_file)).get(
        PATH, state=asked, topic=topic, limit=limit, cursor=cursor
    )
    if json:
        output.as_json(body)
        return
    output.table(rows(body), COLUMNS)
    if body.get("next_cursor"):
        print(f"more: --cursor {body['next_cursor']}")


@app.command()
def show(
    letter: Letter,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Show a letter: where it comes from, why it lies here, its key, headers and bytes."""
    _print(connect("order_api_admin", Given(data, url, key_file)).get(_path(letter)), json)


@app.command()
def replay(
    letter: Letter,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Write its record back to its topic, unchanged. Doing it twice writes it once."""
    api = connect("order_api_admin", Given(data, url, key_file))
    _print(api.post(_path(letter) + "/replay"), json)


@app.command()
def discard(
    letter: Letter,
    reason: Annotated[str | None, typer.Option(help="Kept with the letter.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Take a letter out of what waits. It stays visible, and can still be replayed."""
    api = connect("order_api_admin", Given(data, url, key_file))
    if not yes:
        _confirm(api.get(_path(letter)))
    body = {} if reason is None else {"reason": reason}
    _print(api.post(_path(letter) + "/discard", body), json)


def _confirm(told: dict[str, Any]) -> None:
    """Asks on standard error, so that `--json` stays one document."""
    of = f" of order {told['order_id']}" if told.get("order_id") else ""
    print(f"{told['topic']}{of}: {told['error']}", file=sys.stderr)
    if not sys.stdin.isatty():
        raise Problem("Nobody is there to ask: say --yes to discard it.", Exit.USAGE)
    if not typer.confirm("Discard this letter?", err=True):
        raise Problem("Nothing was discarded.", Exit.FAILED)


def _path(letter: str) -> str:
    return f"{PATH}/{quote(letter, safe='')}"


def _print(told: dict[str, Any], json: bool) -> None:
    if json:
        output.as_json(told)
        return
    shown = {name: value for name, value in told.items() if value is not None}
    for name in ("value", "key"):
        if name in shown:
            shown[name] = _blob(shown[name])
    shown["headers"] = "\n".join(
        f"  {header['name']}: {_blob(header['value'])}" for header in shown.get("headers", [])
    )
    shown["headers"] = "\n" + shown["headers"] if shown["headers"] else ""
    output.facts(shown)


def _blob(blob: dict[str, Any]) -> str:
    cut = "" if blob["whole"] else f" … ({blob['bytes']} bytes)"
    coded = "" if blob["encoding"] == "utf-8" else "base64 "
    return f"{coded}{blob['text']}{cut}"
