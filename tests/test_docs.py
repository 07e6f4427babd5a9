"""The README and docs/, compared with the code; blocks marked `<!-- tested -->` are run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from app.http.problems import Code
from app.observability.metrics import Metrics
from app.settings import Settings
from model.training.config import TrainingConfig
from tests.conftest import ROOT, flower_image
from tests.serving import Server, serving

DOCUMENTS = [ROOT / "README.md", ROOT / "checkpoints" / "README.md", *(ROOT / "docs").glob("*.md")]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
ALL = "\n".join(TEXTS.values())


@dataclass(frozen=True)
class Block:
    """A tested code block of a document."""

    document: str
    language: str
    code: str


BLOCKS = [
    Block(document, *found)
    for document, text in TEXTS.items()
    for found in re.findall(r"<!-- tested -->\n```(\w+)\n(.*?)```", text, re.DOTALL)
]


def test_the_settings_table_matches_the_code() -> None:
    rows = [
        f"| `{row.variable}` | `{row.default}` | {row.meaning} |" for row in Settings.describe()
    ]
    assert re.findall(r"^\| `PETALSCOPE_.*\|$", TEXTS["docs/deploying.md"], re.MULTILINE) == rows


@pytest.mark.parametrize("document", TEXTS)
def test_relative_links_have_targets(document: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[document])
    folder = (ROOT / document).parent
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (folder / target).exists()] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:scripts|benchmarks)/\w+\.py", ALL))))
def test_mentioned_scripts_exist(path: str) -> None:
    assert Path(ROOT, path).is_file()


def test_mentioned_training_options_exist() -> None:
    known = {"--" + item.name.replace("_", "-") for item in fields(TrainingConfig)}
    commands = re.findall(r"scripts/train\.py ((?:[^\n]*\\\n)*[^\n`]*)", ALL)
    shown = {option for text in commands for option in re.findall(r"--[a-z-]+", text)}
    assert len(shown) > 5
    assert shown - known <= {"--resume", "--recipe", "--help"}


def test_every_setting_and_no_other_variable_is_mentioned() -> None:
    known = {row.variable for row in Settings.describe()} | {"PETALSCOPE_DATA"}
    assert set(re.findall(r"PETALSCOPE_[A-Z_]*[A-Z]", ALL)) == known


def test_every_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (`\w+`.*?) \|", TEXTS["docs/api.md"], re.MULTILINE)
    documented = {
        (int(status), code)
        for statuses, cell in rows
        # In a row with several statuses, semicolons separate the codes of each.
        for status, codes in zip(statuses.split(","), cell.split(";"), strict=True)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert documented == {(code.status, code.value) for code in Code}


def metric_names() -> set[str]:
    metrics = Metrics()
    metrics.describe({"version": "1"}, 1, lambda: 0)
    names = set()
    for family in metrics.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + end for end in suffixes.get(family.type, ["", "_info"])}
    return names


def test_the_dashboard_uses_existing_metrics() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {
        name for text in expressions for name in re.findall(r"(?:petalscope|process)_\w+", text)
    }
    assert len(used) > 8
    assert used <= metric_names()


def test_documented_metrics_exist() -> None:
    rows = re.findall(r"^\| `(petalscope_\w+)`", TEXTS["docs/deploying.md"], re.MULTILINE)
    assert len(rows) > 6
    known = metric_names()
    assert [row for row in rows if row not in known and f"{row}_count" not in known] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.document)
def test_marked_blocks_run(block: Block, server: Server, tmp_path: Path) -> None:
    for folder in ("app", "checkpoints", "model", "scripts"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    flower_image((400, 300), 0).save(tmp_path / "photo.jpg")
    code = block.code.replace("localhost:8000", f"127.0.0.1:{server.port}")
    commands = {
        "sh": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-W", "error", "-c", code],
    }
    done = subprocess.run(
        commands[block.language],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "problem" not in done.stdout


def test_blocks_are_marked_in_several_documents() -> None:
    assert {block.language for block in BLOCKS} == {"sh", "python"}
    assert len({block.document for block in BLOCKS}) >= 3
