"""Settings are read once, in a service's main.py, from the environment. X_FILE names a file that
holds the value of X.

Files are how secrets come in where the environment can be read by others (containers, `ps e`).
"""

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)


class _FileSource(PydanticBaseSettingsSource):
    """`PREFIX_NAME_FILE=/path` gives the stripped content of the file as the value of `name`."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        prefix = str(self.config.get("env_prefix", ""))
        path = os.environ.get(f"{prefix}{field_name}_FILE".upper())
        if path is None:
            return None, field_name, False
        name = f"{prefix}{field_name}_FILE".upper()
        try:
            text = Path(path).read_text().strip()
        except OSError as error:
            raise SystemExit(f"{name}: cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SystemExit(f"{name}: {path} is not text") from None
        return text, field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_json = self.get_field_value(field, name)
            if value is None:
                continue
            try:
                values[key] = self.prepare_field_value(name, field, value, is_json)
            except ValueError:
                raise SettingsError(f"{name} is not the JSON that it should be") from None
        return values


class ServiceSettings(BaseSettings):
    """Base of each service's settings; a subclass sets `env_prefix`. Unknown variables are ignored,
    bad ones end the process with a sentence that names the variable and never its value.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _FileSource(settings_cls), env_settings


def is_loopback(host: str) -> bool:
    """Whether what is said to this host, or to this socket's folder, stays on this machine."""
    return host in ("", "localhost", "::1", "[::1]") or host.startswith(("127.", "/"))


Settings = TypeVar("Settings", bound=ServiceSettings)


def read_settings(cls: type[Settings]) -> Settings:
    """The settings, or SystemExit (code 2) with one line per bad variable."""
    try:
        return cls()
    except ValidationError as error:
        prefix = cls.model_config.get("env_prefix", "")
        lines = [
            _sentence(prefix, item["loc"], item["msg"])
            for item in error.errors(include_input=False, include_url=False)
        ]
    except SettingsError as error:  # it names the setting, never the value
        lines = [str(error)]
    sys.stderr.write("\n".join(["settings are not valid:", *lines]) + "\n")
    raise SystemExit(2)


def _sentence(prefix: str, place: tuple[int | str, ...], message: str) -> str:
    """A check over several settings names them itself."""
    said = message.removeprefix("Value error, ")
    return f"{prefix}{'.'.join(map(str, place))}".upper() + f": {said}" if place else said
