"""`orderonce prepare secrets | credentials | keys`: the jobs that make a fresh deployment usable.

Each is done once and safe to repeat; compose runs all three at every start. A deployment that has
its own secrets and venues needs none of them.
"""

import os
import subprocess
import sys
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from orderonce_cli import output
from orderonce_cli.commands.options import JsonOption
from orderonce_cli.problems import Exit, Problem
from orderonce_cli.stack import deployment, running, seed
from orderonce_cli.stack.layout import write_private

app = typer.Typer(help="Jobs that prepare a deployment in containers.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--to", help="Folder with one subfolder per reader.")]
FIRST_KEY_LIMIT_S = 60.0


@app.command()
def secrets(
    to: Folder,
    postgres: Annotated[
        str, typer.Option(help="Host and port of Postgres; several joined by commas.")
    ] = "postgres:5432",
    database: Annotated[str, typer.Option(help="Name of the database, and of its owner.")] = (
        "orderonce"
    ),
    owner: Annotated[
        int, typer.Option(help="User id that the files shall belong to; only root can give.")
    ] = deployment.SERVICE_USER,
    json: JsonOption = False,
) -> None:
    """Make passwords and pepper, once, and what is put together from them."""
    made = deployment.write_secrets(to, postgres, database, owner)
    if json:
        output.as_json({"made": made})
    else:
        print(f"{made} secrets made" if made else "all secrets are there")


@app.command()
def credentials(
    to: Folder,
    paper_keys: Annotated[Path, typer.Option(help="keys.json of the paper exchange.")],
    json: JsonOption = False,
) -> None:
    """Give the executor the paper exchange's trading keys and the ledger its reading ones."""
    try:
        text = paper_keys.read_text()
    except OSError as error:
        raise Problem(f"{paper_keys} cannot be read: {error.strerror}.") from error
    written = [to / service / "credentials.json" for service in seed.CREDENTIAL_KINDS]
    for path, content in zip(written, seed.split_credentials(text).values(), strict=True):
        write_private(path, content)
    if json:
        output.as_json({"written": [str(path) for path in written]})
    else:
        print("credentials written")


@app.command()
def keys(
    to: Annotated[Path, typer.Option("--to", help="Folder for admin.key and demo.key.")],
    view: Annotated[str, typer.Option(help="Where the services answer: JSON as of `status`.")],
    json: JsonOption = False,
) -> None:
    """Make the first admin key, admit the paper accounts, make a demo key, wait until all is ready.

    Needs ORDER_API_DATABASE_URL_FILE and ORDER_API_PEPPER_FILE: no other key can make the first.
    """
    try:
        addresses: dict[str, Any] = loads(view)
        apis, admins = addresses["order_api"], addresses["order_api_admin"]
        place = seed.Place(apis[0], admins[0], addresses["ledger"], to)
    except (ValueError, LookupError, TypeError) as error:
        raise Problem(f"--view is not what it should be: {error}.", Exit.USAGE) from error
    with output.progress("preparing the stack") as report:
        if seed.read_key(to, "admin") is None:
            seed.keep_key(to, "admin", _first_key())
        seed.admit_accounts(place)
        seed.make_demo_key(place)
        report("accounts and keys are there")
        seed.wait_for_instruments(place, lambda: False)
        report("the order API lists instruments")
        seed.wait_for_books(place, lambda: False)
        report("the ledger's books are open")
    demo_key = seed.read_key(to, "demo")
    running.keep(to, {**addresses, "demo_key": demo_key, "accounts": list(seed.ACCOUNTS)})
    if json:
        output.as_json({"keys": str(to), "accounts": list(seed.ACCOUNTS)})


def _first_key() -> dict[str, Any]:
    """A process that dies between the key's commit and the file leaves a key that nobody knows, and
    the next run makes another one: a row too many, and no door open."""
    made = subprocess.run(
        [sys.executable, "-m", "orderonce_api", *seed.FIRST_KEY],
        env=os.environ, stdout=subprocess.PIPE, text=True, timeout=FIRST_KEY_LIMIT_S, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise Problem("The first admin key could not be made (see above).")
    told: dict[str, Any] = loads(made.stdout.splitlines()[-1])
    return told
