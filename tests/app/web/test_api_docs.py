"""Page of the API documentation."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from tests.app.conftest import form

HTML = {"Accept": "text/html"}


def test_the_page_shows_every_operation_and_status(client: FlaskClient) -> None:
    page = client.get("/docs", headers=HTML).text
    for path, operations in client.get("/openapi.json").get_json()["paths"].items():
        for method, operation in operations.items():
            assert f"<code>{method.upper()} {path}</code>" in page
            for status in operation["responses"]:
                assert f"<code>{status}</code>" in page


def test_the_page_shows_an_example_of_every_error(client: FlaskClient) -> None:
    page = client.get("/docs", headers=HTML).text
    responses = client.get("/openapi.json").get_json()["paths"]["/predict"]["post"]["responses"]
    problems = [
        content["examples"]
        for response in responses.values()
        for media_type, content in response["content"].items()
        if media_type == "application/problem+json"
    ]
    for code in (code for examples in problems for code in examples):
        assert f"&#34;code&#34;: &#34;{code}&#34;" in page


def test_the_form_sends_a_photo(client: FlaskClient, photo: bytes) -> None:
    page = client.get("/docs", headers=HTML).text
    found = re.search(
        r'<form class="picker" method="post" action="([^"]+)" enctype="multipart/form-data">', page
    )
    assert found
    assert client.post(found[1], **form(photo), headers=HTML).status_code == 200
