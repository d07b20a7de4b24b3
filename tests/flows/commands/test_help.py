"""Every command explains itself: what it does, its arguments and options, without a traceback."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from flows.__main__ import app

COMMANDS = typer.main.get_command(app).commands


def _help(*arguments):
    done = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "100"})
    assert (done.exit_code, done.exception) == (0, None)
    assert "Traceback" not in done.output
    return done.output


def test_the_help_names_every_command():
    assert {"run", "check", "nightly", "serve", "sources"} <= set(COMMANDS)
    text = _help()
    assert [name for name in COMMANDS if f"  {name} " not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_what_it_takes(name):
    text = _help(name)
    assert f"Usage: root {name}" in text
    assert COMMANDS[name].help.split()[0] in text
    without = [one.name for one in COMMANDS[name].params if getattr(one, "help", "no text") in (None, "")]
    assert without == []
    assert [
        one.opts[0] for one in COMMANDS[name].params if one.param_type_name == "option" and one.opts[0] not in text
    ] == []
