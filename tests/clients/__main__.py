"""`lock` chooses versions of clients anew, `make` sets environments up, `page` writes the page."""

import argparse
import sys

from tests.clients import environments, page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("what", choices=("lock", "make", "page"))
    parser.add_argument("client", nargs="*", help=f"of {', '.join(environments.NAMES)}; else all")
    asked = parser.parse_args()
    if unknown := set(asked.client) - set(environments.NAMES):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    if asked.what == "page":
        page.PAGE.write_text(page.render(page.PAGE.read_text()))
        return
    for client in asked.client or environments.NAMES:
        if asked.what == "lock":
            environments.write_lock(client)
            told = "requirements.lock is written"
        else:
            told = str(environments.python_of(client))
        sys.stdout.write(f"{client}: {told}\n")


if __name__ == "__main__":
    main()
