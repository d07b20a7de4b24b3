"""Sending DICOM objects to an archive: by C-STORE (plain or TLS) or by STOW-RS; beyond loopback only in secrecy.

An archive answers for every object. What it did not take is told by its own code, never by its words, which may quote
a header.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage, SegmentationStorage
from pynetdicom import AE

from flows.engine.cluster import LOOPBACK_HOSTS
from flows.run.request import UsageError

CALLING_AE = "ASPECTS"
CLASSES = (SegmentationStorage, ComprehensiveSRStorage, EncapsulatedPDFStorage)
CONNECT_S, ANSWER_S = 20, 120
UNREACHED = "the archive cannot be reached"
#: PS3.4 B.2.3: stored, with a remark of the archive.
STORED_WITH_WARNING = range(0xB000, 0xC000)
_ADDRESS = re.compile(r"(?P<ae>[ -\[\]-~]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@/\s]+):(?P<port>\d{1,5})")
_HOW = "must be AE@HOST:PORT, such as ORTHANC@pacs.example.org:11112"


@dataclass(frozen=True)
class Secrecy:
    """How to speak in secret: PEM files of the archive's authority, of our certificate and key; a token; or not at
    all.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token: Path | None = None
    allow_insecure: bool = False

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise UsageError("--tls-cert and --tls-key must be given together. Give both, or none.")
        if self.cert is not None and self.ca is None:
            raise UsageError("--tls-ca must be given with --tls-cert. Give the certificate of the archive's authority.")
        for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if path is not None and not path.is_file():
                raise UsageError(f"--tls-{name} must be a file, got {path}. Check the path.")

    @cached_property
    def context(self) -> ssl.SSLContext | None:
        """For TLS; None where none is wanted."""
        if self.ca is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            if self.cert is not None and self.key is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError):
            raise UsageError("--tls-ca, --tls-cert and --tls-key must be PEM files that fit. Check them.") from None
        return context


class Archive(Protocol):
    """Where objects go."""

    @property
    def name(self) -> str:
        """As tables and people name it."""

    def store(self, datasets: Sequence[Dataset]) -> Mapping[str, str]:
        """SOP instance UID -> why it was not stored, empty where it was."""


@dataclass(frozen=True)
class Dimse:
    """An archive reached by C-STORE."""

    ae: str
    host: str
    port: int
    calling_ae: str
    secrecy: Secrecy

    @property
    def name(self) -> str:
        """AE@HOST:PORT."""
        return f"{self.ae}@{self.host}:{self.port}"

    def store(self, datasets: Sequence[Dataset]) -> Mapping[str, str]:
        """Send all over one association."""
        entity = AE(ae_title=self.calling_ae)
        entity.connection_timeout, entity.acse_timeout = CONNECT_S, CONNECT_S
        entity.dimse_timeout = entity.network_timeout = ANSWER_S
        for sop_class in CLASSES:
            entity.add_requested_context(sop_class)
        context = self.secrecy.context
        tls = None if context is None else (context, self.host.strip("[]"))
        association = entity.associate(self.host.strip("[]"), self.port, ae_title=self.ae, tls_args=tls)
        if not association.is_established:
            why = "the archive refused the association" if association.is_rejected else UNREACHED
            return {str(one.SOPInstanceUID): why for one in datasets}
        try:
            return {str(one.SOPInstanceUID): self._sent(association, one) for one in datasets}
        finally:
            if association.is_established:
                association.release()

    def _sent(self, association: object, dataset: Dataset) -> str:
        """Send one; why it was not stored, empty where it was."""
        try:
            answer = association.send_c_store(dataset)  # type: ignore[attr-defined]
        except (RuntimeError, ValueError):  # the association is lost, or this class was not accepted
            return "the archive does not take this kind of object, or closed the association"
        if "Status" not in answer:
            return "the archive closed the association or did not answer"
        status = int(answer.Status)
        return "" if status == 0 or status in STORED_WITH_WARNING else f"the archive answered 0x{status:04X}"


@dataclass(frozen=True)
class Stow:
    """An archive reached by STOW-RS."""

    url: str
    secrecy: Secrecy

    @property
    def name(self) -> str:
        """Its address."""
        return self.url

    def store(self, datasets: Sequence[Dataset]) -> Mapping[str, str]:
        """Send each in a request of its own, so that one that is refused takes no other with it."""
        session = requests.Session()
        session.trust_env = False  # results of patients go through no proxy that nobody named
        if self.secrecy.ca is not None:
            session.verify = str(self.secrecy.ca)
        if self.secrecy.cert is not None and self.secrecy.key is not None:
            session.cert = (str(self.secrecy.cert), str(self.secrecy.key))
        headers = {}
        if self.secrecy.token is not None:
            headers["Authorization"] = f"Bearer {self.secrecy.token.read_text('ascii').strip()}"
        client = DICOMwebClient(self.url, session=session, headers=headers, timeout=(CONNECT_S, ANSWER_S))
        return {str(one.SOPInstanceUID): _stowed(client, one) for one in datasets}


def _stowed(client: DICOMwebClient, dataset: Dataset) -> str:
    """Send one; why it was not stored, empty where it was."""
    try:
        answer = client.store_instances([dataset])
    except requests.HTTPError as error:
        return (
            "the archive refused"
            if error.response is None
            else f"the archive answered HTTP {error.response.status_code}"
        )
    except requests.exceptions.SSLError:
        return "the archive's certificate is not of the authority given, or it does not take ours"
    except requests.RequestException:
        return UNREACHED
    for item in answer.get("FailedSOPSequence") or ():
        return f"the archive answered 0x{int(item.get('FailureReason') or 0):04X}"
    return ""


def archive(send: str | None, stow: str | None, calling_ae: str, secrecy: Secrecy) -> Archive | None:
    """Where to send to; None where nothing is to be sent.

    Parameters
    ----------
    send : ``AE@HOST:PORT``, or None
    stow : address of a DICOMweb service, or None
    calling_ae : who we are, as the archive knows us
    secrecy : Secrecy

    Raises
    ------
    UsageError
        An address breaks its rule, or leaves this machine in clear text.
    """
    if send is None and stow is None:
        return None
    if send is not None and stow is not None:
        raise UsageError("--send and --stow must not be given together. Choose one, then run again for the other.")
    if stow is not None:
        parts = urlsplit(stow)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(f"--stow must be an http or https address without a name in it, got {stow}. Correct it.")
        _check_secret("--stow", parts.hostname, secrecy, is_secret=parts.scheme == "https")
        if secrecy.token is not None and not secrecy.token.is_file():
            raise UsageError(f"--token-file must be a file, got {secrecy.token}. Check the path.")
        return Stow(stow.rstrip("/"), secrecy)
    found = _ADDRESS.fullmatch(send or "")
    if found is None or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"--send {_HOW}, got {send}. Correct it.")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", calling_ae):
        raise UsageError(f"--calling-ae must be 1 to 16 letters, digits or signs, got {calling_ae}. Correct it.")
    _check_secret("--send", found["host"], secrecy, is_secret=secrecy.context is not None)
    return Dimse(found["ae"], found["host"], int(found["port"]), calling_ae, secrecy)


def _check_secret(option: str, host: str, secrecy: Secrecy, *, is_secret: bool) -> None:
    """Refuse what leaves this machine in clear text."""
    if not is_secret and host not in LOOPBACK_HOSTS and not secrecy.allow_insecure:
        raise UsageError(
            f"{option} must use TLS beyond this machine, got {host} without. The objects name patients: give --tls-ca "
            "(and --tls-cert, --tls-key), or pass --insecure on a network that your hospital trusts."
        )
