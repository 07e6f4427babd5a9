"""The presentation of a result by its verdict, without JavaScript."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient

from model.backends.base import Outputs
from model.ood import OodRule, Verdict
from tests.app.conftest import MakeApp, form
from tests.app.web.conftest import message

PROBABILITIES = (0.9, 0.08, 0.011, 0.009, 0.0)  # of the first five tiny classes
NAMES = ("Pink primrose", "Globe thistle", "Blanket flower", "Hard-leaved pocket orchid")
RULES: dict[Verdict, OodRule | None] = {
    "known": OodRule("max_logit", -1000, known_probability=0.5),
    "unsure": OodRule("max_logit", -1000, known_probability=0.95),
    "unknown": OodRule("max_logit", 1000),
    "unchecked": None,
}


def named(make_app: MakeApp, verdict: Verdict, probabilities: Sequence[float]) -> FlaskClient:
    """Return the client of a service that gives every photo one result."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([*probabilities, 0], np.float32)).clip(-40)
    logits *= 0.5  # the temperature of the tiny checkpoint

    def run(batch: npt.NDArray[np.uint8]) -> list[Outputs]:
        return [Outputs(logits.astype(np.float32), None)] * len(batch)

    return make_app(run=run, ood_rule=RULES[verdict]).test_client()


def shown(client: FlaskClient, photo: bytes, language: str = "en") -> str:
    """Return the page of a photo without its templates."""
    page = client.post("/", **form(photo), headers={"Accept-Language": language}).text
    return html.unescape(page.split("<template")[0])


def title(page: str) -> str:
    (found,) = re.findall(r"<title>\s*(.*?) · Petalscope\s*</title>", page, re.DOTALL)
    return str(found)


def headings(page: str) -> list[str]:
    return [re.sub("<.*?>", "", found) for found in re.findall("<h1.*?>(.*?)</h1>", page)]


def percentages(page: str) -> list[str]:
    return re.findall(r'class="percent">(.*?)</span>', page)


def bars(page: str) -> list[float]:
    return [float(width) for width in re.findall(r'<rect width="([\d.]+)%"', page)]


@pytest.mark.parametrize("verdict", ["known", "unchecked"])
def test_a_known_flower_is_the_heading(make_app: MakeApp, photo: bytes, verdict: Verdict) -> None:
    page = shown(named(make_app, verdict, PROBABILITIES), photo)
    assert f'class="result {verdict}"' in page
    assert headings(page) == [NAMES[0]]
    assert title(page) == NAMES[0]
    assert message("verdict.most_likely") in page
    assert percentages(page) == ["90.0%", "8.0%", "1.1%", "0.9%", "<0.1%"]
    # Names below 1% are in the details.
    before, details = page.split('<details class="unlikely">')
    assert len(percentages(before)) == 3
    assert message("verdict.others") in details
    assert 'start="4"' in details


def test_likely_names_are_not_hidden(make_app: MakeApp, photo: bytes) -> None:
    page = shown(named(make_app, "known", (0.5, 0.2, 0.2, 0.05, 0.05)), photo)
    assert '<details class="unlikely">' not in page


@pytest.mark.parametrize("language", ["en", "de"])
def test_an_unsure_result_asks_to_compare(make_app: MakeApp, photo: bytes, language: str) -> None:
    client = named(make_app, "unsure", PROBABILITIES)
    page = shown(client, photo, language)
    (prediction, *_) = client.post("/predict", **form(photo)).get_json()["predictions"]
    names = {"en": prediction["display_name"]} | {
        code: item["display_name"] for code, item in prediction["translations"].items()
    }
    name = names[language]
    assert headings(page) == [message("verdict.unsure", language, name=name)]
    assert title(page) == message("verdict.unsure_name", language, name=name)
    assert message("verdict.unsure_advice", language) in page
    # All candidates are side by side.
    assert '<details class="unlikely">' not in page
    assert len(percentages(page)) == 5


def test_an_unknown_flower_has_no_percentages(make_app: MakeApp, photo: bytes) -> None:
    page = shown(named(make_app, "unknown", PROBABILITIES), photo)
    assert headings(page) == [message("verdict.unknown", count=6)]
    assert title(page) == message("verdict.unknown_flower")
    panel = page.partition('<section class="result unknown">')[2].partition("</section>")[0]
    assert not re.search(r"\d\s?%", re.sub(r'width="[\d.]+%"|height="100%"', "", panel))
    assert [panel.index(name) for name in NAMES] == sorted(panel.index(name) for name in NAMES)
    for key in ("closest", "similarity", "tips"):
        assert message(f"verdict.{key}") in panel
    # The bars are relative to the first, and each can be seen.
    widths = bars(panel)
    assert widths[0] == 100
    assert widths[1] == pytest.approx(100 * (1 - np.log10(0.9 / 0.08) / 3), abs=0.1)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 4


def test_poisonous_plants_are_warned_of_whatever_the_verdict(
    make_app: MakeApp, photo: bytes
) -> None:
    for verdict in RULES:
        # The last name is the fire lily.
        page = shown(named(make_app, verdict, PROBABILITIES), photo)
        assert page.count('<aside class="warning">') == 1


def test_the_verdict_does_not_depend_on_colour_alone(make_app: MakeApp, photo: bytes) -> None:
    words = {
        verdict: re.sub("<.*?>", "", shown(named(make_app, verdict, PROBABILITIES), photo))
        for verdict in RULES
    }
    assert words["known"] == words["unchecked"]
    assert len({words["known"], words["unsure"], words["unknown"]}) == 3
