"""``aspects cluster certs FOLDER``: certificates for a Dask scheduler beyond this machine, and how they are used."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.commands.failures import EXIT_OK
from flows.engine.certificates import make_certificates
from flows.run.request import PreflightError


def cluster_certs(folder: Path, days: int, console: Console) -> int:
    """Make the certificates and print the three commands that use them.

    Parameters
    ----------
    folder : where they go
    days : for which they are valid
    console : where plain lines go

    Raises
    ------
    PreflightError
        The folder holds some, or cannot be written.
    """
    try:
        files = make_certificates(folder, days)
    except FileExistsError as error:
        raise PreflightError(f"FOLDER: {error}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PreflightError(
            f"FOLDER must be one that can be written, got {folder} ({reason}). Give another."
        ) from error
    dask = f"--tls-ca-file {files.ca} --tls-cert {files.cert} --tls-key {files.key}"
    lines = (
        f"Certificates for {days} days in {folder}. Whoever can read {files.key.name} can run code on the cluster as",
        "you: copy the folder to its machines, for your eyes alone.",
        f"  scheduler  dask scheduler --protocol tls {dask}",
        f"  worker     dask worker tls://HOST:8786 {dask} --nthreads 1",
        "  run        aspects run COHORT OUT --dask tls://HOST:8786 "
        f"--tls-ca {files.ca} --tls-cert {files.cert} --tls-key {files.key}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return EXIT_OK
