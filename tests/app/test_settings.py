"""Settings from environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.photo_limits import MIB
from app.settings import Settings, SettingsError


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.checkpoint is None
    assert settings.max_in_flight < settings.threads


def test_every_setting_has_a_variable() -> None:
    settings = Settings.from_environment(
        {
            "PETALSCOPE_CHECKPOINT": "/models/mine.safetensors",
            "PETALSCOPE_DEVICE": "cuda:1",
            "PETALSCOPE_HOST": "0.0.0.0",
            "PETALSCOPE_PORT": "9000",
            "PETALSCOPE_THREADS": "9",
            "PETALSCOPE_KEEP_ALIVE_SECONDS": "0",
            "PETALSCOPE_MAX_BODY_MIB": "4",
            "PETALSCOPE_MAX_MEGAPIXELS": "12",
            "PETALSCOPE_MIN_SIDE": "32",
            "PETALSCOPE_HEIF": "true",
            "PETALSCOPE_MAX_FORM_PARTS": "3",
            "PETALSCOPE_REQUEST_TIMEOUT_SECONDS": "2.5",
            "PETALSCOPE_MODEL_THREADS": "2",
            "PETALSCOPE_MODEL_NICE": "0",
            "PETALSCOPE_TORCH_COMPILE": "1",
            "PETALSCOPE_MAX_BATCH_SIZE": "4",
            "PETALSCOPE_BATCH_TIMEOUT_SECONDS": "30",
            "PETALSCOPE_MAX_IN_FLIGHT": "6",
            "PETALSCOPE_SHUTDOWN_SECONDS": "60",
            "PETALSCOPE_PICTURES": "/srv/pictures",
            "PETALSCOPE_ON_DEVICE": "default",
            "PETALSCOPE_CORS_ORIGINS": "https://Example.org:443, http://localhost:3000,",
            "PETALSCOPE_API_KEYS_FILE": "/run/secrets/keys",
            "PETALSCOPE_RATE_LIMITS": "60/minute, 1000/day",
            "PETALSCOPE_RATE_LIMIT_STORAGE_URI": "redis://redis:6379",
            "PETALSCOPE_FEEDBACK_DIR": "/feedback",
            "PETALSCOPE_FEEDBACK_DATABASE_URL": "postgresql://db/feedback",
            "PETALSCOPE_FEEDBACK_QUOTA_MIB": "10",
            "PETALSCOPE_TRUSTED_HOSTS": "Flowers.example.org,.example.com",
            "PETALSCOPE_PROXY_COUNT": "1",
            "PETALSCOPE_METRICS_HOST": "0.0.0.0",
            "PETALSCOPE_METRICS_PORT": "9100",
            "PETALSCOPE_LOG_LEVEL": "WARNING",
        }
    )
    assert settings == Settings(
        checkpoint=Path("/models/mine.safetensors"),
        device="cuda:1",
        host="0.0.0.0",
        port=9000,
        threads=9,
        keep_alive_seconds=0,
        max_body_mib=4,
        max_megapixels=12,
        min_side=32,
        heif=True,
        max_form_parts=3,
        request_timeout_seconds=2.5,
        model_threads=2,
        model_nice=0,
        torch_compile=True,
        max_batch_size=4,
        batch_timeout_seconds=30,
        max_in_flight=6,
        shutdown_seconds=60,
        pictures=Path("/srv/pictures"),
        on_device="default",
        cors_origins=("https://example.org", "http://localhost:3000"),
        api_keys_file=Path("/run/secrets/keys"),
        rate_limits=("60/minute", "1000/day"),
        rate_limit_storage_uri="redis://redis:6379",
        feedback_dir=Path("/feedback"),
        feedback_database_url="postgresql://db/feedback",
        feedback_quota_mib=10,
        trusted_hosts=("flowers.example.org", ".example.com"),
        proxy_count=1,
        metrics_host="0.0.0.0",
        metrics_port=9100,
        log_level="warning",
    )
    defaults = Settings()
    for name in Settings.model_fields:
        assert getattr(settings, name) != getattr(defaults, name), name


@pytest.mark.parametrize(
    "name", ["CHECKPOINT", "API_KEYS_FILE", "CORS_ORIGINS", "RATE_LIMITS", "TRUSTED_HOSTS"]
)
def test_an_empty_optional_variable_means_not_set(name: str) -> None:
    assert Settings.from_environment({f"PETALSCOPE_{name}": ""}) == Settings()


def test_a_misspelt_keyword_names_the_nearest_setting() -> None:
    with pytest.raises(SettingsError, match="port"):
        Settings(prot=80)


def test_limits_that_are_not_set_fit_into_the_memory() -> None:
    environ = {"PETALSCOPE_DEVICE": "cpu", "PETALSCOPE_MAX_MEGAPIXELS": "40"}
    settings = Settings.from_environment(environ)
    fitted = settings.fitted(512 * MIB)
    assert fitted.max_megapixels == 40
    assert 1 <= fitted.max_body_mib < settings.max_body_mib
    assert 1 <= fitted.max_in_flight < settings.max_in_flight
    assert fitted.device == "cpu"
    assert settings.fitted(64 * 1024 * MIB) == settings


@pytest.mark.parametrize(
    ("settings", "pytorch"),
    [
        ({"device": "cpu"}, False),
        ({"device": "auto"}, True),
        ({"device": "cuda:1"}, True),
        ({"device": "cpu", "checkpoint": Path("mine.safetensors")}, True),
        ({"device": "auto", "checkpoint": Path("mine.onnx")}, False),
    ],
)
def test_pytorch_takes_memory_where_it_may_run(settings: dict[str, Any], pytorch: bool) -> None:
    assert Settings(**settings).may_run_pytorch is pytorch


def test_a_relative_checkpoint_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"PETALSCOPE_CHECKPOINT": "mine.safetensors"})
    assert settings.checkpoint == tmp_path / "mine.safetensors"


def test_other_variables_are_ignored() -> None:
    environ = {"PETALSCOPE_DATA": "/data", "PATH": "/bin", "GUNICORN_CMD_ARGS": "--threads 1"}
    assert Settings.from_environment(environ) == Settings()


def test_an_unknown_variable_names_the_nearest_setting() -> None:
    with pytest.raises(SettingsError, match=r"PETALSCOPE_PROT\b.*PETALSCOPE_PORT\b"):
        Settings.from_environment({"PETALSCOPE_PROT": "80"})


@pytest.mark.parametrize(
    ("name", "value", "fragments"),
    [
        ("PORT", "http", ["1", "65535"]),
        ("PORT", "0", ["65535"]),
        ("PORT", "", ["65535"]),
        ("PORT", "80.5", ["whole"]),
        ("PORT", "tcp://10.0.0.1:8000", ["enableServiceLinks"]),
        ("METRICS_PORT", "8000", ["PETALSCOPE_PORT"]),
        ("REQUEST_TIMEOUT_SECONDS", "nan", ["0.1", "600"]),
        ("REQUEST_TIMEOUT_SECONDS", "-1", ["0.1", "600"]),
        ("MAX_BATCH_SIZE", "0", ["1"]),
        ("MAX_IN_FLIGHT", "32", ["PETALSCOPE_THREADS"]),
        ("LOG_LEVEL", "loud", ["debug", "critical"]),
        ("HOST", " ", []),
        ("TORCH_COMPILE", "2", ["true", "false"]),
        ("RATE_LIMITS", "60/minute,many", ["60/minute"]),
        ("RATE_LIMITS", "0/minute", ["60/minute"]),
        ("TRUSTED_HOSTS", "https://example.org", ["flowers.example.org"]),
        ("FEEDBACK_QUOTA_MIB", "0", ["1"]),
        ("TRUSTED_HOSTS", "*", ["flowers.example.org"]),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_what_is_allowed(
    name: str, value: str, fragments: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({f"PETALSCOPE_{name}": value})
    shown = value.split(",")[-1].strip() or "empty"
    for fragment in (f"PETALSCOPE_{name}", shown, *fragments):
        assert fragment in str(caught.value)


def test_heic_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(heif=True).heif
    monkeypatch.setattr("model.imaging.heif.is_installed", lambda: False)
    assert not Settings().heif
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"PETALSCOPE_HEIF": "true"})
    for fragment in ("PETALSCOPE_HEIF", "requirements-heif.txt"):
        assert fragment in str(caught.value)


def test_feedback_needs_a_folder_and_threads() -> None:
    with pytest.raises(SettingsError, match="PETALSCOPE_FEEDBACK_DIR"):
        Settings(feedback_database_url="postgresql://db/feedback")
    assert Settings(threads=8, max_in_flight=7)
    with pytest.raises(SettingsError, match="PETALSCOPE_THREADS"):
        Settings(threads=8, max_in_flight=7, feedback_dir=Path("/feedback"))


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example", "capacitor://localhost", "http://[::1]:80"]
)
def test_an_origin_is_accepted(origin: str) -> None:
    assert Settings.from_environment({"PETALSCOPE_CORS_ORIGINS": origin}).cors_origins


@pytest.mark.parametrize(
    "origin",
    [
        "example.org",
        "https://",
        "https://example.org/",
        "https://example.org/page",
        "https://me@example.org",
        "https://example.org:port",
        "https://example.org:99999",
        "https://*.example.org/",
        "https://a b",
        "null",
        "http://[",
    ],
)
def test_an_invalid_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"PETALSCOPE_CORS_ORIGINS": f"https://good.example,{origin}"})
    assert "PETALSCOPE_CORS_ORIGINS" in str(caught.value)
    assert origin in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT", "WEB_SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_80_TCP_ADDR"],
)
def test_variables_of_kubernetes_services_are_ignored(name: str) -> None:
    assert Settings.from_environment({f"PETALSCOPE_{name}": "10.0.0.1"}) == Settings()


def test_describe_has_a_row_per_setting() -> None:
    rows = {row.variable: row for row in Settings.describe()}
    assert len(rows) == len(Settings.model_fields)
    assert rows["PETALSCOPE_PORT"].default == "8000"
    assert "65535" in rows["PETALSCOPE_PORT"].meaning
    assert rows["PETALSCOPE_REQUEST_TIMEOUT_SECONDS"].default == "10"
    assert rows["PETALSCOPE_CORS_ORIGINS"].default == "none"
    assert rows["PETALSCOPE_CHECKPOINT"].default == "bundled"
    assert rows["PETALSCOPE_API_KEYS_FILE"].default == "none"
