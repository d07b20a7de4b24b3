"""What a patient costs from file to score, stage by stage, and how many patients an hour two cores manage.

    python -m tests.benchmarks.bench_patient DATA [--patients 12] [--cpus 2]

DATA is the folder of the shared real data. Stages: each step of a run on one real CT, one real diffusion scan and one
synthetic perfusion series of 256 x 256 x 16 voxels and 45 frames, in one process, the second time (all is loaded);
CPU seconds of each function without those that it calls. Patients: a cohort of copies of the real CT and diffusion
scans, run as ``aspects run`` does; the hour is of the measuring alone, beside start and results.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console

from cohorts.images import scan as scan_images
from cohorts.phantom.native_scans import scan_bytes
from flows.cases import adc, found_lesion, native_scan
from flows.cases import case as case_module
from flows.cases.case import Case, CaseFile, MapReference, StepSettings
from flows.run import steps
from flows.run.request import RunRequest
from flows.run.running import run_cohort
from flows.sources import ctp_core, density_ratio, dwi_threshold, perfusion_core
from flows.sources.ctp_core import CtpCoreSource
from flows.sources.density_ratio import DensityRatioSource
from flows.sources.dwi_threshold import DwiThresholdSource
from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_label_map
from tasks.perfusion import series as perfusion_series
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.phantoms.perfusion_head import prepare_head

CT = [f"ncct-aspects/sub00{n}/im.nii.gz" for n in (1, 2, 3)]
DWI = {
    "isles9": "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_{}.nii.gz",
    "isles1": "dwi/isles22-case0001/{}.nii.gz",
}
CTP_SHAPE, CTP_SPACING_MM, CTP_FRAMES = (256, 256, 16), (0.9, 0.9, 5.0), 45
MAPS = tuple(MapReference(name, load_label_map(name).sha256) for name in ("classic", "territory", "vascular"))
#: Where the steps look a function up -> the stage it is.
STAGES: dict[tuple[Any, str], str] = {
    (case_module, "read_scan"): "read",
    (scan_images, "decompressed"): "decompress",
    (native_scan, "ct_working_scan"): "brain",
    (native_scan, "mr_working_scan"): "brain",
    (native_scan, "extract_ct_brain"): "brain",
    (native_scan, "extract_mr_brain"): "brain",
    (native_scan, "register"): "register",
    (native_scan, "refine"): "refine",
    (native_scan, "measure_quality"): "quality",
    (native_scan, "measure_guards"): "guards",
    (density_ratio, "place_regions"): "place regions",
    (density_ratio, "measure_density"): "densities",
    (adc, "adc_on_grid"): "ADC",
    (dwi_threshold, "segment_dwi"): "lesion",
    (native_scan.PreparedScan, "labels"): "labels",
    (density_ratio, "drawn"): "pictures",
    (found_lesion, "drawn"): "pictures",
    (native_scan, "registration_files"): "transforms",
    (ctp_core, "registration_files"): "transforms",
    (ctp_core, "register"): "register",
    (ctp_core, "kept_maps"): "maps as files",
    (perfusion_series, "trace_motion"): "motion trace",
    (perfusion_series, "correct_motion"): "motion correction",
    (perfusion_series, "extract_slab_brain"): "brain",
    (perfusion_series, "ctp_masks"): "masks",
    (perfusion_series, "enhancement_area"): "masks",
    (perfusion_series, "find_arterial_input"): "artery and vein",
    (perfusion_series, "denoise"): "smoothing",
    (perfusion_series, "choose_sigma_mm"): "smoothing",
    (perfusion_series, "perfusion_maps"): "deconvolution",
    (perfusion_core, "find_core"): "core",
    (perfusion_core, "measure_lesion"): "core",
    (perfusion_core, "panel_files"): "pictures",
    (steps, "write_outputs"): "write",
    (steps, "commit"): "write",
}


class Stopwatch:
    """CPU seconds of each stage, without the stages that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """The function, its time counted under its stage."""

        def run(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            begun = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                whole = time.process_time() - begun
                self.seconds[stage] += whole - self._inner.pop()
                self._inner[-1] += whole

        return run


@contextmanager
def watched(watch: Stopwatch) -> Iterator[None]:
    """Every stage timed while this lasts."""
    with ExitStack() as stack:
        for (owner, name), stage in STAGES.items():
            stack.enter_context(mock.patch.object(owner, name, watch.timed(getattr(owner, name), stage)))
        yield


def case_of(participant_id: str, step: str, files: dict[str, Path]) -> Case:
    """A case of files that lie on disk."""
    listed = [CaseFile(name, str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files.items()]
    return Case(participant_id, step, tuple(listed))


def write_series(folder: Path) -> dict[str, Path]:
    """A moving perfusion series of a scanner's size with its sidecar."""
    protocol = Protocol(CTP_SHAPE, CTP_SPACING_MM, tuple(1.5 * frame for frame in range(CTP_FRAMES)), noise_hu=7.0)
    rng = np.random.default_rng(1)
    motion = np.zeros((CTP_FRAMES, 6))
    motion[20:] = (1.0, -0.5, 2.0, 1.5, 1.0, -1.0)  # degrees and mm: a head that turned once
    series = simulate_perfusion(prepare_head(template_tissues()), protocol, rng, motion=motion)
    image, sidecar = folder / "sub-p_ctp.nii.gz", folder / "sub-p_ctp.json"
    image.write_bytes(scan_bytes(series.series, series.affine))
    sidecar.write_text(json.dumps({"VolumeTiming": list(protocol.frame_times_s)}), encoding="utf-8")
    return {"ctp": image, "ctp.json": sidecar}


def report_stages(data: Path, folder: Path) -> None:
    """Print the stages of one CT, one diffusion scan and one perfusion series."""
    ct, dwi = data / CT[0], DWI["isles9"]
    sources = (
        (DensityRatioSource(name="a", kind="density_ratio"), {"ncct": ct}, MAPS[:2]),
        (DwiThresholdSource(name="b", kind="dwi_threshold"),
         {name: data / dwi.format(name) for name in ("dwi", "adc")}, MAPS),
        (CtpCoreSource(name="c", kind="ctp_core"), write_series(folder), MAPS),
    )  # fmt: skip
    for source, files, maps in sources:
        settings = StepSettings(source.kind, maps, source.settings)
        made = case_of("sub-p", source.step, files)
        steps.run_case(made, settings, folder / "first")
        watch = Stopwatch()
        with watched(watch):
            record = steps.run_case(made, settings, folder / "second")
        rest = record.cpu_seconds - sum(watch.seconds.values())
        print(f"{source.step}: {record.status} {record.reason or ''}, {record.seconds:.2f} s, "
              f"{record.cpu_seconds:.2f} CPU s, peak {record.peak_mib:.0f} MiB of the process so far")  # fmt: skip
        for stage, seconds in sorted({**watch.seconds, "rest": rest}.items(), key=lambda item: -item[1]):
            print(f"    {stage:20s} {seconds:6.3f} CPU s")


def write_cohort(data: Path, folder: Path, n_patients: int) -> None:
    """Copies of the real scans, one CT and one diffusion scan per patient."""
    folder.mkdir()
    rows = []
    cts, dwis = itertools.cycle(CT), itertools.cycle(DWI.values())
    for number in range(n_patients):
        sub, dwi = f"sub-{number:03d}", next(dwis)
        for modality, path in {"ncct": next(cts), "dwi": dwi.format("dwi"), "adc": dwi.format("adc")}.items():
            shutil.copy(data / path, folder / f"{sub}_{modality}.nii.gz")
            rows.append((sub, modality, "orig", f"{sub}_{modality}.nii.gz"))
    table = "\n".join("\t".join(row) for row in [("participant_id", "modality", "space", "path"), *rows])
    (folder / "scans.tsv").write_text(f"{table}\n", encoding="utf-8")
    ids = "\n".join(dict.fromkeys(row[0] for row in rows))
    (folder / "participants.tsv").write_text(f"participant_id\n{ids}\n", encoding="utf-8")
    (folder / "cohort.toml").write_text(
        '[study]\nname = "Copies"\n'
        '[[source]]\nname = "ncct-ratio"\nkind = "density_ratio"\n'
        '[[source]]\nname = "dwi-threshold"\nkind = "dwi_threshold"\n',
        encoding="utf-8",
    )


def report_throughput(data: Path, folder: Path, n_patients: int, n_cpus: int) -> None:
    """Print how long a run of copies takes."""
    write_cohort(data, folder / "cohort", n_patients)
    request = RunRequest(folder / "cohort", folder / "out", n_cpus=n_cpus)
    outcome = run_cohort(request, Console(quiet=True))
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.seconds.items())
    hourly = 3600 * n_patients / outcome.seconds["measure"]
    print(f"{n_patients} patients with CT and diffusion on {n_cpus} cores: {parts}; {hourly:.0f} patients an hour")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--cpus", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report_stages(arguments.data, Path(name))
        if arguments.patients:
            report_throughput(arguments.data, Path(name), arguments.patients, arguments.cpus)


if __name__ == "__main__":
    main()
