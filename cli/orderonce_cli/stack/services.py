"""The services as children: their settings, and the secrets that reach them as 0600 files.

A service's own tunables (ORDER_API_…, EXECUTOR_…, LEDGER_…) are taken over from the environment
of `orderonce up`; nothing else of it is, apart from what Python needs to run.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orderonce_cli.stack import postgres
from orderonce_cli.stack.children import Spec
from orderonce_cli.stack.layout import Layout, kept_secret, write_private
from orderonce_cli.stack.seed import ACCOUNTS, FIRST_KEY, VENUE, Place, split_credentials
from orderonce_cli.stack.state import Shape

ROLES = ("order_api", "executor", "ledger")
PASSED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
TRACES = "OTEL_"
TUNABLES = ("ORDER_API_", "EXECUTOR_", "LEDGER_", TRACES)


@dataclass(frozen=True)
class Plan:
    """One stack to run: where, in which shape, on which ports, in which environment."""

    layout: Layout
    shape: Shape
    ports: dict[str, int]
    environment: Mapping[str, str]  # of the command that started it

    @property
    def base_env(self) -> dict[str, str]:
        """What every child gets."""
        return {k: v for k, v in self.environment.items() if k in PASSED or k.startswith(TRACES)}

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports['kafka']}"


def write_secrets(plan: Plan) -> None:
    """Passwords, pepper and database URLs, as files; made once, written again when ports moved."""
    layout, port = plan.layout, plan.ports["postgres"]
    kept_secret(layout, "pepper")
    for role in ROLES:
        write_private(layout.secret(f"{role}.url"), postgres.url(layout, port, role))
    write_private(layout.secret("owner.url"), postgres.url(layout, port))


def write_credentials(plan: Plan) -> None:
    """The paper exchange's keys, split: the executor may trade, the ledger may read."""
    keys = (plan.layout.paper / "keys.json").read_text()
    for service, text in split_credentials(keys).items():
        write_private(plan.layout.secret(f"{service}-credentials.json"), text)


def place(plan: Plan) -> Place:
    """What seeding needs to know of this plan."""
    return Place(
        order_api=plan.address("order-api-1"),
        order_api_admin=plan.address("order-api-admin-1"),
        ledger=plan.address("ledger"),
        keys=plan.layout.root,
    )


def migrations(plan: Plan) -> Spec:
    """Schemas, roles and their passwords."""
    passwords = {
        f"MIGRATE_{role.upper()}_PASSWORD_FILE": str(plan.layout.secret(f"{role}.password"))
        for role in ROLES
    }
    url = {"MIGRATE_DATABASE_URL_FILE": str(plan.layout.secret("owner.url"))}
    return _module(plan, "migrate", "orderonce_shared.runtime.migrate", {**url, **passwords})


def topics(plan: Plan) -> Spec:
    """Kafka's topics."""
    env = {"KAFKA_BOOTSTRAP": plan.bootstrap, "KAFKA_REPLICATION": "1"}
    return _module(plan, "topics", "orderonce_shared.runtime.kafka", env)


def create_admin_key(plan: Plan) -> Spec:
    """The first key, which no other key can make."""
    env = {
        "ORDER_API_DATABASE_URL_FILE": str(plan.layout.secret("order_api.url")),
        "ORDER_API_PEPPER_FILE": str(plan.layout.secret("pepper")),
    }
    return _module(plan, "create-key", "orderonce_api", env, list(FIRST_KEY))


def paper(plan: Plan) -> Spec:
    """The paper exchange."""
    flags = ["--data", str(plan.layout.paper), "--port", str(plan.ports["paper"]),
             "--control-port", str(plan.ports["paper-control"])]  # fmt: skip
    if not plan.shape.paper_limits:
        flags.append("--no-rate-limits")
    return _module(plan, "paper", "orderonce_paper", {}, flags)


def services(plan: Plan) -> list[Spec]:
    """Order API, executor and ledger, in their copies."""
    apis = [
        _service(plan, f"order-api-{n}", "orderonce_api", "ORDER_API_", {
            "PORT": str(plan.ports[f"order-api-{n}"]),
            "ADMIN_PORT": str(plan.ports[f"order-api-admin-{n}"]),
            "PEPPER_FILE": str(plan.layout.secret("pepper")),
        })
        for n in range(1, plan.shape.apis + 1)
    ]  # fmt: skip
    executors = [
        _service(plan, f"executor-{n}", "orderonce_executor", "EXECUTOR_", {
            "ADMIN_PORT": str(plan.ports[f"executor-admin-{n}"]),
            **_venues(plan, "executor"),
        })
        for n in range(1, plan.shape.executors + 1)
    ]  # fmt: skip
    ledger = _service(plan, "ledger", "orderonce_ledger", "LEDGER_", {
        "PORT": str(plan.ports["ledger"]),
        "ADMIN_PORT": str(plan.ports["ledger-admin"]),
        "PEPPER_FILE": str(plan.layout.secret("pepper")),
        **_venues(plan, "ledger"),
    })  # fmt: skip
    return [*apis, *executors, ledger]


def ready_urls(plan: Plan) -> dict[str, str]:
    """Where each service says whether it can do its work."""
    names = {f"order-api-{n}": f"order-api-admin-{n}" for n in range(1, plan.shape.apis + 1)}
    names |= {f"executor-{n}": f"executor-admin-{n}" for n in range(1, plan.shape.executors + 1)}
    names["ledger"] = "ledger-admin"
    return {name: f"{plan.address(port)}/readyz" for name, port in names.items()}


def view(plan: Plan, demo_key: str | None) -> dict[str, Any]:
    """The public members of api.md for this plan."""
    shown: dict[str, Any] = {
        "kafka": plan.bootstrap,
        "postgres": postgres.url(plan.layout, plan.ports["postgres"]),
    }
    if plan.shape.infrastructure:
        return shown
    apis, executors = range(1, plan.shape.apis + 1), range(1, plan.shape.executors + 1)
    return {
        "order_api": [plan.address(f"order-api-{n}") for n in apis],
        "order_api_admin": [plan.address(f"order-api-admin-{n}") for n in apis],
        "executor_admin": [plan.address(f"executor-admin-{n}") for n in executors],
        "ledger": plan.address("ledger"),
        "paper": plan.address("paper"),
        "paper_control": plan.address("paper-control"),
        **shown,
        "demo_key": demo_key,
        "accounts": list(ACCOUNTS),
    }


def _venues(plan: Plan, service: str) -> dict[str, str]:
    return {
        "CREDENTIALS": str(plan.layout.secret(f"{service}-credentials.json")),
        "VENUE_URLS": json.dumps({VENUE: plan.address("paper")}),
    }


def _service(plan: Plan, name: str, module: str, prefix: str, own: dict[str, str]) -> Spec:
    role = prefix.rstrip("_").lower()
    tunables = {key: value for key, value in plan.environment.items() if key.startswith(prefix)}
    settings = {
        "DATABASE_URL_FILE": str(plan.layout.secret(f"{role}.url")),
        "KAFKA_BOOTSTRAP": plan.bootstrap,
        "HOST": "127.0.0.1",
        **own,
    }
    return _module(plan, name, module, tunables | {prefix + k: v for k, v in settings.items()})


def _module(
    plan: Plan, name: str, module: str, env: Mapping[str, str], flags: list[str] | None = None
) -> Spec:
    argv = (sys.executable, "-m", module, *(flags or []))
    return Spec(name, argv, {**plan.base_env, **env}, plan.layout.root)


def environment() -> dict[str, str]:
    """This process's environment as far as a stack takes it over."""
    kept = {k: v for k, v in os.environ.items() if k in PASSED or k.startswith(TUNABLES)}
    if "PYTHONPATH" in kept:  # children run in another folder
        paths = kept["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths)
    return kept
