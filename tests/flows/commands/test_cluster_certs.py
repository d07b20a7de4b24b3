"""Certificates for a cluster: the commands that are printed let in who has them, and nobody else."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from distributed import Client
from distributed.security import Security
from typer.testing import CliRunner

from flows.__main__ import app, guarded
from flows.engine.certificates import make_certificates
from flows.engine.cluster import ClusterError, TlsFiles, connect

STARTED_S = 60


def test_who_can_read_the_key_and_how_long_it_is_valid(tmp_path):
    files = make_certificates(tmp_path / "new" / "certificates", 30)
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    assert sorted(one.name for one in files.key.parent.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    authority, own = (x509.load_pem_x509_certificate(one.read_bytes()) for one in (files.ca, files.cert))
    own.verify_directly_issued_by(authority)
    assert (own.not_valid_after_utc - own.not_valid_before_utc).days == 30
    ca = [one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for one in (authority, own)]
    assert ca == [True, False]


def test_certificates_that_are_there_stay(tmp_path, capsys):
    before = make_certificates(tmp_path, 1).key.read_bytes()
    assert guarded(lambda: app(["cluster", "certs", str(tmp_path)], standalone_mode=False)) == 3
    assert "must hold no certificates, got ca.pem, cert.pem, key.pem. Give a new folder." in capsys.readouterr().err
    assert (tmp_path / "key.pem").read_bytes() == before
    (tmp_path / "file").write_text("")
    assert guarded(lambda: app(["cluster", "certs", str(tmp_path / "file" / "x")], standalone_mode=False)) == 3
    assert "FOLDER must be one that can be written" in capsys.readouterr().err


@pytest.mark.processes
def test_the_printed_commands_start_a_cluster_that_lets_in_their_holder_alone(tmp_path):
    folder = tmp_path / "certificates"
    told = CliRunner().invoke(app, ["cluster", "certs", str(folder)])
    assert told.exit_code == 0
    lines = {line.split()[0]: shlex.split(line)[1:] for line in told.output.splitlines() if line.startswith("  ")}
    assert set(lines) == {"scheduler", "worker", "run"}
    where = tmp_path / "scheduler.json"
    here = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where)]
    with _started([*lines["scheduler"], *here]):
        address = _address(where)
        worker = [address if word.startswith("tls://") else word for word in lines["worker"]]
        with _started([*worker, "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path)]):
            given = dict(zip(lines["run"], lines["run"][1:], strict=False))
            tls = TlsFiles(*(Path(given[option]) for option in ("--tls-ca", "--tls-cert", "--tls-key")))
            _await_worker(address, tls)
            with connect(n_cpus=1, address=address, work_dir=str(tmp_path), tls=tls) as client:
                assert client.submit(sum, [20, 22]).result(timeout=STARTED_S) == 42
            others = make_certificates(tmp_path / "others", 1)
            with (
                pytest.raises(ClusterError, match="must be a running scheduler, got none"),
                connect(n_cpus=1, address=address, work_dir=str(tmp_path), tls=others),
            ):
                pass


def _started(command):
    """A process of Dask's command of this environment, ended with the test."""
    assert command[0] == "dask"
    return _Ended([sys.executable, "-m", "dask", *command[1:]])


class _Ended:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=STARTED_S)


def _await_worker(address, tls):
    own = {"tls_client_cert": str(tls.cert), "tls_client_key": str(tls.key)}
    security = Security(tls_ca_file=str(tls.ca), require_encryption=True, **own)
    with Client(address, security=security, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=STARTED_S)


def _address(where):
    """Of the scheduler, once it listens."""
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until:
        if where.is_file() and (text := where.read_text()):
            return json.loads(text)["address"]
        time.sleep(0.1)
    raise AssertionError("no scheduler")
