"""`orderonce recon run | show` and `orderonce breaks list`: the ledger against the venue."""

import time
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from orderonce_cli import output
from orderonce_cli.api import Given, connect
from orderonce_cli.commands.options import DataOption, JsonOption, KeyFileOption, UrlOption, rows
from orderonce_cli.problems import Problem

app = typer.Typer(help="Reconcile the ledger with the venue.", no_args_is_help=True)
breaks_app = typer.Typer(help="Differences between the ledger and the venue.", no_args_is_help=True)

RUN_LIMIT_S = 120.0
LOOK_AGAIN_S = 0.2
UNFINISHED = ("queued", "running", "started", "open")
RUN_COLUMNS = ("account", "status", "reason", "venue_trades", "ledger_trades", "matched", "breaks")
PROOF_COLUMNS = ("account", "asset", "venue_balance", "ledger_balance", "explained", "in_flight",
                 "proof")  # fmt: skip
BREAK_COLUMNS = ("id", "type", "account", "symbol", "status", "effect", "natural_key",
                 "first_seen")  # fmt: skip


@app.command()
def run(
    account: Annotated[str | None, typer.Option(help="One account (default: all).")] = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Reconcile now and show the result."""
    api = connect("ledger", Given(data, url, key_file))
    told: dict[str, Any] = api.post("/v1/reconciliations", {"account": account} if account else {})
    deadline = time.monotonic() + RUN_LIMIT_S
    while told.get("status") in UNFINISHED:
        if time.monotonic() > deadline:
            raise Problem(f"The reconciliation did not end in {RUN_LIMIT_S:.0f} s.")
        time.sleep(LOOK_AGAIN_S)
        told = api.get(f"/v1/reconciliations/{quote(str(told['id']), safe='')}")
    _print(told, json)
    _judge(told)


@app.command()
def show(
    reconciliation: Annotated[str, typer.Argument(help="The id that `recon run` printed.")],
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """Show an earlier reconciliation."""
    api = connect("ledger", Given(data, url, key_file))
    _print(api.get(f"/v1/reconciliations/{quote(reconciliation, safe='')}"), json)


@breaks_app.command("list")
def list_breaks(
    account: Annotated[str | None, typer.Option()] = None,
    status: Annotated[Literal["open", "auto_resolved"], typer.Option()] = "open",
    every: Annotated[bool, typer.Option("--all", help="Of any status.")] = False,
    kind: Annotated[str | None, typer.Option("--type", help="e.g. MISSING_IN_LEDGER")] = None,
    cursor: Annotated[str | None, typer.Option()] = None,
    data: DataOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    json: JsonOption = False,
) -> None:
    """List open breaks; an empty list is the proof that the books agree."""
    api = connect("ledger", Given(data, url, key_file))
    asked = None if every else status
    body = api.get("/v1/breaks", account=account, status=asked, type=kind, cursor=cursor)
    if json:
        output.as_json(body)
        return
    found = rows(body)
    if found:
        output.table(found, BREAK_COLUMNS)
    else:
        print("no breaks" if every else f"no {status} breaks")


def _judge(told: dict[str, Any]) -> None:
    """Exit code 1 when the books do not agree with the venue, for scripts that go by it."""
    found = sum(run["breaks"] for run in told["runs"])
    if found:
        breaks = "1 open break" if found == 1 else f"{found} open breaks"
        raise Problem(f"{breaks}: orderonce breaks list")
    if not told["proven"]:
        raise Problem(
            f"The books are not proven (status {told['status']}): see the reasons and the proof."
        )


def _print(told: dict[str, Any], json: bool) -> None:
    if json:
        output.as_json(told)
        return
    runs, proofs = told.get("runs", []), told.get("proof", [])
    lists = ("runs", "proof")
    output.facts({k: value for k, value in told.items() if value is not None and k not in lists})
    print()
    output.table(runs, RUN_COLUMNS)
    print()
    unproven = [row for row in proofs if Decimal(row["proof"]) != 0]
    print(f"proof is 0 for {len(proofs) - len(unproven)} of {len(proofs)} balances")
    if unproven:
        output.table(unproven, PROOF_COLUMNS)
