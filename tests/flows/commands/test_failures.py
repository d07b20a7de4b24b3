"""Wrong usage ends with 2, what must be fixed first with 3; the message names the option or what is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.__main__ import app, guarded
from flows.commands.failures import EXIT_PREFLIGHT, EXIT_USAGE
from tests.flows.conftest import TinyCohort

pytestmark = pytest.mark.processes  # the server of Prefect listens before the scheduler is asked

ORDER = "C,I,IC,L,M1,M2,M3,M4,M5,M6"


def ended(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and error output of the command, as people start it."""
    code = guarded(lambda: app([str(one) for one in arguments]))
    return code, capsys.readouterr().err


@pytest.fixture
def scene(tiny: TinyCohort, tmp_path: Path) -> Path:
    """A folder with a public cohort that has a stranger among its masks, DICOM files to import and a bad key."""
    (tmp_path / "soop" / "lesions").mkdir(parents=True)
    (tmp_path / "soop" / "participants.tsv").write_text("participant_id\n")
    (tmp_path / "soop" / "lesions" / "notes.txt").write_text("")
    (tmp_path / "dicom").mkdir()
    (tmp_path / "short.key").write_text("00")
    (tmp_path / "short.key").chmod(0o600)
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "scans.tsv").write_text("who,what\n")
    (tmp_path / "cohort").symlink_to(tiny.folder)
    return tmp_path


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


USAGE = [
    ("run {0}/cohort {0}/out --participant-label 99", "--participant-label must name participants"),
    ("run {0}/cohort {0}/out --dask tcp://192.0.2.1:8786", "--dask must be a tls:// address or on loopback"),
    ("run {0}/cohort {0}/out --tls-ca ca.pem", "must be given together, and with --dask"),
    ("run {0}/cohort {0}/out --n-cpus -1", "--n-cpus"),
    ("run {0}/cohort {0}/out --no-such-option", "No such option"),
    ("nightly {0}/cohort {0}/out --tls-key key.pem", "must be given together, and with --dask"),
    ("import {0}/none {0}/new", "DICOM_DIR must be a folder"),
    ("import {0}/dicom {0}", "DICOM_DIR must lie outside the cohort folder"),
    ("import {0}/dicom {0}/new --on-fault gantry=reject", "--on-fault must name a fault"),
    ("import {0}/dicom {0}/new --key {0}/new/a.key", "--key must lie outside the cohort folder"),
    ("init {0}/new --from-soop {0}/soop --map ours", "--map must be NAME=FILE"),
    ("init {0}/new --from-soop {0}/soop --map !=map.nii:" + ORDER, "maps must be named by"),
    (f"init {{0}}/new --from-soop {{0}}/soop --map a=m.nii:{ORDER} --map a=n.nii:{ORDER}", "got a twice"),
    ("serve {0}/cohort {0}/out --port 65536", "--port"),
]
PREFLIGHT = [
    ("verify {0}/none", "OUT must be an output folder of a run"),
    ("import {0}/dicom {0}/new --key {0}/short.key", "key file must hold 32 random bytes"),
    ("import {0}/dicom {0}/listed", "scans.tsv must have the columns"),
    ("init {0}/new --from-soop {0}/soop", "lesions must hold"),
    ("init {0}/new --from-soop {0}/none", "source must hold the public cohort"),
    ("run {0}/none {0}/out", "cohort.toml"),
]


@pytest.mark.parametrize(("command", "words"), USAGE)
def test_a_wrong_option_or_argument_is_wrong_usage(
    scene: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    code, shown = ended(capsys, *command.format(scene).split())
    assert (code, words in " ".join(shown.split())) == (EXIT_USAGE, True), shown
    assert not (scene / "new" / "scans.tsv").exists()


@pytest.mark.parametrize(("command", "words"), PREFLIGHT)
def test_what_cannot_be_used_must_be_fixed_first(
    scene: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    code, shown = ended(capsys, *command.format(scene).split())
    assert (code, words in " ".join(shown.split())) == (EXIT_PREFLIGHT, True), shown


def test_a_port_in_use_asks_for_another_one(scene: Path, capsys: pytest.CaptureFixture[str], busy_port: int) -> None:
    code, shown = ended(capsys, "serve", scene / "cohort", scene / "out", "--port", busy_port)
    assert (code, f"--port must be free, got {busy_port}" in shown) == (EXIT_USAGE, True), shown
