"""Programs that a study declares: what they answer to their version, where they may be run at all.

Who only looks at results runs none of them: what they answered in the latest run stands in its summary.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from cohorts.folder.problems import printable
from cohorts.folder.source import Source
from cohorts.folder.study import StudyConfig
from flows.cases.command import CommandFailedError, version_of_command
from flows.run.latest import latest_folder, read_summary

#: Run them, ask the latest run, or do without.
Commands = Literal["run", "remember", "refuse"]
NOT_ALLOWED = (
    "source {name} runs the program {program}, and is run only with --allow-commands. Look at its command and version "
    "in cohort.toml first: they run as you."
)


def with_versions(config: StudyConfig, out: Path, commands: Commands) -> tuple[StudyConfig, dict[str, str]]:
    """The study with the versions that its programs answer, and why a source must do without its program.

    Parameters
    ----------
    config : the study
    out : output folder
    commands : where the versions come from

    Returns
    -------
    (study, name of a source -> why it cannot be measured)
    """
    absent: dict[str, str] = {}
    known: dict[str, Source] = {}
    programs = [source for source in config.computed_sources if source.program]
    answers = _remembered(out) if programs and commands == "remember" else {}
    for source in programs:
        remembered = answers.get((source.name, source.asks))
        if commands == "refuse" or (commands == "remember" and remembered is None):
            program = printable(shlex.join(source.program))
            absent[source.name] = NOT_ALLOWED.format(name=source.name, program=program)
            continue
        try:
            known[source.name] = source.answered(remembered or version_of_command(source.asks))
        except (CommandFailedError, ValueError) as error:
            absent[source.name] = f"source {source.name}: {error}"
    if not known:
        return config, absent
    return config.model_copy(update={"source": tuple(known.get(one.name, one) for one in config.source)}), absent


def _remembered(out: Path) -> dict[tuple[str, tuple[str, ...]], str]:
    """(source, its command for the version) -> what it answered in the latest run."""
    folder = latest_folder(out)
    summary = None if folder is None else read_summary(folder)
    sources = (summary or {}).get("config", {}).get("source", [])
    return {
        (one["name"], tuple(one["version"])): one["version_text"]
        for one in sources
        if isinstance(one.get("version"), list) and one.get("version_text")
    }
