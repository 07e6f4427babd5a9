"""API keys."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.http.api_keys import ApiKeysError, read_key_hashes
from app.http.problems import Code
from tests.app.conftest import MakeApp, form

KEY = "sesame-sesame-sesame"
OTHER_KEY = "abracadabra-abracadabra"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# the app\n{KEY}\n\n  {OTHER_KEY}  \n")
    return path


@pytest.fixture
def protected(make_app: MakeApp, keys_file: Path) -> FlaskClient:
    return make_app(api_keys_file=keys_file).test_client()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {OTHER_KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": basic(KEY)},
    ],
)
def test_a_valid_key_opens_every_route(
    protected: FlaskClient, photo: bytes, headers: dict[str, str]
) -> None:
    assert protected.post("/predict", **form(photo), headers=headers).status_code == 200
    assert protected.post("/", **form(photo), headers=headers).status_code == 200
    assert protected.get("/labels", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": KEY},
        {"Authorization": f"Digest {KEY}"},
        {"Authorization": "Basic ???"},
        {"Authorization": basic("# the app")},
        {"X-API-Key": "# the app"},
        {"X-API-Key": "schlüssel"},
    ],
)
def test_without_a_valid_key_only_health_checks_respond(
    protected: FlaskClient, photo: bytes, headers: dict[str, str]
) -> None:
    for path in ("/predict", "/"):
        response = protected.post(path, **form(photo), headers=headers)
        assert response.status_code == 401
        assert "Bearer" in response.headers["WWW-Authenticate"]
        assert "Basic realm=" in response.headers["WWW-Authenticate"]
    for path in ("/", "/labels", "/model", "/flowers", "/docs", "/nowhere"):
        assert protected.get(path, headers=headers).status_code == 401
    assert protected.get("/healthz", headers=headers).status_code == 200
    assert protected.get("/readyz", headers=headers).status_code == 200


def test_a_missing_and_an_invalid_key_have_different_codes(protected: FlaskClient) -> None:
    assert protected.get("/labels").get_json()["code"] == Code.API_KEY_MISSING
    problem = protected.get("/labels", headers={"X-API-Key": "wrong"}).get_json()
    assert problem["code"] == Code.API_KEY_INVALID
    assert "wrong" not in problem["detail"]


@pytest.mark.parametrize("path", ["/", "/labels", "/model", "/flowers", "/docs", "/openapi.json"])
def test_responses_that_need_a_key_are_private(protected: FlaskClient, path: str) -> None:
    for headers in ({"X-API-Key": KEY}, {}):
        response = protected.get(path, headers=headers)
        assert not response.cache_control.public
        assert response.cache_control.private or response.cache_control.no_store


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# nothing\n",
        f"{KEY}\nshort\n".encode(),
        b"two words of some length\n",
        b"\xff\xfe\xff\xfe",
    ],
)
def test_an_invalid_key_file_stops_the_start_and_is_not_quoted(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(ApiKeysError) as caught:
        read_key_hashes(path)
    assert KEY not in str(caught.value)
    assert "short" not in str(caught.value)


def test_an_invalid_key_is_reported_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\nshort\n")
    with pytest.raises(ApiKeysError, match="Key 2"):
        read_key_hashes(path)


def test_a_missing_key_file_stops_the_start(make_app: MakeApp, tmp_path: Path) -> None:
    with pytest.raises(ApiKeysError):
        make_app(api_keys_file=tmp_path / "none")


def test_a_preflight_needs_no_key(make_app: MakeApp, keys_file: Path) -> None:
    friend = "https://friend.example"
    client = make_app(api_keys_file=keys_file, cors_origins=(friend,)).test_client()
    response = client.options(
        "/predict", headers={"Origin": friend, "Access-Control-Request-Method": "POST"}
    )
    assert response.status_code == 204
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


def test_each_key_has_its_own_rate_limit(make_app: MakeApp, keys_file: Path, photo: bytes) -> None:
    client = make_app(api_keys_file=keys_file, rate_limits=("1/day",)).test_client()
    statuses = [
        client.post("/predict", **form(photo), headers={"X-API-Key": key}).status_code
        for key in (KEY, OTHER_KEY, KEY)
    ]
    assert statuses == [200, 200, 429]
