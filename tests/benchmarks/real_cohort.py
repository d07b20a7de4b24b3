"""A cohort of the shared real scans, for ``aspects run``: every system that their modality allows, readings and masks.

    python -m tests.benchmarks.real_cohort DATA COHORT
    aspects run COHORT OUT
    python -m tests.benchmarks.real_cohort --show OUT

Three plain CTs with the readings that came with them, three more (two of AISD, one thin), the crop of a CT angiography
around the circle of Willis, and four diffusion scans, one with a manual mask, one without an ADC. The study names no
source, so that the run takes all that the files allow. ``--show`` prints what became of every scan by every source.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK

from cohorts.images.nifti import nifti_bytes
from cohorts.images.transforms import SCAN_SPACE
from cohorts.phantom.tables import write_tsv
from tasks.anatomy import ASPECTS_REGIONS, MAXIMUM_SCORE
from tests.benchmarks.accuracy_baselines_dwi import SCANS as DWI_SCANS
from tests.benchmarks.accuracy_baselines_ncct import SCANS as READ_SCANS
from tests.benchmarks.accuracy_baselines_ncct import read_truth
from tests.benchmarks.synthetic_beside_real import from_itk, real_cts

STUDY = """[study]
name = "Real scans"
description = "Public scans of several sources; no patient is known."

[template]
regions = "classic"
"""
AISD = "ncct-dicom/0226308"
NO_SCAN = "no_scan_of_this_modality"
Scan = tuple[str, str, bytes]  # participant, modality, content


def scans(data: Path) -> Iterator[Scan]:
    """Every scan."""
    for name, values, affine in real_cts(data):
        yield f"sub-{name}", "ncct", nifti_bytes(np.rint(values).astype(np.int16), affine)
    values, affine = from_itk(SimpleITK.ReadImage(str(data / "cta-crop/dummy_cta.mha")))
    yield "sub-crop", "cta", nifti_bytes(np.rint(values).astype(np.int16), affine)
    for one in DWI_SCANS:
        participant = f"sub-{one.name.replace(' ', '').lower()}"
        files = {"dwi": one.dwi, "adc": one.adc, "dwi-lesion": one.manual}
        for modality, name in files.items():
            if name:
                yield participant, modality, (data / name).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        command = ["dcm2niix", "-z", "y", "-o", folder, "-f", "aisd", str(data / AISD / "DWI")]
        subprocess.run(command, check=True, capture_output=True)
        yield "sub-0226308", "dwi", next(Path(folder).glob("aisd*.nii.gz")).read_bytes()


def readings(data: Path) -> list[dict[str, object]]:
    """The readings that came with three scans: the affected side; the other one has nothing."""
    rows = []
    for name in READ_SCANS:
        side, regions = read_truth(data / "ncct-aspects" / name / "GroundTruth.txt")
        flags = {region: int(region in regions) for region in ASPECTS_REGIONS}
        own = {"participant_id": f"sub-{name}", "reader": "authors", "session": "1", "template_assisted": 0}
        score = MAXIMUM_SCORE - len(regions)
        rows.append({**own, "side": side, "score": score, "low": pd.NA, **flags})
    return rows


def write_cohort(data: Path, folder: Path) -> None:
    """Write images, tables and study."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for participant, modality, content in scans(data):
        name = f"images/{participant}_{modality}.nii.gz"
        (folder / name).write_bytes(content)
        rows.append({"participant_id": participant, "modality": modality, "space": SCAN_SPACE, "path": name})
    people = pd.DataFrame({"participant_id": sorted({row["participant_id"] for row in rows})})
    for table, frame in (("participants", people), ("scans", pd.DataFrame(rows)),
                         ("readings", pd.DataFrame(readings(data)))):  # fmt: skip
        write_tsv(folder / f"{table}.tsv", frame)
    (folder / "cohort.toml").write_text(STUDY, "utf-8")
    print(f"{len(people)} participants, {len(rows)} files in {folder}")


def show(out: Path) -> None:
    """What became of every scan by every source: score and volume, or the reason for none."""
    tables = out / "results" / "latest" / "tables"
    scores, lesions = (pd.read_parquet(tables / f"{name}.parquet") for name in ("scores", "lesions"))
    known = scores["score"].astype("string").fillna("low " + scores["low_score_probability"].round(2).astype("string"))
    for frame, what in ((scores, known), (lesions, lesions["volume_ml"].round(2).astype("string") + " ml")):
        rows = frame.assign(what=what.fillna(frame["reason"]))
        rows = rows[rows["reason"] != NO_SCAN]
        table = rows.pivot_table(aggfunc="first", index="source", columns="participant_id", values="what").fillna("-")
        with pd.option_context("display.width", 400, "display.max_columns", None, "display.max_colwidth", 24):
            print(table)


def main() -> None:
    """Write or show as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("cohort", type=Path, nargs="?")
    parser.add_argument("--show", type=Path, metavar="OUT")
    asked = parser.parse_args()
    if asked.show:
        show(asked.show)
    elif asked.data and asked.cohort:
        write_cohort(asked.data, asked.cohort)
    else:
        parser.error("DATA and COHORT, or --show OUT, must be given")


if __name__ == "__main__":
    main()
