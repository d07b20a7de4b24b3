"""Programs that a study declares: what they answer to their version, where they may be run at all."""

from __future__ import annotations

import shlex

from cohorts.folder.problems import printable
from cohorts.folder.source import Source
from cohorts.folder.study import StudyConfig
from flows.cases.command import CommandFailedError, version_of_command

NOT_ALLOWED = (
    "source {name} runs the program {program}, and is run only with --allow-commands. Look at its command and version "
    "in cohort.toml first: they run as you."
)


def with_versions(config: StudyConfig, *, is_allowed: bool) -> tuple[StudyConfig, dict[str, str]]:
    """The study with the versions that its programs answer, and why a source must do without its program.

    Parameters
    ----------
    config : the study
    is_allowed : whether any program may be run

    Returns
    -------
    (study, name of a source -> why it cannot be measured)
    """
    absent: dict[str, str] = {}
    known: dict[str, Source] = {}
    for source in config.computed_sources:
        if not source.program:
            continue
        if not is_allowed:
            program = printable(shlex.join(source.program))
            absent[source.name] = NOT_ALLOWED.format(name=source.name, program=program)
            continue
        try:
            known[source.name] = source.answered(version_of_command(source.asks))
        except (CommandFailedError, ValueError) as error:
            absent[source.name] = f"source {source.name}: {error}"
    if not known:
        return config, absent
    return config.model_copy(update={"source": tuple(known.get(one.name, one) for one in config.source)}), absent
