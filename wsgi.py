"""The WSGI application: `gunicorn wsgi:app`."""

from __future__ import annotations

import os
import sys
from typing import Final

from app import create_app
from app.settings import Settings
from model.control_groups import usable_memory
from model.errors import PetalscopeError

# gunicorn's Arbiter.APP_LOAD_ERROR: its master halts with this code, where it would start the
# worker again and again after another.
_APP_LOAD_ERROR: Final = 4

try:
    app = create_app(Settings.from_environment(os.environ).fitted(usable_memory()))
except PetalscopeError as error:
    print(f"petalscope: {error}", file=sys.stderr)
    raise SystemExit(_APP_LOAD_ERROR) from None
