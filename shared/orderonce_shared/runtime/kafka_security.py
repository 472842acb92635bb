"""How a process proves to Kafka who it is and makes sure that Kafka is Kafka: one definition for
every service.

TLS that is asked for is verified, certificate and name: no setting switches that off (decision
0021). Files are read when a connection's context is made, so a renewed one needs a restart.
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from pydantic import Field, SecretStr, model_validator

from orderonce_shared.runtime.settings import ServiceSettings, is_loopback

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
TLS_PROTOCOLS = frozenset({"SSL", "SASL_SSL"})
SASL_PROTOCOLS = frozenset({"SASL_PLAINTEXT", "SASL_SSL"})
NO_SECRET = SecretStr("")
ASK_LIMIT_S = 5.0  # of one connection that is made only to hear why it is refused


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """The settings of one process. `prefix` begins its variables' names, for sentences."""

    protocol: SecurityProtocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = NO_SECRET
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    prefix: str = ""

    @property
    def tls(self) -> bool:
        return self.protocol in TLS_PROTOCOLS

    @property
    def sasl(self) -> bool:
        return self.protocol in SASL_PROTOCOLS

    def variable(self, name: str) -> str:
        return f"{self.prefix}KAFKA_{name}"

    def context(self) -> ssl.SSLContext | None:
        """TLS 1.2 or later, certificate and host name checked; None without TLS. Raises ValueError
        with a sentence that names the setting.
        """
        if not self.tls:
            return None
        try:
            made = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.variable('CA_FILE')}: {_why(self.ca_file, error)}") from None
        if self.cert_file:
            try:
                # the empty password: OpenSSL would ask the terminal for that of an encrypted key
                made.load_cert_chain(self.cert_file, self.key_file, password="")
            except (OSError, ssl.SSLError) as error:
                names = f"{self.variable('CERT_FILE')}, {self.variable('KEY_FILE')}"
                raise ValueError(f"{names}: {_why(self.cert_file, error)}") from None
        return made

    def client(self) -> dict[str, Any]:
        """The keyword arguments of every aiokafka client."""
        sasl = {
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password.get_secret_value(),
        }
        return {
            "security_protocol": self.protocol,
            "ssl_context": self.context(),
            **(sasl if self.sasl else {}),
        }

    def broker(self) -> BaseSecurity | None:
        """The same for FastStream."""
        if not self.sasl:
            return BaseSecurity(self.context()) if self.tls else None
        kinds = {
            "PLAIN": SASLPlaintext,
            "SCRAM-SHA-256": SASLScram256,
            "SCRAM-SHA-512": SASLScram512,
        }
        secret = self.password.get_secret_value()
        return kinds[self.mechanism](self.username, secret, self.context(), self.tls)

    def require_coherent(self) -> None:
        """Raises ValueError with a sentence when one setting contradicts another."""
        name = self.variable
        protocol = f"{name('SECURITY_PROTOCOL')} is {self.protocol}"
        if self.sasl and not (self.username and self.password.get_secret_value()):
            raise ValueError(f"{protocol}: {name('USERNAME')} and {name('PASSWORD')} are needed")
        if not self.sasl and (self.username or self.password.get_secret_value()):
            raise ValueError(
                f"{protocol}, which sends no name: {name('USERNAME')} and {name('PASSWORD')} need"
                " SASL_SSL"
            )
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(
                f"{protocol}, which is not encrypted: {name('CA_FILE')}, {name('CERT_FILE')} and"
                f" {name('KEY_FILE')} need SSL or SASL_SSL"
            )
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError(f"{name('CERT_FILE')} and {name('KEY_FILE')} go together")
        self.context()

    def warnings(self, bootstrap: str) -> list[str]:
        """What is allowed but open to whoever shares the network; nothing on one machine."""
        hosts = [host for host, _, _ in collect_hosts(bootstrap, randomize=False)]
        if self.tls or all(map(is_loopback, hosts)):
            return []
        told = f"{self.variable('SECURITY_PROTOCOL')} is {self.protocol}: "
        if self.sasl and self.mechanism == "PLAIN":
            return [told + "the password crosses the network in the clear; use SASL_SSL"]
        return [told + "who shares the network reads orders and may write them; use SASL_SSL"]

    def reason(self, server: str, error: BaseException) -> str:
        """Why a server could not be worked with, and the setting to look at. Quotes no secret."""
        name = self.variable
        match error:
            case ssl.SSLCertVerificationError():
                trust = self.ca_file or "this machine's authorities"
                return (
                    f"{name('CA_FILE')}: the certificate of {server} is not good by {trust}:"
                    f" {error.verify_message}"
                )
            case ssl.SSLError():
                return f"{name('SECURITY_PROTOCOL')}: no TLS with {server}: {error.reason or error}"
            case SaslAuthenticationFailed():
                return (
                    f"{name('USERNAME')}, {name('PASSWORD')}: {server} refuses"
                    f" {self.username!r} by {self.mechanism}"
                )
            case UnsupportedSaslMechanismError():
                return f"{name('SASL_MECHANISM')}: {server} does not take {self.mechanism}"
            case KafkaError() | ConnectionResetError() | TimeoutError():
                return (
                    f"{server} does not speak {self.protocol} with us ({type(error).__name__}):"
                    f" is it up, and is {name('SECURITY_PROTOCOL')} what this port wants?"
                )
            case _:
                return f"{server}: {type(error).__name__}: {error}"


OPEN = KafkaSecurity()  # no TLS, no name: one machine, or a network of one's own


class KafkaSettings(ServiceSettings):
    """What every process that talks to Kafka may be told about it; base of its settings."""

    kafka_bootstrap: str = Field(description="Kafka's bootstrap servers, host:port")
    kafka_security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT", description=", ".join(get_args(SecurityProtocol))
    )
    kafka_sasl_mechanism: Mechanism = Field(
        default="SCRAM-SHA-512", description=", ".join(get_args(Mechanism)) + "; with SASL"
    )
    kafka_username: str = Field(default="", description="with SASL: who we are")
    kafka_password: SecretStr = Field(default=NO_SECRET, description="with SASL: our password")
    kafka_ca_file: str = Field(
        default="", description="PEM: who may vouch for Kafka; none: this machine's authorities"
    )
    kafka_cert_file: str = Field(
        default="", description="PEM: our certificate, where Kafka asks for one (mTLS)"
    )
    kafka_key_file: str = Field(default="", description="PEM: its key, not encrypted")

    def kafka_security(self) -> KafkaSecurity:
        return KafkaSecurity(
            self.kafka_security_protocol,
            self.kafka_sasl_mechanism,
            self.kafka_username,
            self.kafka_password,
            self.kafka_ca_file,
            self.kafka_cert_file,
            self.kafka_key_file,
            str(self.model_config.get("env_prefix", "")),
        )

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        self.kafka_security().require_coherent()
        return self


async def why_refused(bootstrap: str, security: KafkaSecurity) -> str | None:
    """A sentence per server that does not take us; None when one does. aiokafka logs the reason
    and raises only that it could not bootstrap, which tells an operator nothing to do.
    """
    reasons = []
    for host, port, _ in collect_hosts(bootstrap, randomize=False):
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                connection = await create_conn(
                    host, port, client_id="orderonce-ask", **security.client()
                )
        except (KafkaError, OSError, TimeoutError) as error:
            reasons.append(security.reason(f"{host}:{port}", error))
        else:
            connection.close()
            return None
    return "; ".join(reasons)


def _why(path: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{path} is not what it should be: {error.reason or error}"
    return f"cannot read {path}: {error.strerror}"
