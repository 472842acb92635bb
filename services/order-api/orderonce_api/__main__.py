"""`python -m orderonce_api` runs the service; `… create-key` makes an API key straight in the
database.

The second is how the very first admin key comes into being; later ones are made over the admin
port.
"""

import argparse
import asyncio
import sys

import orjson
from orderonce_shared.contracts.http import CreateKeyBody
from orderonce_shared.contracts.reading import BodyInvalidError, read_members
from orderonce_shared.runtime.bearer import read_pepper
from orderonce_shared.runtime.database import open_pool
from orderonce_shared.runtime.settings import read_settings

from orderonce_api.keys import create_key
from orderonce_api.main import main
from orderonce_api.settings import CreateKeySettings
from orderonce_api.store import Store


async def _create(settings: CreateKeySettings, body: CreateKeyBody) -> dict[str, str]:
    pool = await open_pool(settings.database_url, application="order-api-create-key", size=1)
    try:
        row, text = await create_key(Store(pool), read_pepper(settings.pepper), body)
    finally:
        await pool.close()
    return {"kid": row["kid"], "key": text}


def _body(arguments: argparse.Namespace) -> CreateKeyBody:
    try:
        return read_members(
            CreateKeyBody,
            {
                "client": arguments.client,
                "name": arguments.name,
                "scopes": arguments.scopes.split(","),
                "accounts": arguments.accounts.split(",") if arguments.accounts else [],
            },
        )
    except BodyInvalidError as error:
        told = "; ".join(f"{pointer}: {message}" for pointer, message in error.errors)
        raise SystemExit(f"create-key: {told}") from None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orderonce_api", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    create = commands.add_parser("create-key", help="make an API key; prints it once, as JSON")
    create.add_argument("--client", required=True, help="who will use it")
    create.add_argument("--scopes", required=True, help="joined by commas")
    create.add_argument("--accounts", default="", help="joined by commas, or *")
    create.add_argument("--name", default="unnamed")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    if given.command == "create-key":
        made = asyncio.run(_create(read_settings(CreateKeySettings), _body(given)))
        sys.stdout.write(orjson.dumps(made).decode() + "\n")
    else:
        main()
