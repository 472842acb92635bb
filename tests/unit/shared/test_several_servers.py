"""Addresses of a cluster: several servers in one setting, for Kafka and for Postgres."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from orderonce_shared.runtime.database_url import target
from orderonce_shared.runtime.kafka_consumer import consumer_broker
from orderonce_shared.runtime.migrate import _url_for_yoyo
from pydantic import SecretStr

PAIR = "postgresql://ledger:word@one:5432,two:5433/orderonce?target_session_attrs=read-write"


def test_a_consumer_knows_every_broker() -> None:
    settings: Any = consumer_broker("one:1,two:2,three:3", "test").config
    assert settings.builder.keywords["bootstrap_servers"] == ["one:1", "two:2", "three:3"]


@pytest.mark.parametrize(
    ("url", "server", "local"),
    [
        (PAIR, "one:5432,two:5433", False),
        ("postgresql://u:p@127.0.0.1,localhost:6/d", "127.0.0.1:5432,localhost:6", True),
        ("postgresql://u:p@127.0.0.1,two/d", "127.0.0.1:5432,two:5432", False),
        ("postgresql://u:p@[::1]:7/d", "::1:7", True),
        ("postgresql:///d", ":5432", True),
    ],
)
def test_a_url_may_name_a_primary_and_its_standbys(url: str, server: str, local: bool) -> None:
    told = target(SecretStr(url))
    assert (told.server, told.local) == (server, local)


def test_migrations_run_on_the_server_that_takes_writes() -> None:
    found = cast(Any, SimpleNamespace(host="two", port=5433))
    assert _url_for_yoyo(PAIR, found).startswith("postgresql+psycopg://ledger:word@two:5433/")
    alone = "postgresql://u:p@one:9/d?sslmode=disable"
    assert _url_for_yoyo(alone, found) == alone.replace("postgresql:", "postgresql+psycopg:")
