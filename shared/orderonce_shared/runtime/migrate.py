"""Applies every service's migrations and sets the roles' passwords. Safe to repeat and to run twice
at once.

yoyo runs the files: plain SQL, forward only, each in one transaction together with the note that it
was applied: a runner that dies in between has done nothing.
`python -m orderonce_shared.runtime.migrate` with MIGRATE_DATABASE_URL (owner) and one
MIGRATE_<ROLE>_PASSWORD per role.
"""

import re
import sys
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict
from yoyo import get_backend, read_migrations

from orderonce_shared.runtime.database_url import DatabaseUrl, reason, warnings
from orderonce_shared.runtime.settings import ServiceSettings, read_settings

OWNERS_OF_SCHEMAS = (
    "orderonce_shared.control",
    "orderonce_api",
    "orderonce_executor",
    "orderonce_ledger",
)
LOCK_WAIT_S = 60  # for another runner
TABLE_WAIT_S = 10.0  # for a table; meanwhile everybody else who wants it waits behind us
DATABASE_URL = "MIGRATE_DATABASE_URL"


class MigrateSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="MIGRATE_", frozen=True, hide_input_in_errors=True)

    database_url: DatabaseUrl = Field(description="Postgres, as the owner of the database")
    order_api_password: SecretStr = Field(description="password of the role order_api")
    executor_password: SecretStr = Field(description="password of the role executor")
    ledger_password: SecretStr = Field(description="password of the role ledger")


def migration_folders() -> list[str]:
    return [str(Path(str(files(package))) / "migrations") for package in OWNERS_OF_SCHEMAS]


def apply_migrations(url: str) -> list[str]:
    """Applies what is missing, in dependency order; returns the ids applied. `url` is the
    owner's. One runner at a time, by a lock that Postgres takes back from a runner that dies:
    yoyo's own lock is a row, which a kill -9 leaves behind for ever, so it is broken under ours.

    Raises psycopg.errors.LockNotAvailable when a table was in use for TABLE_WAIT_S (a backup reads
    it): what was applied before stays, and the next run goes on from there.
    """
    with psycopg.connect(url, autocommit=True) as guard:
        guard.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
        guard.execute("SELECT pg_advisory_lock(hashtext('orderonce.migrate'))")
        backend = get_backend(_url_for_yoyo(url, guard.info))
        try:
            backend.execute(f"SET lock_timeout = '{int(TABLE_WAIT_S * 1000)}ms'")
            backend.commit()
            backend.break_lock()
            with backend.lock(LOCK_WAIT_S):
                missing = backend.to_apply(read_migrations(*migration_folders()))
                names = [migration.id for migration in missing]
                for migration in missing:
                    with backend.transaction():  # its own apply_one commits the file first
                        migration.process_steps(backend, "apply")
                        backend.mark_one(migration)
            return names
        finally:
            backend.connection.close()


def _url_for_yoyo(url: str, found: psycopg.ConnectionInfo) -> str:
    """It knows one server, and the URL may name several: the one that was found to take writes."""
    parts = urlsplit(url)
    user, at, places = parts.netloc.rpartition("@")
    if "," in places:
        places = f"{found.host}:{found.port}"
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", netloc=user + at + places))


def set_passwords(url: str, passwords: dict[str, SecretStr]) -> None:
    """Gives each login role its password. The password goes as a literal inside one statement on a
    local or TLS connection; Postgres stores the SCRAM verifier.
    """
    with psycopg.connect(url) as connection:
        for role, password in passwords.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(password.get_secret_value())
                )
            )


def main() -> None:
    settings = read_settings(MigrateSettings)
    for warning in warnings(settings.database_url, DATABASE_URL):
        sys.stderr.write(f"warning: {warning}\n")
    try:
        applied = migrate(settings)
    except psycopg.OperationalError as error:
        raise SystemExit(
            f"migrations: {reason(settings.database_url, DATABASE_URL, error)}"
        ) from None
    sys.stderr.write(
        f"migrations applied: {', '.join(applied) if applied else 'none were missing'}\n"
    )


def migrate(settings: MigrateSettings) -> list[str]:
    """Schemas, roles and their passwords; returns the ids applied."""
    url = re.sub(r"^postgres://", "postgresql://", settings.database_url.get_secret_value())
    applied = apply_migrations(url)
    set_passwords(
        url,
        {
            "order_api": settings.order_api_password,
            "executor": settings.executor_password,
            "ledger": settings.ledger_password,
        },
    )
    return applied


if __name__ == "__main__":
    main()
