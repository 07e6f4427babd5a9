"""Security headers, cross-site posts and CORS."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.app.conftest import MakeApp, form

FRIEND = "https://friend.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("path", ["/", "/predict", "/nowhere", "/healthz", "/static/page.js"])
def test_every_response_has_the_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/", "/predict"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
    ],
)
def test_a_cross_site_post_gets_403(
    client: FlaskClient, photo: bytes, path: str, headers: dict[str, str]
) -> None:
    assert client.post(path, **form(photo), headers=headers).status_code == 403


def test_a_host_that_a_proxy_has_replaced_is_named(client: FlaskClient, photo: bytes) -> None:
    """Browsers send no Sec-Fetch-Site to pages without TLS."""
    headers = {"Origin": "http://flowers.example", "Host": "127.0.0.1:8000"}
    detail = client.post("/predict", **form(photo), headers=headers).get_json()["detail"]
    for fragment in ("http://flowers.example", "127.0.0.1:8000", "PETALSCOPE_PROXY_COUNT"):
        assert fragment in detail
    # Behind a browser that names the site, the Host does not matter.
    headers["Sec-Fetch-Site"] = "cross-site"
    detail = client.post("/predict", **form(photo), headers=headers).get_json()["detail"]
    assert "127.0.0.1:8000" not in detail
    headers["Sec-Fetch-Site"] = "same-origin"
    assert client.post("/predict", **form(photo), headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/predict"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost"},
        # Behind a proxy that terminates TLS, the page uses https and the request http.
        {"Origin": "https://localhost"},
    ],
)
def test_posts_of_our_own_page_and_of_programs_are_accepted(
    client: FlaskClient, photo: bytes, path: str, headers: dict[str, str]
) -> None:
    assert client.post(path, **form(photo), headers=headers).status_code == 200


def test_other_sites_may_link_to_the_page(client: FlaskClient) -> None:
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_no_other_origin_is_allowed_by_default(client: FlaskClient) -> None:
    response = client.options("/predict", headers={**PREFLIGHT, "Origin": FRIEND})
    assert "Access-Control-Allow-Origin" not in response.headers
    response = client.get("/labels", headers={"Origin": FRIEND})
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.fixture
def open_client(make_app: MakeApp) -> FlaskClient:
    return make_app(cors_origins=("https://other.example", FRIEND)).test_client()


def test_an_allowed_origin_may_use_the_api(open_client: FlaskClient, photo: bytes) -> None:
    headers = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    response = open_client.options("/predict", headers={**PREFLIGHT, "Origin": FRIEND})
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]

    response = open_client.post("/predict", **form(photo), headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Origin" in response.vary
    exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Retry-After", "X-Request-ID"} < set(exposed)

    response = open_client.post("/predict", **form(b"words"), headers=headers)
    assert response.status_code == 415
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND


def test_an_allowed_origin_may_use_every_url_in_a_response(
    open_client: FlaskClient, photo: bytes
) -> None:
    headers = {"Origin": FRIEND}
    for path in ("/v1/predict?combine=1", "/v1/labels"):
        response = open_client.options(path, headers={**PREFLIGHT, **headers})
        assert response.status_code == 204
        assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    (best, *_) = open_client.post("/predict", **form(photo)).get_json()["predictions"]
    response = open_client.get(best["url"], headers=headers)
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND


def test_an_allowed_origin_may_not_post_to_the_page(open_client: FlaskClient, photo: bytes) -> None:
    headers = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    response = open_client.post("/", **form(photo), headers=headers)
    assert response.status_code == 403
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("origin", ["https://friend.example.evil", "http://friend.example", "null"])
def test_other_origins_stay_refused(open_client: FlaskClient, photo: bytes, origin: str) -> None:
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    response = open_client.post("/predict", **form(photo), headers=headers)
    assert response.status_code == 403
    response = open_client.options("/predict", headers={**PREFLIGHT, "Origin": origin})
    assert "Access-Control-Allow-Origin" not in response.headers
    # A cache must not serve the response for one origin to another.
    for path in ("/labels", "/flowers/21-fire-lily"):
        assert "Origin" in open_client.get(path, headers={"Origin": origin}).vary


def test_a_star_allows_every_origin(make_app: MakeApp, photo: bytes) -> None:
    client = make_app(cors_origins=("*",)).test_client()
    headers = {"Origin": "https://anyone.example", "Sec-Fetch-Site": "cross-site"}
    response = client.post("/predict", **form(photo), headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert client.post("/", **form(photo), headers=headers).status_code == 403
