"""``aspects import`` of an export of many small files: peak memory, files a second, killed in the middle and resumed.

    python -m tests.benchmarks.bench_intake FOLDER [--files 100000] [--per-patient 200]

Every patient has one CT series of 32 x 32 slices; so what is measured is the work per file, not that per voxel. The
command runs in a process of its own and is killed (SIGKILL) when half of the patients are in its journal; then it is
run again. What was committed before the kill must not be written again, and every file must be counted.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pydicom

from cohorts.dicom.journal import JOURNAL_FILE
from tests.cohorts.dicom.made import head_hu, write_slice

SIZE = 32
ROOT = Path(__file__).resolve().parents[2]
#: Texts of fixed length in the template, replaced in every file.
PATIENT, INSTANCE, PLACE = "P0000000", "1.2.826.0.1.9.10000000.1000000", "000000.5"


@dataclass(frozen=True)
class Measured:
    """One run of the command."""

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    last_line: str


def write_export(folder: Path, n_files: int, per_patient: int) -> int:
    """Write the files out of one template; returns how many patients there are."""
    pixels = head_hu(5, (SIZE, SIZE)) + 1024 + np.random.default_rng(1).integers(-5, 5, (SIZE, SIZE))
    write_slice(folder, 0, pixels, (-20, -15, 0), patient={"PatientID": PATIENT, "PatientName": PATIENT})
    (path,) = folder.iterdir()
    dataset = pydicom.dcmread(path)
    dataset.StudyInstanceUID = f"1.2.826.0.1.7.1{PATIENT[1:]}"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.8.1{PATIENT[1:]}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = INSTANCE
    dataset.ImagePositionPatient = ["-20", "-15", PLACE]
    dataset.save_as(path)
    template = path.read_bytes()
    path.unlink()
    n_patients = -(-n_files // per_patient)
    for patient in range(n_patients):
        number = f"{patient:07d}"
        own = template.replace(PATIENT.encode(), f"P{number}".encode())
        own = own.replace(f".1{PATIENT[1:]}".encode(), f".1{number}".encode())
        place = folder / f"patient {number}"
        place.mkdir()
        for slice_ in range(min(per_patient, n_files - patient * per_patient)):
            content = own.replace(f"{number}.1000000".encode(), f"{number}.1{slice_:06d}".encode())
            (place / f"{slice_:06d}.dcm").write_bytes(content.replace(PLACE.encode(), f"{slice_:06d}.5".encode()))
    return n_patients


def run(source: Path, cohort: Path, ends: Callable[[], bool] | None = None) -> Measured:
    """Import; killed as soon as ``ends`` says so."""
    command = [sys.executable, "-m", "flows", "import", str(source), str(cohort)]
    log = cohort.with_suffix(".log")
    started, peak, cpu = time.monotonic(), 0.0, 0.0
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss / 2**20)
                times = watched.cpu_times()
                cpu = times.user + times.system + times.children_user + times.children_system
            except psutil.NoSuchProcess:
                break
            if ends is not None and ends():
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.2)
    lines = [line for line in log.read_text().splitlines() if "Files found" in line or "imported" in line]
    return Measured(process.wait(), time.monotonic() - started, cpu, peak, lines[-1] if lines else "")


def main() -> None:
    """Write the export, kill one import of it, resume it, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--per-patient", type=int, default=200)
    given = parser.parse_args()
    source, cohort = given.folder / "export", given.folder / "cohort"
    source.mkdir(parents=True)
    n_patients = write_export(source, given.files, given.per_patient)
    journal = cohort / JOURNAL_FILE

    def half_is_done() -> bool:
        return journal.exists() and journal.read_bytes().count(b"\n") > n_patients / 2

    killed = run(source, cohort, half_is_done)
    n_done = journal.read_bytes().count(b"\n") - 1
    committed = {line.split("\t")[0] for line in (cohort / "scans.tsv").read_text().splitlines()[1:]}
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*.nii.gz")}
    resumed = run(source, cohort)
    again = sum(path.stat().st_mtime_ns != time_ns for path, time_ns in before.items())
    with (cohort / "import_report.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    counted = sum(int(row["n_files"]) - int(row["n_files_in_rows_above"]) + int(row["n_copies"]) for row in rows)
    print(f"{given.files} files of {n_patients} patients")
    for name, one in (("killed", killed), ("resumed", resumed)):
        print(
            f"{name}: exit {one.exit_code}, {one.seconds:.0f} s, {one.cpu_seconds:.0f} CPU s, "
            f"peak {one.peak_mib:.0f} MiB; {one.last_line}"
        )
    print(
        f"at the kill: {n_done} patients in the journal, {len(committed)} in scans.tsv, {len(before)} volumes written; "
        f"{again} of these were written again; {counted} files counted, {len(list(cohort.rglob('*.nii.gz')))} volumes"
    )


if __name__ == "__main__":
    main()
