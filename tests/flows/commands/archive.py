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

import pydicom
import pytest
import requests
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage, SegmentationStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

from tests.flows.conftest import free_port

#: Where Debian puts the plug-in of ``orthanc-dicomweb``.
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: What an export sends.
CLASSES = (SegmentationStorage, ComprehensiveSRStorage, EncapsulatedPDFStorage)


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


def fetched(running, study):
    """Everything of a study by C-FIND of its series and C-GET, by SOP class."""
    entity = AE("TEST")
    entity.add_requested_context(Find)
    entity.add_requested_context(Get)
    for one in CLASSES:
        entity.add_requested_context(one)
    got = []

    def kept(event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        got.append(dataset)
        return 0x0000

    association = entity.associate(
        "127.0.0.1",
        running.dicom_port,
        ae_title="ORTHANC",
        ext_neg=[build_role(one, scp_role=True) for one in CLASSES],
        evt_handlers=[(evt.EVT_C_STORE, kept)],
    )
    assert association.is_established
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "SERIES", study
    query.SeriesInstanceUID = query.Modality = query.SeriesDescription = ""
    series = [found for status, found in association.send_c_find(query, Find) if found is not None]
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    list(association.send_c_get(query, Get))
    association.release()
    return series, got
