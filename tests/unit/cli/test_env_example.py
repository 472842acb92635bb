""".env.example tells every setting of every service with its default, and no secret."""

import re

from orderonce_api.settings import OrderApiSettings
from orderonce_cli.stack.layout import CHECKOUT
from orderonce_executor.settings import ExecutorSettings
from orderonce_ledger.settings import LedgerSettings
from orderonce_shared.runtime.kafka import TopicSettings
from orderonce_shared.runtime.migrate import MigrateSettings
from orderonce_shared.runtime.settings import ServiceSettings
from pydantic_core import PydanticUndefined

SERVICES: tuple[type[ServiceSettings], ...] = (
    OrderApiSettings,
    ExecutorSettings,
    LedgerSettings,
    TopicSettings,
    MigrateSettings,
)


def wanted(settings: type[ServiceSettings]) -> list[str]:
    prefix = str(settings.model_config.get("env_prefix", ""))
    lines = []
    for name, field in settings.model_fields.items():
        known = field.default is not PydanticUndefined
        lines.append(
            f"{'' if known else '# '}{prefix}{name.upper()}={field.default if known else ''}"
        )
    return lines


def test_every_setting_stands_there_with_its_default() -> None:
    text = (CHECKOUT / ".env.example").read_text().splitlines()
    told = [line.split("   ")[0].rstrip() for line in text]
    missing = [line for one in SERVICES for line in wanted(one) if line not in told]
    assert missing == [], "\n".join(["add to .env.example:", *missing])


def test_nothing_stands_there_that_is_no_setting() -> None:
    known = {
        re.sub(r"^# |=.*", "", line) for one in SERVICES for line in wanted(one)
    }  # fmt: skip
    text = (CHECKOUT / ".env.example").read_text()
    told = set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.M))
    assert {name for name in told if not name.startswith("ORDERONCE_")} <= known
