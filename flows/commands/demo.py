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
from flows.run.request import RunRequest
from flows.run.running import run_cohort
from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_label_map, load_template

SCANNED_LESION_ML = 5.0  # who has a smaller one gets no synthetic scans
#: Patients with native scans of every modality; each costs about 20 CPU seconds, half of them networks.
N_SCANNED = 6
#: What scores their scans: name, kind, further keys, description.
SCAN_SOURCES = (
    ("ncct-ratio", "density_ratio", "", "Baseline without weights on synthetic plain CT"),
    ("cta-ratio", "density_ratio", 'modality = "cta"\nimage = "cta"', "The same baseline on synthetic CT angiography"),
    ("ncct-overlap", "ncct_overlap", "", "Paper 2: an infarct that a network draws on plain CT, laid over regions"),
    ("ncct-asymmetry", "ncct_asymmetry", "", "Paper 3: a network compares both sides of synthetic plain CT"),
    ("ncct-radiomics", "ncct_radiomics", "", "Paper 3's comparator on synthetic plain CT"),
    ("cta-radiomics", "cta_radiomics", "", "Paper 1's classifier on synthetic CT angiography"),
    ("dwi-threshold", "dwi_threshold", "", "Baseline without weights on synthetic diffusion scans"),
    (
        "dwi-unet",
        "dwi_unet",
        'registration = "network"',
        "Paper 4: networks draw lesion and regions on diffusion scans",
    ),
    ("dwi-dichotomy", "dwi_dichotomy", "", "Paper 5: the chance of a low score on diffusion scans, and nothing else"),
    ("ctp-core", "ctp_core", "", "Core on synthetic CT perfusion: rCBF < 30 % in more than 10 % of a region"),
)
#: Reference -> the candidates held against it: systems and baselines beside both truths and a reader.
_SYSTEMS = (
    "ncct-ratio", "cta-ratio", "ncct-overlap", "ncct-asymmetry", "ncct-radiomics", "cta-radiomics", "dwi-threshold",
    "dwi-unet",
)  # fmt: skip
COMPARED = {
    "lesion-classic": (*_SYSTEMS, "dwi-dichotomy", "ctp-core"),
    "ctp-core": _SYSTEMS,
    "reader:A:1": ("ncct-overlap", "ncct-asymmetry", "cta-radiomics", "dwi-unet", "dwi-dichotomy"),
}


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
    console.print(f"aspects pdf {out} writes the report as a PDF of at most twelve pages.", highlight=False)
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
    without |= small_lesions(folder, minimum_ml=SCANNED_LESION_ML, n_patients=N_SCANNED, without=without)
    write_phantom_scans(folder, maps, without=without, n_patients=N_SCANNED)
    write_phantom_perfusion(folder, maps, without=without, n_patients=N_SCANNED)
    with (folder / "cohort.toml").open("a", encoding="utf-8") as study:
        study.write(_scan_sections())
    return faults


def _scan_sections() -> str:
    """The sources of scans and the questions about them, as ``cohort.toml`` has them."""
    sections = [
        "\n".join(
            [
                "",
                "[[source]]",
                f'name = "{name}"',
                f'kind = "{kind}"',
                *keys.splitlines(),
                f'description = "{about}"',
                "",
            ]
        )
        for name, kind, keys, about in SCAN_SOURCES
    ]
    sections += [
        f'\n[[agreement]]\nreference = "{reference}"\ncandidate = "{candidate}"\n'
        for reference, candidates in COMPARED.items()
        for candidate in candidates
    ]
    return "".join(sections)
