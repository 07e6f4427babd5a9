"""How every script ends: its exit code, and one line instead of a traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Final, ParamSpec

from model.errors import PetalscopeError

FAILED: Final = 1
INTERRUPTED: Final = 128 + 2  # as a shell reports a program ended by SIGINT (Ctrl-C)

_Arguments = ParamSpec("_Arguments")


def command(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Decorate a script's `main(argv) -> exit code`.

    A `PetalscopeError` becomes one line on stderr and exit code 1. Ctrl-C gives 130, and a reader
    that closed the pipe (`| head`) gives 0, both without a word. All else goes through.
    """

    @functools.wraps(main)
    def wrapped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        try:
            code = main(*args, **kwargs)
            # Here, not at the interpreter's end: a closed pipe is noticed when text is flushed.
            sys.stdout.flush()
        except PetalscopeError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # The interpreter flushes once more at its end; give it somewhere to flush to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code

    return wrapped
