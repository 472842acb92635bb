"""Settings of the ways to Kafka and Postgres: what contradicts itself is refused in words, what is
open is said aloud, and no password is in either.
"""

import ssl
from pathlib import Path

import pytest
from orderonce_shared.runtime import database_url
from orderonce_shared.runtime.kafka_security import KafkaSecurity
from orderonce_shared.runtime.settings import read_settings
from orderonce_shared.runtime.transport import TransportSettings
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from tests.secured import new_authority

SECRET = "hunter2-that-no-message-may-quote"
NEEDED = {"T_KAFKA_BOOTSTRAP": "kafka:9093", "T_DATABASE_URL": f"postgresql://r:{SECRET}@db:5432/o"}
SASL = {
    "T_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "T_KAFKA_USERNAME": "me",
    "T_KAFKA_PASSWORD": SECRET,
}


class Settings(TransportSettings):
    model_config = SettingsConfigDict(env_prefix="T_", frozen=True, hide_input_in_errors=True)


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in {**NEEDED, **variables}.items():
        monkeypatch.setenv(name, value)
    return read_settings(Settings)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return new_authority(tmp_path).ca


REFUSED = {
    "SASL without a password": (
        {"T_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "T_KAFKA_USERNAME": "me"}, "T_KAFKA_PASSWORD",
    ),
    "SASL without a name": (
        {"T_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "T_KAFKA_PASSWORD": SECRET}, "T_KAFKA_USERNAME",
    ),
    "a password that would not be sent": (
        {"T_KAFKA_USERNAME": "me", "T_KAFKA_PASSWORD": SECRET}, "PLAINTEXT, which sends no name",
    ),
    "an authority that would not be asked": (
        {"T_KAFKA_CA_FILE": "/etc/hosts"}, "PLAINTEXT, which is not encrypted",
    ),
    "a certificate without its key": (
        {**SASL, "T_KAFKA_CERT_FILE": "/etc/hosts"}, "T_KAFKA_CERT_FILE and T_KAFKA_KEY_FILE",
    ),
    "an authority's file that is not there": (
        {**SASL, "T_KAFKA_CA_FILE": "/nowhere/ca.pem"}, "T_KAFKA_CA_FILE: cannot read /nowhere",
    ),
    "an authority's file that is none": (
        {**SASL, "T_KAFKA_CA_FILE": "/etc/hosts"}, "T_KAFKA_CA_FILE: /etc/hosts is not",
    ),
    "an unknown protocol": ({"T_KAFKA_SECURITY_PROTOCOL": "TLS"}, "T_KAFKA_SECURITY_PROTOCOL"),
    "an unknown mechanism": ({**SASL, "T_KAFKA_SASL_MECHANISM": "MD5"}, "T_KAFKA_SASL_MECHANISM"),
    "sslmode=require": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslmode=require"},
        "T_DATABASE_URL: sslmode=require encrypts without knowing for whom",
    ),
    "verify-full without an authority": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslmode=verify-full"}, "sslrootcert=",
    ),
    "the authorities that only one driver knows": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslmode=verify-full&sslrootcert=system"},
        "sslrootcert=",
    ),
    "an authority that is not looked at": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslrootcert=/etc/hosts"}, "not looked at",
    ),
    "a root certificate that is not there": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslmode=verify-ca&sslrootcert=/nowhere"},
        "T_DATABASE_URL: sslrootcert: cannot read /nowhere",
    ),
    "a misspelt sslmode": (
        {"T_DATABASE_URL": f"postgresql://r:{SECRET}@db/o?sslmode=verify_full"}, "sslmode must be",
    ),
    "no URL": ({"T_DATABASE_URL": f"postgresql://r:{SECRET}@db:port/o"}, "DATABASE_URL: is no URL"),
    "another database's URL": ({"T_DATABASE_URL": f"mysql://r:{SECRET}@db/o"}, "postgresql://"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_in_words(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables, words = REFUSED[case]
    with pytest.raises(SystemExit) as ended:
        read(monkeypatch, **variables)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in said
    assert "Value error" not in said
    assert SECRET not in said


def test_tls_is_verified_and_cannot_be_asked_not_to_be(
    monkeypatch: pytest.MonkeyPatch, ca: Path
) -> None:
    made = read(monkeypatch, **SASL, T_KAFKA_CA_FILE=str(ca)).kafka_security()
    for context in (made.context(), KafkaSecurity("SSL").context()):
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_client_certificate_is_loaded(tmp_path: Path) -> None:
    authority = new_authority(tmp_path)
    certificate, key = authority.issue("me")
    made = KafkaSecurity(
        "SSL", ca_file=str(authority.ca), cert_file=str(certificate), key_file=str(key)
    )
    assert made.context() is not None
    with pytest.raises(ValueError, match="KAFKA_CERT_FILE, KAFKA_KEY_FILE"):
        KafkaSecurity("SSL", cert_file=str(authority.ca), key_file=str(key)).context()


def test_both_drivers_get_the_same(ca: Path) -> None:
    made = KafkaSecurity("SASL_SSL", "SCRAM-SHA-256", "me", SecretStr(SECRET), str(ca))
    told = made.client()
    assert told["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (told["sasl_plain_username"], told["sasl_plain_password"]) == ("me", SECRET)
    broker = made.broker()
    assert type(broker).__name__ == "SASLScram256"
    assert broker is not None
    assert broker.use_ssl
    assert KafkaSecurity().client() == {"security_protocol": "PLAINTEXT", "ssl_context": None}
    assert KafkaSecurity().broker() is None
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (KafkaSecurity(), "reads orders and may write them"),
        (KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "me", SecretStr(SECRET)), "in the clear"),
        (KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-512", "me", SecretStr(SECRET)), "reads orders"),
    ],
)
def test_an_open_way_is_said_aloud(made: KafkaSecurity, words: str) -> None:
    (warning,) = made.warnings("127.0.0.1:9092,kafka:9092")
    assert words in warning
    assert SECRET not in warning
    assert made.warnings("127.0.0.1:9092,localhost:9093") == []


def test_what_is_verified_is_not_warned_about(ca: Path) -> None:
    assert KafkaSecurity("SSL", ca_file=str(ca)).warnings("kafka:9092") == []
    url = f"postgresql://r:{SECRET}@db/o?sslmode=verify-full&sslrootcert={ca}"
    assert database_url.warnings(SecretStr(url), "T") == []


@pytest.mark.parametrize("query", ["", "?sslmode=prefer", "?sslmode=disable"])
def test_a_database_that_nobody_verifies_is_said_aloud(query: str) -> None:
    (warning,) = database_url.warnings(SecretStr(f"postgresql://r:{SECRET}@db/o{query}"), "T_URL")
    assert "T_URL" in warning
    assert "verify-full" in warning
    assert SECRET not in warning
    for here in ("127.0.0.1", "localhost", "[::1]"):
        url = SecretStr(f"postgresql://r:{SECRET}@{here}/o{query}")
        assert database_url.warnings(url, "T_URL") == []
