"""The service's settings: one field each, read from the environment variables PETALSCOPE_<FIELD>.

gunicorn's master process imports this module, so it must not import torch or OpenVINO.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

import limits
from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.photo_limits import LARGEST_DEFAULTS, MIB, PhotoLimits, default_limits
from model import has_pytorch
from model.data import DATA_VARIABLE
from model.errors import PetalscopeError
from model.imaging import heif
from model.imaging.limits import ImageLimits

# Threads that may handle feedback at the same time; further requests get 429.
FEEDBACK_THREADS: Final = 2

_PREFIX: Final = "PETALSCOPE_"
# Set by Kubernetes in every pod beside a Service named petalscope.
_KUBERNETES: Final = re.compile(_PREFIX + r"(.+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)")
_KUBERNETES_HINT: Final = (
    " Kubernetes sets it for a Service named petalscope: rename the Service, or set "
    "enableServiceLinks: false in the pod."
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")


class SettingsError(PetalscopeError):
    """An unknown setting or a bad value."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _origin(value: str) -> str:
    """Return an origin as browsers send it: lower case, without the scheme's default port."""
    origin = value.lower()
    for scheme, port in _DEFAULT_PORTS.items():
        if origin.startswith(f"{scheme}://"):
            origin = origin.removesuffix(f":{port}")
    if origin == "*":
        return origin
    try:
        parts = urlsplit(origin)
        port_part = f":{parts.port}" if parts.port is not None else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        valid = bool(parts.scheme and host) and origin == f"{parts.scheme}://{host}{port_part}"
    except ValueError:
        valid = False
    if not valid or " " in origin:
        raise ValueError(
            f"holds {value}; an origin is scheme://host or scheme://host:port without a path, such "
            "as https://example.org"
        )
    return origin


def _rate(value: str) -> str:
    try:
        if limits.parse(value).amount > 0:
            return value
    except ValueError:
        pass
    raise ValueError(
        f"holds {value}; a rate is NUMBER/UNIT, such as 5/second, 60/minute, 100/hour or 1000/day"
    )


def _host(value: str) -> str:
    host = value.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"holds {value}; a host is a name without scheme or port, such as flowers.example.org "
            "or .example.org"
        )
    return host


_Origin = Annotated[str, AfterValidator(_origin)]
_Rate = Annotated[str, AfterValidator(_rate)]
_HostName = Annotated[str, AfterValidator(_host)]
_Text = Annotated[str, Field(min_length=1)]
_AbsolutePath = Annotated[Path, AfterValidator(Path.resolve)]
_OnDevice = Literal["offer", "default", "off"]
_LogLevel = Literal["debug", "info", "warning", "error", "critical"]
# NoDecode: commas separate the values; pydantic-settings would expect JSON.
_CommaSeparated = (NoDecode, BeforeValidator(_split))


@dataclass(frozen=True)
class SettingRow:
    """One row of the documentation's table of settings."""

    variable: str
    default: str
    meaning: str


class Settings(BaseSettings):
    """All settings, validated and immutable.

    Raises:
        SettingsError: A value has the wrong type or is out of range.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    checkpoint: _AbsolutePath | None = Field(
        None,
        description="Checkpoint to serve: .onnx for a CPU, .safetensors for PyTorch; by default "
        "the one in checkpoints/ that suits the device",
        json_schema_extra={"unset": "bundled"},
    )
    device: _Text = Field(
        "auto",
        description="Device for inference: auto (the GPU if there is one), cpu, cuda, cuda:N",
    )
    host: _Text = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every network")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on")
    threads: int = Field(32, ge=2, le=1024, description="Requests handled at the same time")
    keep_alive_seconds: int = Field(
        75,
        ge=0,
        le=3600,
        description="Seconds that a connection stays open without a request, longer than the idle "
        "timeout of a load balancer in front; 0 closes it after each response",
    )
    max_body_mib: int = Field(
        LARGEST_DEFAULTS.body_mib,
        ge=1,
        le=1024,
        description="Largest request body, in MiB (1,048,576 bytes); the default is lower if there "
        "is little memory",
    )
    max_megapixels: int = Field(
        LARGEST_DEFAULTS.megapixels,
        ge=1,
        le=1000,
        description="Most pixels to decode per photo, in millions; a JPEG that is decoded at "
        "reduced scale may have four times as many; the default is lower if there is little memory",
    )
    min_side: int = Field(16, ge=1, le=1024, description="Shortest side of a photo, in pixels")
    heif: bool = Field(
        False,
        description="Accept HEIC and HEIF photos; needs pillow-heif, see requirements-heif.txt",
    )
    max_form_parts: int = Field(10, ge=1, le=1000, description="Maximum parts of a form")
    request_timeout_seconds: float = Field(
        10.0,
        ge=0.1,
        le=600,
        description="Seconds from a photo's arrival to its result; later the response is 504",
    )
    model_threads: int = Field(
        0,
        ge=0,
        description="CPU threads for inference; 0 for one per core, or per core of the container's "
        "CPU quota",
    )
    model_nice: int = Field(
        14,
        ge=0,
        le=19,
        description="Niceness of the inference threads of an .onnx checkpoint, so that they yield "
        "to requests; Linux only",
    )
    torch_compile: bool = Field(
        False,
        description="Compile the network of a .safetensors checkpoint with torch.compile, which "
        "takes minutes at start-up; needs a C++ compiler, which the images do not have",
    )
    max_batch_size: int = Field(
        16,
        ge=1,
        description="Maximum photos per batch; on a CPU, an .onnx checkpoint takes at most four "
        "per core, and PyTorch eight",
    )
    batch_timeout_seconds: float = Field(
        60.0,
        ge=0.1,
        le=3600,
        description="Seconds that the model may take for a batch; after that /readyz is 503 and "
        "the process is replaced",
    )
    max_in_flight: int = Field(
        LARGEST_DEFAULTS.in_flight,
        ge=1,
        description="Maximum photos in flight; further requests get 429. It must be below "
        "PETALSCOPE_THREADS, so that health checks always find a thread. The default is lower if "
        "there is little memory",
    )
    shutdown_seconds: int = Field(
        8,
        ge=2,
        le=600,
        description="Seconds to finish the requests in hand after SIGTERM; Docker kills the "
        "container after 10 s unless --stop-timeout is longer",
    )
    on_device: _OnDevice = Field(
        "offer",
        description="Identification in the visitor's browser instead of on the server; needs HTTPS "
        "and an ONNX file of the checkpoint",
    )
    pictures: _AbsolutePath | None = Field(
        None,
        description="Folder with pictures of the flowers and their manifest.json; by default "
        "pictures/ in the checkout, if `make pictures` made it",
        json_schema_extra={"unset": "pictures/"},
    )
    cors_origins: Annotated[tuple[_Origin, ...], *_CommaSeparated] = Field(
        (),
        description="Origins whose pages may call the API, separated by commas, such as "
        "https://example.org; * for all",
    )
    api_keys_file: _AbsolutePath | None = Field(
        None,
        description="File with one API key per line; requests without a key then get 401, except "
        "health checks",
    )
    rate_limits: Annotated[tuple[_Rate, ...], *_CommaSeparated] = Field(
        (),
        description="Maximum photos per key, or per address without keys, such as "
        "60/minute,1000/day",
    )
    rate_limit_storage_uri: _Text = Field(
        "memory://",
        description="Storage of the rate limits' counters: memory://, or redis://HOST:PORT to "
        "share them between services",
    )
    feedback_dir: _AbsolutePath | None = Field(
        None,
        description="Folder for feedback: corrections, and photos that visitors send with their "
        "consent; none turns feedback off",
    )
    feedback_database_url: _Text | None = Field(
        None,
        description="SQLAlchemy URL of the feedback's database, to share it between services, such "
        "as postgresql://USER:PASSWORD@HOST/DATABASE; by default a SQLite file in the folder",
        json_schema_extra={"unset": "SQLite"},
    )
    feedback_quota_mib: int = Field(
        1024, ge=1, description="Maximum size of all feedback, in MiB; more gets 507"
    )
    trusted_hosts: Annotated[tuple[_HostName, ...], *_CommaSeparated] = Field(
        (),
        description="Accepted Host headers, separated by commas; a leading dot includes all "
        "subdomains; none accepts any host",
    )
    proxy_count: int = Field(
        0,
        ge=0,
        le=10,
        description="Reverse proxies in front that set X-Forwarded-For, -Proto, -Host and -Prefix",
    )
    metrics_host: _Text = Field(
        "127.0.0.1", description="Address of the metrics port; 0.0.0.0 for every network"
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which Prometheus finds /metrics; 0 for none"
    )
    log_level: Annotated[_LogLevel, BeforeValidator(_lower)] = Field(
        "info", description="Lowest level that is logged"
    )

    def __init__(self, **values: Any) -> None:
        """Validate the values; use the defaults of the others."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None
        if self.heif and not heif.is_installed():
            raise SettingsError(
                f"{_variable('heif')} is true, but pillow-heif is not installed: "
                "pip install -r requirements-heif.txt, or set it to false."
            )
        if self.metrics_port == self.port:
            raise SettingsError(
                f"{_variable('metrics_port')} and {_variable('port')} are both {self.port}; they "
                "must differ."
            )
        if self.feedback_database_url is not None and self.feedback_dir is None:
            raise SettingsError(
                f"{_variable('feedback_database_url')} needs {_variable('feedback_dir')}, the "
                "folder of the photos."
            )
        feedback_threads = FEEDBACK_THREADS if self.feedback_dir is not None else 0
        if self.max_in_flight + feedback_threads >= self.threads:
            more = f", plus {feedback_threads} for feedback," if feedback_threads else ""
            raise SettingsError(
                f"{_variable('max_in_flight')} is {self.max_in_flight} and "
                f"{_variable('threads')} is {self.threads}; the first{more} must be smaller, so "
                "that health checks find a thread."
            )

    @property
    def image_limits(self) -> ImageLimits:
        """Limits on each uploaded photo."""
        return ImageLimits(self.max_megapixels * 1_000_000, self.min_side, heif=self.heif)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read keyword arguments only; `from_environment` reads the environment."""
        return (init_settings,)

    @property
    def photo_limits(self) -> PhotoLimits:
        """Limits that bound the memory of photos."""
        return PhotoLimits(self.max_megapixels, self.max_body_mib, self.max_in_flight)

    @property
    def may_run_pytorch(self) -> bool:
        """True if PyTorch is installed and the checkpoint or the device may need it."""
        if self.checkpoint is None:
            needed = self.device != "cpu"
        else:
            needed = self.checkpoint.suffix != ".onnx"
        return needed and has_pytorch()

    def fitted(self, memory: int) -> Settings:
        """Return the settings with limits on photos, where none are set, that fit into memory.

        Args:
            memory: Memory of the machine or container, in bytes.

        Raises:
            SettingsError: A limit does not suit the other settings.
        """
        limits = default_limits(memory, self.may_run_pytorch)
        fitting = {
            "max_megapixels": limits.megapixels,
            "max_body_mib": limits.body_mib,
            "max_in_flight": limits.in_flight,
        }
        return Settings(**{**fitting, **self.model_dump(exclude_unset=True)})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from environment variables. An empty optional variable means not set.

        Raises:
            SettingsError: A variable PETALSCOPE_… is unknown, or its value is bad.
        """
        known = {_variable(name): name for name in cls.model_fields}
        values = {}
        for variable, text in environ.items():
            if variable in known:
                values[known[variable]] = text.strip()
            elif (
                variable.startswith(_PREFIX)
                and variable != DATA_VARIABLE
                and not _KUBERNETES.fullmatch(variable)
            ):
                close = difflib.get_close_matches(variable, known, n=1, cutoff=0)
                raise SettingsError(f"There is no setting {variable}; the nearest is {close[0]}.")
        return cls(
            **{
                name: value
                for name, value in values.items()
                if value or cls.model_fields[name].default not in (None, ())
            }
        )

    @classmethod
    def describe(cls) -> list[SettingRow]:
        """Return the documentation's table of settings, in the order of the fields."""
        return [
            SettingRow(_variable(name), _shown_default(field), _meaning(field))
            for name, field in cls.model_fields.items()
        ]

    @property
    def max_body_bytes(self) -> int:
        """Largest request body, in bytes."""
        return self.max_body_mib * MIB


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def _sentence(error: ValidationError) -> str:
    """Return the first error as one sentence: variable, value, allowed range."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    if name not in Settings.model_fields:
        close = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0)
        return f"There is no setting {name}; the nearest is {close[0]}."
    cause = first.get("ctx", {}).get("error")
    if first["type"] == "value_error":
        return f"{_variable(name)} {cause}."
    value = first["input"]
    shown = "empty" if value == "" else value
    allowed = _allowed(Settings.model_fields[name]) or "a value"
    hint = _KUBERNETES_HINT if str(value).startswith("tcp://") else ""
    return f"{_variable(name)} is {shown}; it must be {allowed}.{hint}"


def _allowed(field: FieldInfo) -> str:
    """Return a field's allowed values in words, or "" if any text is allowed."""
    choices = get_args(field.annotation) if isinstance(field.default, str) else ()
    if choices:
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    if isinstance(field.default, bool):
        return "true or false"
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    if low is None:
        return ""
    number = "a number" if isinstance(field.default, float) else "a whole number"
    return f"{number} from {low} " + (f"to {high}" if high is not None else "up")


def _meaning(field: FieldInfo) -> str:
    allowed = _allowed(field)
    return f"{field.description}: {allowed}." if allowed else f"{field.description}."


def _shown_default(field: FieldInfo) -> str:
    default = field.default
    if default is None or default == ():
        extra = field.json_schema_extra
        return str(extra["unset"]) if isinstance(extra, dict) else "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
