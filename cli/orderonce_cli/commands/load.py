"""`orderonce load`: drive the line, or a Kafka of one's own, at a chosen rate and read honest
latency.
"""

import json as json_text
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import uvloop

from orderonce_cli import output
from orderonce_cli.commands.options import DataOption, JsonOption, KeyFileOption
from orderonce_cli.load import machine, merge, page, session, text
from orderonce_cli.load.hops import HEARD, READ_BACK
from orderonce_cli.load.kafka import Access, KafkaError, Mechanism, Security
from orderonce_cli.load.plan import CONNECTIONS, DRAIN_S, EXECUTOR_GROUP, IN_FLIGHT, Plan
from orderonce_cli.load.ramp import Bound
from orderonce_cli.load.run import Run
from orderonce_cli.load.session import PARTITIONS, Ramp, Topics
from orderonce_cli.load.target import Chosen, resolved
from orderonce_cli.problems import Exit, Problem

EPILOG = (
    "Exit codes: 0 every accepted order has a final status or is known to be unknown (--ramp: and "
    "a rate was kept) · 1 not so, or refused · 2 wrong usage · 3 no answer from the API or Kafka · "
    "130 interrupted: sending stopped, the rest was waited for and reported. How to read the "
    "report: docs/load.md."
)
WHERE, KAFKA, RAMP, OUT = "Where to", "Kafka", "Ramp", "Report"


def _option(help_text: str, panel: str | None = None, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **more)


app = typer.Typer(epilog=EPILOG)


@app.callback(invoke_without_command=True)
def load(
    context: typer.Context,
    via: Annotated[
        Literal["http", "kafka"], _option("Through the order API, or straight to Kafka.")
    ] = "http",
    rate: Annotated[float, _option("Orders a second; the first step of --ramp.", min=0.1)] = 100.0,
    seconds: Annotated[float, _option("How long to send.", min=0.1)] = 30.0,
    arrivals: Annotated[
        Literal["constant", "poisson"], _option("Evenly spaced, or independent of each other.")
    ] = "constant",
    seed: Annotated[int, _option("Of Poisson arrivals.")] = 1,
    accounts: Annotated[str, _option("How many, or their names with commas.")] = "8",
    symbols: Annotated[str, _option("With commas, e.g. BTC/USDT,ETH/USDT.")] = "",
    quantity: Annotated[str | None, _option("Of every order, in its base asset.")] = None,
    kind: Annotated[Literal["market", "ioc"], _option("Neither rests.", None, "--type")] = "market",
    measure: Annotated[
        Literal["line", "kafka"],
        _option("The whole line, or Kafka alone: produce and read back, no executor needed."),
    ] = "line",
    in_flight: Annotated[
        int, _option("Orders without an answer; more are dropped, and counted.", min=1)
    ] = IN_FLIGHT,
    connections: Annotated[int, _option("To the order API.", min=1)] = CONNECTIONS,
    retry: Annotated[bool, _option("Repeat what had no decision, with the same key.")] = True,
    drain_seconds: Annotated[float, _option("Wait so long for the last ends.", min=0)] = DRAIN_S,
    api: Annotated[
        list[str] | None, _option("An order API's address; repeat for several.", WHERE)
    ] = None,
    key_file: KeyFileOption = None,
    ledger: Annotated[str | None, _option("Its address: adds the hop `booked`.", WHERE)] = None,
    data: DataOption = None,
    bootstrap: Annotated[str | None, _option("host:port,host:port", KAFKA)] = None,
    security_protocol: Annotated[Security, _option("How brokers listen.", KAFKA)] = "PLAINTEXT",
    sasl_mechanism: Annotated[Mechanism, _option("With SASL_….", KAFKA)] = "PLAIN",
    sasl_username: Annotated[str | None, _option("With SASL_….", KAFKA)] = None,
    sasl_password_file: Annotated[
        Path | None, _option("A file, since a command line is public.", KAFKA)
    ] = None,
    ca_file: Annotated[Path | None, _option("Who signed the brokers (PEM).", KAFKA)] = None,
    client_cert: Annotated[Path | None, _option("Our certificate (PEM).", KAFKA)] = None,
    client_key: Annotated[Path | None, _option("Its key (PEM).", KAFKA)] = None,
    topic_prefix: Annotated[str, _option("Of topics and groups, e.g. loadtest.", KAFKA)] = "",
    make_topics: Annotated[
        bool, _option("Make missing topics; those are removed at the end.", KAFKA)
    ] = False,
    partitions: Annotated[int, _option("Of made topics.", KAFKA, min=1)] = PARTITIONS,
    replication: Annotated[int, _option("Of made topics.", KAFKA, min=1)] = 1,
    group: Annotated[str, _option("The executors' consumer group.", KAFKA)] = EXECUTOR_GROUP,
    venue: Annotated[str, _option("Of the accounts; any but paper trades for real.")] = "paper",
    ramp: Annotated[bool, _option("Search the highest rate that is kept.", RAMP)] = False,
    hold_seconds: Annotated[float, _option("How long each rate must be kept.", RAMP, min=1)] = 30.0,
    latency_bound_ms: Annotated[float, _option("Of the 99th percentile.", RAMP, min=0.1)] = 250.0,
    bound_hop: Annotated[
        Literal["accept", "final", "heard", "read_back"] | None,
        _option("Which hop is bound (default: heard; read_back for --measure kafka).", RAMP),
    ] = None,
    max_rate: Annotated[float, _option("The search goes no higher.", RAMP, min=1)] = 100_000.0,
    report: Annotated[Path | None, _option("Write the report as JSON.", OUT)] = None,
    html: Annotated[Path | None, _option("Write the report as a page with plots.", OUT)] = None,
    json: JsonOption = False,
) -> None:
    """Send orders at a chosen rate and report what became of each, with honest latencies.

    Arrivals are an open loop: they never wait for answers, and latency counts from the moment at
    which an order was meant to start. Without addresses the running stack is used.
    """
    if context.invoked_subcommand is not None:
        return
    _check_folders(report, html)
    plan = Plan(
        via="kafka" if measure == "kafka" else via, rate=rate, seconds=seconds, arrivals=arrivals,
        seed=seed, kind=kind, measured=measure, in_flight=in_flight, connections=connections,
        retry=retry, drain_s=drain_seconds,
    )  # fmt: skip
    access = None
    if bootstrap is not None:
        access = Access(
            bootstrap, security_protocol, sasl_mechanism, sasl_username,
            _password(sasl_password_file, security_protocol, sasl_username),
            ca_file, client_cert, client_key,
        )  # fmt: skip
    chosen = Chosen(
        via=plan.via, measured=measure, accounts=accounts, symbols=_names(symbols),
        quantity=quantity, kind=kind, api=tuple(api or ()), ledger=ledger, kafka=access,
        prefix=topic_prefix, group=group, venue=venue, data=data, key_file=key_file,
    )  # fmt: skip
    topics = Topics(make_topics, partitions, replication)
    hop = bound_hop or (READ_BACK if measure == "kafka" else HEARD)
    search = Ramp(rate, max_rate, hold_seconds, Bound(hop, latency_bound_ms)) if ramp else None
    _tell(_run(plan, chosen, topics, search), report, html, json)


@app.command("merge", epilog="Exit codes: as of the runs together.")
def merge_reports(
    reports: Annotated[list[Path], typer.Argument(help="Reports (JSON) of single runs.")],
    report: Annotated[Path | None, _option("Write the merged report as JSON.", OUT)] = None,
    html: Annotated[Path | None, _option("Write it as a page with plots.", OUT)] = None,
    json: JsonOption = False,
) -> None:
    """Add the reports of generators that ran together: counts and histograms, never averages."""
    _check_folders(report, html)
    told = [_read(file) for file in reports]
    _tell(merge.merge(told, machine.command()), report, html, json)


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json_text.loads(file.read_bytes())
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror}.", Exit.USAGE) from error
    except ValueError as error:
        raise Problem(f"{file} is no JSON.", Exit.USAGE) from error
    if not isinstance(told, dict):
        raise Problem(f"{file} is no report.", Exit.USAGE)
    return told


def _tell(told: dict[str, Any], report: Path | None, html: Path | None, json: bool) -> None:
    if json:
        output.as_json(told)
    else:
        for line in text.lines(told):
            print(line)
    _write(told, report, html)
    _judge(told)


def _run(plan: Plan, chosen: Chosen, topics: Topics, search: Ramp | None) -> dict[str, Any]:
    with resolved(chosen) as target, _shown() as (watch, say):
        try:
            if search is None:
                return uvloop.run(session.once(plan, target, topics, watch, say))
            return uvloop.run(session.ramp(plan, search, target, topics, watch, say))
        except KafkaError as error:
            raise Problem(f"Kafka refused: {type(error).__name__}: {error}") from error


@contextmanager
def _shown() -> "Iterator[tuple[Any, Any]]":
    """One line that is rewritten each second on a terminal, a line a second otherwise."""
    if not output.ERR.is_terminal:
        say = _plain
        yield lambda run: say(text.live(run)), say
        return
    with output.ERR.status("connecting …") as shown:

        def watch(run: Run) -> None:
            shown.update(text.live(run))

        yield watch, lambda words: output.ERR.print(words, highlight=False, markup=False)


def _plain(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _check_folders(*files: Path | None) -> None:
    """Before the run: a report that cannot be written is no news for its end."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise Problem(f"{file} cannot be written: no such folder.", Exit.USAGE)


def _write(told: dict[str, Any], report: Path | None, html: Path | None) -> None:
    try:
        if report is not None:
            report.write_text(json_text.dumps(told, indent=1, allow_nan=False) + "\n")
        if html is not None:
            html.write_text(page.render(told))
    except OSError as error:
        raise Problem(f"{error.filename} cannot be written: {error.strerror}.") from error


def _judge(told: dict[str, Any]) -> None:
    if told["interrupted"]:
        raise typer.Exit(Exit.INTERRUPTED)
    if not told["holds"] or ("ramp" in told and told["ramp"]["kept"] is None):
        raise typer.Exit(Exit.FAILED)


def _password(file: Path | None, security: str, username: str | None) -> str | None:
    if not security.startswith("SASL_"):
        return None
    if file is None or username is None:
        raise Problem(f"{security} needs --sasl-username and --sasl-password-file.", Exit.USAGE)
    try:
        return file.read_text().rstrip("\r\n")
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror}.", Exit.USAGE) from error


def _names(told: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in told.split(",") if name.strip())
