"""The command line: arguments and exit codes only. Each verb imports what it needs when it is called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from fcbench import __version__
from fcbench.cli import checkpoint, data, make_stack, suite, world
from fcbench.cli.verbs import app
from fcbench.errors import FcbenchError, did_you_mean, is_out_of_memory, one_line

for group, name in ((world, "world"), (checkpoint, "checkpoint"), (suite, "suite"), (data, "data")):
    app.add_typer(group.app, name=name)
app.command("make-stack")(make_stack.make_stack)

STOPPED = 130
"""The exit code after Ctrl-C, which typer also returns where it caught the interrupt itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0, 1, 2 for wrong usage, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if "--version" in words:
        print(f"fcbench {__version__}")
        return 0
    failure: BaseException
    try:
        code = app([word for word in words if word != "--debug"] or ["--help"], "fcbench", standalone_mode=False) or 0
        if code != STOPPED:
            return code
        failure = KeyboardInterrupt()
    except (Exception, KeyboardInterrupt) as error:
        failure = error
    if debug:
        traceback.print_exception(failure)
    message, code = explain(failure)
    print(f"fcbench: {' '.join(message.split())}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell a person about an error, and the exit code."""
    if isinstance(error, FcbenchError):
        return str(error), error.exit_code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "stopped", STOPPED
    if isinstance(error, TyperException):
        word, known = getattr(error, "option_name", ""), getattr(error, "possibilities", None)
        return (
            f"no such option: {word}; {did_you_mean(word, known)}" if known else error.format_message(),
            error.exit_code,
        )
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name!r} is not installed; what mends it: fcbench doctor", 1
    if is_out_of_memory(error):
        return f"out of memory: {one_line(error)}", 1
    if isinstance(error, OSError):
        return f"{error.filename or 'the system says'}: {error.strerror or error}", 1
    return f"{type(error).__name__}: {error} (a bug: run again with --debug to see where)", 1
