"""One exchange is loaded, not all; who wants all of ccxt in the same process still gets it."""

import subprocess
import sys

import pytest

LOAD = "from orderonce_shared.venues.ccxt_one import exchange_class; import sys"


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_one_exchange_is_loaded() -> None:
    loaded = run(
        f"{LOAD}\nfrom orderonce_shared.venues.adapter import Door\n"
        "print(sorted(n for n in sys.modules if n.startswith('ccxt.async_support.')"
        " and '.base' not in n), 'ccxt.kraken' in sys.modules)"
    )
    assert loaded == "['ccxt.async_support.binance'] False"


def test_its_stream_costs_no_other_exchange_either() -> None:
    loaded = run(
        f"{LOAD}\nfrom orderonce_shared.venues.stream import OrderStream\n"
        "print(sorted(n for n in sys.modules if n.startswith(('ccxt.async_support.', 'ccxt.pro.'))"
        " and '.base' not in n), 'ccxt.kraken' in sys.modules)\n"
        "import ccxt.pro\nfrom orderonce_shared.venues.ccxt_one import stream_class\n"
        "assert ccxt.pro.binance is stream_class('binance')\n"
        "assert ccxt.pro.kraken.__name__ == 'kraken'"
    )
    assert loaded == "['ccxt.async_support.binance', 'ccxt.pro.binance'] False"


def test_all_of_ccxt_can_be_had_afterwards() -> None:
    said = run(
        f"{LOAD}\none = exchange_class('binance')\n"
        "import ccxt.async_support as all_of_it\nimport ccxt\n"
        "assert all_of_it.binance is one\n"
        "assert all_of_it.kraken.__name__ == 'kraken'\n"
        "assert len(ccxt.exchanges) > 50 and ccxt.binance is not one\n"
        "assert ccxt.NetworkError is all_of_it.NetworkError\n"
        "import ccxt.pro\nassert issubclass(ccxt.pro.binance, one)\n"
        "from ccxt import okx, InvalidOrder\nprint(ccxt.__version__)"
    )
    assert said.startswith("4.")


@pytest.mark.parametrize("first", ["import ccxt", "import ccxt.async_support", "import ccxt.pro"])
def test_all_of_ccxt_may_have_been_there_before(first: str) -> None:
    assert (
        run(
            f"{first}\n{LOAD}\none = exchange_class('binance')\n"
            "import ccxt.async_support as all_of_it\nprint(all_of_it.binance is one)"
        )
        == "True"
    )


def test_an_exchange_that_is_not_there_is_an_import_error() -> None:
    assert (
        run(
            f"{LOAD}\nfor name in ('nowhere', 'os.path', ''):\n"
            "    try:\n        exchange_class(name)\n"
            "    except ImportError as error:\n        print('no')"
        ).split()
        == ["no"] * 3
    )
