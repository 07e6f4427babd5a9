"""Tests of the model in the browser: its modules in Node."""

from __future__ import annotations

from typing import Final

from tests.conftest import ROOT

SCRIPTS: Final = ROOT / "app" / "web" / "static" / "on_device"
