"""Every kind of source, one line each; nothing else names a kind."""

from __future__ import annotations

from pathlib import Path

from cohorts.folder import manifest
from cohorts.folder.study import study_model
from flows.sources import (
    cbf_map,
    command,
    ctp_core,
    density_ratio,
    dwi_dichotomy,
    dwi_threshold,
    dwi_unet,
    mask,
    native_mask,
    ncct_asymmetry,
    ncct_overlap,
    radiomics,
    region_classifier,
    results,
)
from flows.sources.interface import Method

METHODS: dict[str, Method] = {
    method.kind: method
    for method in (
        mask.METHOD,
        native_mask.METHOD,
        density_ratio.METHOD,
        dwi_threshold.METHOD,
        dwi_unet.METHOD,
        dwi_dichotomy.METHOD,
        ctp_core.METHOD,
        cbf_map.METHOD,
        ncct_overlap.METHOD,
        ncct_asymmetry.METHOD,
        radiomics.METHOD,
        region_classifier.NCCT,
        region_classifier.CTA,
        results.METHOD,
        command.METHOD,
    )
}
#: A study whose sources may be of these kinds.
STUDY = study_model(tuple(method.source for method in METHODS.values()))


def read_cohort(folder: Path | str) -> manifest.Cohort:
    """Read and check a cohort folder whose sources may be of these kinds; see ``cohorts.folder.manifest``."""
    return manifest.read_cohort(folder, STUDY)
