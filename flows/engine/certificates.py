"""Certificates of a site's cluster: an authority of its own, and one certificate for scheduler, workers and clients.

Dask lets in whoever has a certificate of the authority, and does not look at host names, so that one certificate serves
every machine. The authority's key is thrown away: nobody can make another that is let in. When they expire, all are
made again.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cohorts.store.records import write_bytes
from flows.engine.cluster import TlsFiles

NAMES = TlsFiles(Path("ca.pem"), Path("cert.pem"), Path("key.pem"))
EARLIER = timedelta(hours=1)  # clocks of machines differ


def make_certificates(folder: Path, days: int, addresses: Sequence[str] = ()) -> TlsFiles:
    """Write ``ca.pem``, ``cert.pem`` and ``key.pem``, the key for its owner's eyes alone.

    Parameters
    ----------
    folder : made if absent, mode 700
    days : for which they are valid, from now
    addresses : IP addresses that the certificate names, for clients that look at them, as Dask's do not

    Raises
    ------
    FileExistsError
        One of them is there: what runs with it would be locked out.
    OSError
        The folder cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    files = TlsFiles(folder / NAMES.ca, folder / NAMES.cert, folder / NAMES.key)
    if there := [path.name for path in (files.ca, files.cert, files.key) if path.exists()]:
        raise FileExistsError(f"{folder} must hold no certificates, got {', '.join(there)}. Give a new folder.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, subject = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"aspects-cohort {what}")])
        for what in ("authority", "cluster")
    )
    now = datetime.now(UTC)

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *, is_authority: bool) -> bytes:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - EARLIER)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if addresses:
            named = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in addresses])
            certificate = certificate.add_extension(named, critical=False)
        return certificate.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    write_bytes(files.cert, signed(subject, key.public_key(), is_authority=False))
    write_bytes(files.ca, signed(authority, authority_key.public_key(), is_authority=True))
    return files
