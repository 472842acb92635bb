"""The URL of Postgres, checked before it is used: TLS that is asked for is verified (decision
0021).

asyncpg (services) and libpq (migrations) read the same words, sslmode and sslrootcert, but differ
where these are missing: both look into a home folder, only one knows `system`. So what is asked
for must be said whole, in the URL.
"""

import ssl
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from pydantic import AfterValidator, SecretStr

from orderonce_shared.runtime.settings import is_loopback

VERIFIED = frozenset({"verify-ca", "verify-full"})
OPEN = frozenset({"", "disable", "allow", "prefer"})


@dataclass(frozen=True, slots=True)
class Target:
    """What may be told of a URL: no password."""

    server: str
    role: str
    sslmode: str
    sslrootcert: str
    local: bool


def target(url: SecretStr) -> Target:
    """Raises ValueError with a sentence when the URL is none or contradicts itself."""
    try:
        parts = urlsplit(url.get_secret_value())
        servers, role = _servers(parts.netloc), parts.username or ""
    except ValueError:  # its text would quote the URL
        raise ValueError("is no URL") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must begin with postgresql://")
    words = dict(parse_qsl(parts.query))
    mode, root = words.get("sslmode", ""), words.get("sslrootcert", "")
    named = ",".join(f"{host}:{port}" for host, port in servers)
    return Target(named, role, mode, root, all(is_loopback(host) for host, _ in servers))


def _servers(netloc: str) -> list[tuple[str, int]]:
    """Host and port of each: a URL may name a primary and its standbys, joined by commas."""
    places = [urlsplit(f"//{place}") for place in netloc.rpartition("@")[2].split(",")]
    return [(place.hostname or "", place.port or 5432) for place in places]


def _checked(url: SecretStr) -> SecretStr:
    told = target(url)
    if told.sslmode == "require":
        raise ValueError(
            "sslmode=require encrypts without knowing for whom: say"
            " sslmode=verify-full&sslrootcert=/path/to/ca.pem"
        )
    if told.sslmode not in VERIFIED | OPEN:
        raise ValueError("sslmode must be verify-full, verify-ca, prefer, allow or disable")
    if told.sslmode in OPEN and told.sslrootcert:
        raise ValueError(
            f"sslrootcert is not looked at with sslmode={told.sslmode or 'prefer'}:"
            " say sslmode=verify-full"
        )
    if told.sslmode in VERIFIED:
        _require_root(told)
    return url


def _require_root(told: Target) -> None:
    if told.sslrootcert in ("", "system"):
        raise ValueError(
            f"sslmode={told.sslmode} needs sslrootcert=/path/to/ca.pem (this machine's authorities"
            " are a file too: on Debian /etc/ssl/certs/ca-certificates.crt)"
        )
    try:
        ssl.create_default_context(cafile=told.sslrootcert)
    except ssl.SSLError:
        raise ValueError(f"sslrootcert: {told.sslrootcert} is no PEM certificate") from None
    except OSError as error:
        sentence = f"sslrootcert: cannot read {told.sslrootcert}: {error.strerror}"
        raise ValueError(sentence) from None


DatabaseUrl = Annotated[SecretStr, AfterValidator(_checked)]


def warnings(url: SecretStr, setting: str) -> list[str]:
    """What is allowed but open to whoever shares the network; nothing on one machine."""
    told = target(url)
    if told.local or told.sslmode in VERIFIED:
        return []
    return [
        f"{setting}: sslmode={told.sslmode or 'prefer'} does not check who answers at"
        f" {told.server}, and may not encrypt; use sslmode=verify-full"
    ]


def reason(url: SecretStr, setting: str, error: BaseException) -> str:
    """Why Postgres could not be used, and the setting to look at. Quotes no secret."""
    told = target(url)
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"{setting}: the certificate of {told.server} is not good by"
                f" sslrootcert={told.sslrootcert}: {error.verify_message}"
            )
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{setting}: {told.server} refuses the role {told.role!r}: {error}"
        case ConnectionError() if "SSL" in str(error):
            return f"{setting}: sslmode={told.sslmode}, but {told.server} has no TLS"
        case _:
            return f"{setting}: {told.server}: {type(error).__name__}: {error}"
