"""Tests of the JavaScript client in Node and Chromium: a running service and mock responses.

A test passes the body of an async function. In scope are the client's exports, the service's
`address`, a `photo`, and `refusing`, a client factory. `run` returns the result.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from model.ood import OodRule
from tests.browsers import chromium
from tests.conftest import ROOT, TINY_CLASSES, flower_image
from tests.fake_checkpoint import always, save_fake_checkpoint
from tests.node import imported, run_in_node
from tests.serving import serving

pytestmark = pytest.mark.slow

Run = Callable[[str], Any]

CLIENT = ROOT / "clients" / "javascript" / "petalscope.mjs"
PRELUDE = """
const photo = new Blob([Uint8Array.from(atob(photoText), (letter) => letter.charCodeAt(0))]);
const waits = [];
/* Return each [status, headers] in turn, then no labels; sleeps take no time. */
function refusing(...replies) {
  globalThis.setTimeout = (call, ms) => { waits.push(ms / 1000); queueMicrotask(call); };
  const fetch = async () => {
    const [status, headers] = replies.shift() ?? [200, {}];
    const body = status === 200 ? { labels: [] } : { title: "No", detail: "The queue is full." };
    return new Response(JSON.stringify(body), { status, headers });
  };
  return new Petalscope({ baseUrl: "http://stub", fetch });
}
const caught = async (call) => {
  try { await call(); } catch (error) {
    return { ...error, kind: error.constructor.name, message: error.message };
  }
};
"""


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server without an access log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


@pytest.fixture(scope="module")
def page_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><title>A page of another origin</title>")
    shutil.copy(CLIENT, folder)
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def address(page_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    path = save_fake_checkpoint(folder / "fake.onnx", always(4), ood_rule=OodRule("max_logit", 5.0))
    settings = {
        "PETALSCOPE_CHECKPOINT": str(path),
        "PETALSCOPE_CORS_ORIGINS": page_address.rstrip("/"),
        "PETALSCOPE_FEEDBACK_DIR": str(folder / "feedback"),
    }
    with serving(folder, **settings) as server:
        yield server.address


@pytest.fixture(scope="module")
def photo_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    flower_image().save(path)
    return base64.b64encode(path.read_bytes()).decode("ascii")


@pytest.fixture(
    scope="module",
    params=["node", pytest.param("chromium", marks=pytest.mark.browser)],
)
def run(
    request: pytest.FixtureRequest, page_address: str, address: str, photo_text: str
) -> Iterator[Run]:
    """Run a function's body where the client is imported."""
    constants = f"const address = {json.dumps(address)}, photoText = {json.dumps(photo_text)};"

    def run_client_in_node(body: str) -> Any:
        imports = imported("Petalscope, PetalscopeError", CLIENT)
        return run_in_node(f"{imports}\n{constants}{PRELUDE}", body)

    if request.param == "node":
        yield run_client_in_node
        return
    with sync_playwright() as driver, chromium(driver) as browser:

        def run_in_chromium(body: str) -> Any:
            page = browser.new_page()
            page.goto(page_address)
            script = (
                "async () => { const { Petalscope, PetalscopeError } = "
                'await import("/petalscope.mjs");\n'
                f"{constants}{PRELUDE}\n"
                f"return (await (async () => {{ {body} }})()) ?? null; }}"
            )
            try:
                return page.evaluate(script)
            finally:
                page.close()

        yield run_in_chromium


def test_a_photo_is_named(run: Run) -> None:
    result = run("return new Petalscope({ baseUrl: address }).predict(photo);")
    assert len(result["predictions"]) == 5
    assert result["predictions"][0]["name"] == "fire lily"
    assert result["verdict"] == "known"
    assert result["ood"]["is_known"]
    assert result["ood"]["threshold"] == 5
    assert result["model"]["checkpoint"] == "fake.onnx"


def test_predict_accepts_bytes_and_explain_adds_activation_maps(run: Run) -> None:
    result = run(
        "const bytes = new Uint8Array(await photo.arrayBuffer());"
        "return new Petalscope({ baseUrl: address }).predict(bytes, { topK: 2, explain: true });"
    )
    maps = [item["activation_map"] for item in result["predictions"]]
    assert len(maps) == 2
    assert all(item.startswith("data:image/png;base64,") for item in maps)


def test_combine_returns_a_common_and_single_results(run: Run) -> None:
    result, error = run(
        "const petalscope = new Petalscope({ baseUrl: address });"
        "const photos = [photo, new Uint8Array(await photo.arrayBuffer())];"
        "return [await petalscope.combine(photos, { topK: 2, explain: true }),"
        " await caught(() => petalscope.combine(Array(6).fill(photo)))];"
    )
    assert result["predictions"][0]["url"] == "/flowers/21-fire-lily"
    assert len(result["predictions"]) == len(result["photos"]) == 2
    for alone in result["photos"]:
        assert alone["predictions"][0]["name"] == "fire lily"
        assert alone["predictions"][0]["activation_map"].startswith("data:image/png;base64,")
    assert (error["status"], error["code"]) == (422, "too_many_photos")


def test_labels_model_and_flowers_are_listed(run: Run) -> None:
    labels, model, flowers, lily, same = run(
        "const petalscope = new Petalscope({ baseUrl: address });"
        "return Promise.all([petalscope.labels(), petalscope.model(), petalscope.flowers(),"
        ' petalscope.flowers("gloriosa"), petalscope.flower("21")]);'
    )
    assert [same] == lily
    assert labels == [{"class_id": item.class_id, "name": item.name} for item in TINY_CLASSES]
    assert model["checkpoint"] == "fake.onnx"
    assert len(flowers) == 6
    assert [item["scientific_name"] for item in lily] == ["Gloriosa superba"]


def test_feedback_is_sent_and_deleted(run: Run) -> None:
    receipt, without_photo, deleted, again, refused = run(
        "const petalscope = new Petalscope({ baseUrl: address });"
        'const options = { predicted: "21", photo, consent: true };'
        'const receipt = await petalscope.sendFeedback("request-1", "right", options);'
        "const code = receipt.deletion_code;"
        'return [receipt, await petalscope.sendFeedback("request-2", "unsure"),'
        " (await petalscope.deleteFeedback(code)) ?? null,"
        " await caught(() => petalscope.deleteFeedback(code)),"
        ' await caught(() => petalscope.sendFeedback("request-3", "21", { photo }))];'
    )
    assert receipt["has_photo"]
    assert not without_photo["has_photo"]
    assert deleted is None
    assert again["code"] == "feedback_not_found"
    assert refused["code"] == "consent_missing"


def test_errors_of_the_service_are_thrown(run: Run) -> None:
    words, range_ = run(
        "const petalscope = new Petalscope({ baseUrl: address });"
        'return [await caught(() => petalscope.predict(new Blob(["words"]))),'
        " await caught(() => petalscope.predict(photo, { topK: 0 }))];"
    )
    assert (words["kind"], words["status"]) == ("PetalscopeError", 415)
    assert words["title"]
    assert words["code"] == "unsupported_format"
    assert "JPEG" in words["detail"]
    assert words["detail"] in words["message"]
    assert words["requestId"]
    assert words["retryAfter"] is None
    assert range_["status"] == 422


def test_an_unreachable_service_throws_type_error(run: Run) -> None:
    error = run('return caught(() => new Petalscope({ baseUrl: "http://127.0.0.1:9" }).labels());')
    assert error["kind"] == "TypeError"


@pytest.mark.parametrize(
    ("replies", "waits"),
    [
        ([[429, {"Retry-After": "2"}]], [2]),
        ([[503, {"Retry-After": "1"}], [429, {"Retry-After": "7"}], [429, {}]], [1, 7, 4]),
        ([[503, {"Retry-After": "soon"}]], [1]),
        ([[429, {"Retry-After": "Tue, 24 Nov 2020 12:00:00 GMT"}]], [0]),
    ],
)
def test_retries_wait_for_retry_after(run: Run, replies: list[Any], waits: list[float]) -> None:
    result = run(f"return [await refusing(...{json.dumps(replies)}).labels(), waits];")
    assert result == [[], waits]


@pytest.mark.parametrize(
    ("replies", "sent", "after"),
    [
        ([[429, {"Retry-After": "1"}]] * 4, 4, 1),
        ([[503, {"Retry-After": "3600"}]], 1, 3600),
        ([[500, {"Retry-After": "1"}]], 1, 1),
    ],
)
def test_errors_that_are_not_retried_are_thrown(
    run: Run, replies: list[Any], sent: int, after: float
) -> None:
    error, waits = run(
        f"return [await caught(() => refusing(...{json.dumps(replies)}).labels()), waits];"
    )
    assert (error["status"], error["retryAfter"]) == (replies[-1][0], after)
    assert error["detail"] == "The queue is full."
    assert len(waits) == sent - 1


@pytest.mark.parametrize("body", ["<h1>Bad gateway</h1>", "[]", "null"])
@pytest.mark.parametrize("status", [200, 502])
def test_responses_of_other_servers_are_thrown(run: Run, status: int, body: str) -> None:
    error = run(
        f"const fetch = async () => new Response({json.dumps(body)}, {{ status: {status} }});"
        'return caught(() => new Petalscope({ baseUrl: "http://stub", fetch }).labels());'
    )
    assert (error["kind"], error["status"]) == ("PetalscopeError", status)
    assert error["code"] is None


def test_a_wait_can_be_aborted(run: Run) -> None:
    ended = run(
        "const controller = new AbortController();"
        'const headers = { "Retry-After": "20" };'
        'const fetch = async () => new Response("{}", { status: 429, headers });'
        'const petalscope = new Petalscope({ baseUrl: "http://stub", fetch });'
        "const started = performance.now();"
        "const result = caught(() => petalscope.labels({ signal: controller.signal }));"
        "setTimeout(() => controller.abort(), 50);"
        "return [(await result).message, performance.now() - started < 15000];"
    )
    assert "abort" in ended[0].lower()
    assert ended[1]


def test_the_api_key_is_sent_as_a_bearer_token(run: Run) -> None:
    sent = run(
        "const sent = [];"
        "const fetch = async (url, { headers }) => {"
        " sent.push(headers.Authorization ?? null);"
        " return new Response(JSON.stringify({ labels: [] })); };"
        'for (const apiKey of ["secret", undefined])'
        ' await new Petalscope({ baseUrl: "http://stub", apiKey, fetch }).labels();'
        "return sent;"
    )
    assert sent == ["Bearer secret", None]


def test_a_longer_retry_wait_can_be_allowed(run: Run) -> None:
    labels = run(
        "const replies = [429, 200];"
        "globalThis.setTimeout = (call) => queueMicrotask(call);"
        "const fetch = async () => new Response(JSON.stringify({ labels: [] }),"
        ' { status: replies.shift(), headers: { "Retry-After": "60" } });'
        'return new Petalscope({ baseUrl: "http://stub", maxRetryWait: 60, fetch }).labels();'
    )
    assert labels == []


def test_a_missing_base_url_is_a_type_error(run: Run) -> None:
    assert run("return caught(async () => new Petalscope({}));")["kind"] == "TypeError"
