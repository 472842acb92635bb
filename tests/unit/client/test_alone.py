"""A bot's environment stays small: the client needs httpx and the standard library."""

import subprocess
import sys


def test_the_client_brings_nothing_of_the_house() -> None:
    code = (
        "import sys, orderonce; print([m for m in sys.modules if m.split('.')[0] in"
        " ('orderonce_shared', 'orderonce_api', 'orderonce_cli', 'pydantic', 'aiokafka', 'ccxt')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
