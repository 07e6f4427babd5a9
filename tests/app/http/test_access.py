from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.http.access import AccessError, read_keys
from app.http.problems import Code
from tests.app.conftest import MakeApp, form
from tests.serving import free_port, until

KEY = "sesame-sesame-sesame"
OTHER_KEY = "abracadabra-abracadabra"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# the app\n{KEY}\n\n  {OTHER_KEY}  \n")
    return path


@pytest.fixture
def locked(make_app: MakeApp, keys_file: Path) -> FlaskClient:
    return make_app(api_keys_file=keys_file).test_client()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {OTHER_KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": basic(KEY)},
    ],
)
def test_with_a_key_all_is_as_without_keys(
    locked: FlaskClient, photo: bytes, headers: dict[str, str]
) -> None:
    assert locked.post("/predict", **form(photo), headers=headers).status_code == 200
    assert locked.post("/", **form(photo), headers=headers).status_code == 200
    assert locked.get("/labels", headers=headers).status_code == 200


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
def test_without_a_right_key_nothing_but_health_is_told(
    locked: FlaskClient, photo: bytes, headers: dict[str, str]
) -> None:
    for path in ("/predict", "/"):
        response = locked.post(path, **form(photo), headers=headers)
        assert response.status_code == 401
        assert "Bearer" in response.headers["WWW-Authenticate"]
        assert "Basic realm=" in response.headers["WWW-Authenticate"]
    for path in ("/", "/labels", "/model", "/flowers", "/docs", "/nowhere"):
        assert locked.get(path, headers=headers).status_code == 401
    assert locked.get("/healthz", headers=headers).status_code == 200
    assert locked.get("/readyz", headers=headers).status_code == 200


def test_a_refusal_says_what_is_wrong(locked: FlaskClient) -> None:
    answer = locked.get("/labels").get_json()
    assert answer["code"] == Code.API_KEY_MISSING
    assert "X-API-Key" in answer["detail"]
    answer = locked.get("/labels", headers={"X-API-Key": "wrong"}).get_json()
    assert answer["code"] == Code.API_KEY_INVALID
    assert "wrong" not in answer["detail"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds none"),
        (b"# nothing\n", "holds none"),
        (f"{KEY}\nshort\n".encode(), "Key 2 in .* must have 16 characters"),
        (b"two words of some length\n", "without spaces"),
        (b"\xff\xfe\xff\xfe", "it is not UTF-8"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_stops_the_start(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(AccessError, match=says) as caught:
        read_keys(path)
    assert KEY not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_missing_file_of_keys_stops_the_start(make_app: MakeApp, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="No such file"):
        make_app(api_keys_file=tmp_path / "none")


def test_a_preflight_needs_no_key(make_app: MakeApp, keys_file: Path) -> None:
    friend = "https://friend.example"
    client = make_app(api_keys_file=keys_file, cors_origins=(friend,)).test_client()
    response = client.options(
        "/predict", headers={"Origin": friend, "Access-Control-Request-Method": "POST"}
    )
    assert response.status_code == 204
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


def test_more_photos_than_the_rate_are_refused_from_one_sender_and_not_from_another(
    make_app: MakeApp, photo: bytes
) -> None:
    client = make_app(rate_limits=("2/minute", "100/day")).test_client()
    here, there = ({"REMOTE_ADDR": f"10.0.0.{number}"} for number in (1, 2))
    assert client.post("/predict", **form(photo), environ_overrides=here).status_code == 200
    # The page and the API count together.
    assert client.post("/", **form(photo), environ_overrides=here).status_code == 200
    for path in ("/predict", "/"):
        response = client.post(path, **form(photo), environ_overrides=here)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 60
    assert (
        "2 per 1 minute"
        in client.post("/predict", **form(photo), environ_overrides=here).get_json()["detail"]
    )
    assert client.get("/labels", environ_overrides=here).status_code == 200
    assert client.post("/predict", **form(photo), environ_overrides=there).status_code == 200


def test_with_keys_the_rate_is_a_keys_and_not_an_addresss(
    make_app: MakeApp, keys_file: Path, photo: bytes
) -> None:
    client = make_app(api_keys_file=keys_file, rate_limits=("1/minute",)).test_client()
    statuses = [
        client.post("/predict", **form(photo), headers={"X-API-Key": key}).status_code
        for key in (KEY, OTHER_KEY, KEY)
    ]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("storage", ["memory", "carrier-pigeon://loft"])
def test_a_storage_that_does_not_exist_stops_the_start(make_app: MakeApp, storage: str) -> None:
    with pytest.raises(AccessError, match="memory:// or redis://"):
        make_app(rate_limits=("1/minute",), rate_limit_storage_uri=storage)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = shutil.which("redis-server")
    assert command is not None
    process = subprocess.Popen(
        [command, "--port", str(port), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    until(lambda: b"Ready to accept" in process.stdout.readline())
    yield f"redis://127.0.0.1:{port}", process
    process.kill()
    process.communicate()


@pytest.mark.redis
def test_services_that_share_a_redis_count_together_and_alone_without_it(
    make_app: MakeApp, redis: tuple[str, subprocess.Popen[bytes]], photo: bytes
) -> None:
    address, process = redis
    first, second = (
        make_app(rate_limits=("2/minute",), rate_limit_storage_uri=address).test_client()
        for _ in range(2)
    )
    assert first.post("/predict", **form(photo)).status_code == 200
    assert second.post("/predict", **form(photo)).status_code == 200
    assert first.post("/predict", **form(photo)).status_code == 429
    process.kill()
    process.wait()
    statuses = [first.post("/predict", **form(photo)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_host_that_is_not_trusted_is_refused_but_for_health(make_app: MakeApp) -> None:
    client = make_app(trusted_hosts=("flowers.example", ".example.org")).test_client()
    for host in ("flowers.example", "flowers.example:8000", "a.example.org"):
        assert client.get("/labels", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "flowers.example.evil", "10.0.0.1:8000"):
        assert client.get("/labels", headers={"Host": host}).status_code == 400
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_an_address_is_taken_from_as_many_proxies_as_are_trusted(
    make_app: MakeApp, photo: bytes
) -> None:
    # What the client itself claims stands to the left of what the one proxy saw.
    senders = ("1.1.1.1, 8.8.8.8", "2.2.2.2, 8.8.8.8", "1.1.1.1, 9.9.9.9")

    def statuses(proxy_count: int) -> list[int]:
        client = make_app(rate_limits=("1/minute",), proxy_count=proxy_count).test_client()
        return [
            client.post("/predict", **form(photo), headers={"X-Forwarded-For": sender}).status_code
            for sender in senders
        ]

    assert statuses(0) == [200, 429, 429]
    assert statuses(1) == [200, 429, 200]
    assert statuses(2) == [200, 200, 429]
