"""Every setting of the service: a field here, an environment variable outside, nothing else.

    environment -> Settings.from_environment -> checked Settings -> create_app, gunicorn.conf.py

A variable PETALSCOPE_<FIELD> is parsed by the field's own type and checked against its own range;
the table of settings in the README is made of the same fields. Nothing here imports torch, since
gunicorn's master process reads the settings too and must stay free of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from app.setting_values import normal_host, normal_origin, normal_rate
from model.data.data_folder import DATA_VARIABLE
from model.errors import PetalscopeError

_PREFIX: Final = "PETALSCOPE_"
# Variables of the same prefix that belong to the scripts and the tests.
_NOT_OURS: Final = frozenset({DATA_VARIABLE})
_LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
# Kubernetes tells every pod of a service called petalscope about it by such variables.
_KUBERNETES: Final = re.compile(_PREFIX + r"(.+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)")
_KUBERNETES_HINT: Final = (
    " Kubernetes sets this one for a Service named petalscope: give the Service another name, or "
    "the pod enableServiceLinks: false."
)


class SettingsError(PetalscopeError):
    """A setting is unknown or has a bad value."""


@dataclass(frozen=True)
class SettingRow:
    """One setting as documentation shows it: its variable, its default, what it means."""

    variable: str
    default: str
    meaning: str


def _setting(
    default: Any,
    meaning: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    normal: Callable[[str], str] | None = None,
    absent: str = "none",
) -> Any:
    # `normal` brings each of several values to its normal form, `absent` is how documentation shows
    # a default of None.
    metadata = {
        "meaning": meaning,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "normal": normal,
        "absent": absent,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All settings, checked; each field's meaning and range stand in its metadata.

    Raises:
        SettingsError: A value is out of its range.
    """

    checkpoint: Path | None = _setting(  # noqa: RUF009 - it calls `field`
        None,
        "The checkpoint that is served: .onnx for a CPU, .safetensors for PyTorch; by default the "
        "one in checkpoints/ that suits the device",
        absent="bundled",
    )
    device: str = _setting(
        "auto", "Where the model runs: auto (the GPU where there is one), cpu, cuda or cuda:N"
    )
    host: str = _setting("127.0.0.1", "Address to listen at; 0.0.0.0 for every network")
    port: int = _setting(8000, "Port to listen at", minimum=1, maximum=65535)
    threads: int = _setting(32, "Requests handled at the same time", minimum=2, maximum=1024)
    max_body_mib: int = _setting(
        32, "Largest body of a request, in MiB (1,048,576 bytes)", minimum=1, maximum=1024
    )
    max_megapixels: int = _setting(
        64, "Largest photo, in millions of pixels", minimum=1, maximum=1000
    )
    min_side: int = _setting(16, "Shortest side of a photo, in pixels", minimum=1, maximum=1024)
    max_form_parts: int = _setting(10, "Most parts of a form", minimum=1, maximum=1000)
    request_timeout_seconds: float = _setting(
        10.0,
        "Seconds from a photo's arrival to its answer, after which the answer is 504",
        minimum=0.1,
        maximum=600,
    )
    model_threads: int = _setting(
        0, "Threads that the model runs on where it runs on a CPU; 0 for one a core", minimum=0
    )
    model_nice: int = _setting(
        14,
        "How far the threads that run an .onnx file stand back behind requests, as nice(1) counts "
        "it; on Linux alone",
        minimum=0,
        maximum=19,
    )
    torch_compile: int = _setting(
        0,
        "1 has PyTorch compile the network (torch.compile), which takes minutes at the start",
        minimum=0,
        maximum=1,
    )
    max_batch_size: int = _setting(
        16,
        "Most photos that the model runs on at once; an .onnx file's takes four a core at most",
        minimum=1,
    )
    max_in_flight: int = _setting(
        24,
        "Most photos being read, decoded, waiting or worked on; more are answered 429. Below "
        "the number of threads, so that health checks always find one",
        minimum=1,
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        "Origins whose pages may use the API, such as https://example.org, with commas between; "
        "* for all",
        normal=normal_origin,
    )
    api_keys_file: Path | None = _setting(  # noqa: RUF009 - it calls `field`
        None,
        "File with one API key a line; with it, only requests with a key are answered, but for "
        "health checks",
    )
    rate_limits: tuple[str, ...] = _setting(
        (),
        "Most photos from one key, or without keys one address, such as 60/minute,1000/day",
        normal=normal_rate,
    )
    rate_limit_storage_uri: str = _setting(
        "memory://",
        "Where the photos of each are counted: memory:// or redis://HOST:PORT, which several "
        "services can share",
    )
    trusted_hosts: tuple[str, ...] = _setting(
        (),
        "Names by which the service may be called, with commas between; a leading dot "
        "takes all names below. None takes any",
        normal=normal_host,
    )
    proxy_count: int = _setting(
        0,
        "How many proxies of yours stand in front and set X-Forwarded-For, -Proto, -Host and "
        "-Prefix",
        minimum=0,
        maximum=10,
    )
    metrics_port: int = _setting(
        0, "Port at which Prometheus finds /metrics; 0 for none", minimum=0, maximum=65535
    )
    log_level: str = _setting("info", "What is logged, and what is worse", choices=_LOG_LEVELS)

    def __post_init__(self) -> None:
        """Check every value against its range."""
        for setting in fields(self):
            value = getattr(self, setting.name)
            _check(setting, value)
            if setting.metadata["normal"]:
                object.__setattr__(self, setting.name, _normal(setting, value))
        if self.metrics_port == self.port:
            raise SettingsError(
                f"{_variable('metrics_port')} and {_variable('port')} are both {self.port}; they "
                "must differ."
            )
        if self.max_in_flight >= self.threads:
            raise SettingsError(
                f"{_variable('max_in_flight')} is {self.max_in_flight} and "
                f"{_variable('threads')} is {self.threads}; it must be smaller, so that "
                "health checks find a thread."
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from environment variables.

        Raises:
            SettingsError: A variable PETALSCOPE_… is unknown, or its value is bad.
        """
        types = get_type_hints(cls)
        known = {_variable(setting.name): setting for setting in fields(cls)}
        values = {}
        for variable, text in environ.items():
            if not variable.startswith(_PREFIX) or variable in _NOT_OURS:
                continue
            if variable not in known and _KUBERNETES.fullmatch(variable):
                continue
            if variable not in known:
                close = difflib.get_close_matches(variable, known, n=1, cutoff=0)
                raise SettingsError(f"There is no setting {variable}; the nearest is {close[0]}.")
            setting = known[variable]
            values[setting.name] = _parse(setting, types[setting.name], text.strip())
        return cls(**values)

    @classmethod
    def describe(cls) -> list[SettingRow]:
        """Return the settings as rows of a table, in the order of the fields."""
        return [
            SettingRow(
                variable=_variable(setting.name),
                default=_shown(setting),
                meaning=_with_range(setting),
            )
            for setting in fields(cls)
        ]

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request, in bytes."""
        return self.max_body_mib * 1024 * 1024


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def _parse(setting: Field[Any], kind: Any, text: str) -> Any:
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            hint = _KUBERNETES_HINT if text.startswith("tcp://") else ""
            raise SettingsError(_bad_value(setting, text) + hint) from None
    if kind == Path | None:
        return Path(text).resolve() if text else text
    if kind is str:
        return text.lower() if setting.metadata["choices"] else text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(setting: Field[Any], value: Any) -> None:
    low, high = setting.metadata["minimum"], setting.metadata["maximum"]
    choices = setting.metadata["choices"]
    # `not low <= value` rather than `value < low`: NaN is in no range.
    wrong = (
        (low is not None and not low <= value)
        or (high is not None and not value <= high)
        or (choices and value not in choices)
        or value == ""
    )
    if wrong:
        raise SettingsError(_bad_value(setting, value))


def _normal(setting: Field[Any], values: tuple[str, ...]) -> tuple[str, ...]:
    normal = []
    for value in values:
        try:
            normal.append(setting.metadata["normal"](value))
        except ValueError as error:
            raise SettingsError(f"{_variable(setting.name)} holds {value}; {error}.") from None
    return tuple(normal)


def _bad_value(setting: Field[Any], value: Any) -> str:
    shown = "empty" if value == "" else value
    return f"{_variable(setting.name)} is {shown}; it must be {_range(setting) or 'given'}."


def _range(setting: Field[Any]) -> str:
    low, high = setting.metadata["minimum"], setting.metadata["maximum"]
    choices = setting.metadata["choices"]
    if choices:
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    if low is None:
        return ""
    number = "a number" if isinstance(setting.default, float) else "a whole number"
    return f"{number} from {low} to {high}" if high is not None else f"{number} from {low} up"


def _with_range(setting: Field[Any]) -> str:
    allowed = _range(setting)
    return f"{setting.metadata['meaning']}: {allowed}." if allowed else setting.metadata["meaning"]


def _shown(setting: Field[Any]) -> str:
    default = setting.default
    if default is None:
        return str(setting.metadata["absent"])
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    return f"{default:g}" if isinstance(default, float) else str(default)
