"""``aspects demo``: a synthetic cohort, and its run, from nothing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from cohorts.phantom.cohort import PhantomAnatomy, PlantedFault, write_phantom_cohort
from cohorts.phantom.native_scans import small_lesions, write_phantom_scans
from cohorts.phantom.perfusion import write_phantom_perfusion
from flows.commands import screens
from flows.engine.devices import GpuChoice
from flows.run.running import RunRequest, run_cohort
from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_label_map, load_template

SCANNED_LESION_ML = 5.0  # who has a smaller one gets no synthetic scans
#: The baselines, a network and CT perfusion, for the patients that have scans.
SCAN_SOURCES = """
[[source]]
name = "ncct-ratio"
kind = "density_ratio"
modality = "ncct"
description = "Baseline without weights on six patients' synthetic CT"

[[source]]
name = "dwi-threshold"
kind = "dwi_threshold"
modality = "dwi"
description = "Baseline without weights on six patients' synthetic diffusion scans"

[[source]]
name = "dwi-unet"
kind = "dwi_unet"
modality = "dwi"
registration = "network"
description = "Networks draw lesion and regions of the same scans; trained on other synthetic patients alone"

[[source]]
name = "ctp-core"
kind = "ctp_core"
modality = "ctp"
description = "Core on six patients' synthetic CT perfusion: rCBF < 30 % in more than 10 % of a region"

[[agreement]]
reference = "ctp-core"
candidate = "dwi-threshold"

[[agreement]]
reference = "ctp-core"
candidate = "dwi-unet"

[[agreement]]
reference = "ctp-core"
candidate = "ncct-ratio"

[[agreement]]
reference = "lesion-classic"
candidate = "ctp-core"
"""


def run_demo(folder: Path, *, n_participants: int, n_cpus: int, gpu: GpuChoice, console: Console) -> int:
    """Make ``folder/cohort`` where it is absent, and run it into ``folder/out``.

    Returns
    -------
    Exit code of the run.
    """
    cohort, out = folder / "cohort", folder / "out"
    started = time.perf_counter()
    if not (cohort / "cohort.toml").is_file():
        console.print(f"Creating {n_participants} patients in {cohort} ...", highlight=False)
        draft = folder / ".cohort-draft"  # an interrupted demo leaves no half cohort
        shutil.rmtree(draft, ignore_errors=True)
        faults = make_demo_cohort(draft, n_participants)
        draft.rename(cohort)
        console.print(
            f"Made in {time.perf_counter() - started:.1f} s, with {len(faults)} faulty cases on purpose:",
            highlight=False,
        )
        for fault in faults:
            console.print(f"  {fault.participant_id}: {fault.fault}", highlight=False, markup=False, soft_wrap=True)
    request = RunRequest(cohort, out, n_cpus=n_cpus, gpu=gpu, command=f"aspects demo {folder}")
    outcome = run_cohort(request, console)
    screens.show_outcome(outcome, request, console)
    console.print(f"Demo took {time.perf_counter() - started:.1f} s. All of it is synthetic.", highlight=False)
    return outcome.exit_code


def make_demo_cohort(folder: Path, n_participants: int) -> tuple[PlantedFault, ...]:
    """Write the synthetic cohort on the project's own template and maps."""
    template = load_template()
    vascular, aspects = load_label_map("vascular"), load_label_map("classic")
    anatomy = PhantomAnatomy(
        territories=np.asarray(vascular.labels),
        table=vascular.table,
        aspects=np.asarray(aspects.labels),
        brain=template.brain,
        affine=template.affine,
    )
    faults = write_phantom_cohort(folder, anatomy, n_participants=n_participants)
    maps = template_tissues("ct")
    without = {fault.participant_id for fault in faults}
    without |= small_lesions(folder, minimum_ml=SCANNED_LESION_ML, without=without)
    write_phantom_scans(folder, maps, without=without)
    write_phantom_perfusion(folder, maps, without=without)
    with (folder / "cohort.toml").open("a", encoding="utf-8") as study:
        study.write(SCAN_SOURCES)
    return faults
