"""Orthanc, a real archive, as a plain process on loopback; its programs and DICOM checkers come from Debian."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.flows.conftest import free_port

#: Where Debian puts the plug-in of ``orthanc-dicomweb``.
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def needed(program):
    """Skip without a program; where CI requires it (``ASPECTS_REQUIRE_PACS=1``), fail."""
    if shutil.which(program) and (program != "Orthanc" or DICOMWEB.exists()):
        return
    if os.environ.get("ASPECTS_REQUIRE_PACS") == "1":
        pytest.fail(f"ASPECTS_REQUIRE_PACS=1 but there is no {program}")
    pytest.skip(f"{program} is not installed")


@dataclass
class Orthanc:
    """A running archive."""

    dicom_port: int
    http_port: int

    @property
    def send(self):
        """For ``--send``."""
        return f"ORTHANC@127.0.0.1:{self.dicom_port}"

    @property
    def dicomweb(self):
        """For ``--stow``, and to read back."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def n_instances(self):
        """How many objects it holds."""
        return self.get("/statistics")["CountInstances"]

    def get(self, path):
        """Ask its own interface."""
        return requests.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=30).json()


@contextlib.contextmanager
def orthanc(folder):
    """Start Orthanc with an empty storage, and stop it."""
    needed("Orthanc")
    archive = Orthanc(free_port(), free_port())
    folder.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": archive.dicom_port,
        "HttpPort": archive.http_port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": {"Enable": True},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(requests.RequestException):
                archive.get("/system")
                break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "log").read_text()[-2000:])
            time.sleep(0.2)
        yield archive
    finally:
        process.terminate()
        process.wait(60)
