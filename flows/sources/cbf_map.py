"""``cbf_map``: ground truth, the ischaemic core on a workstation's CBF map, registered by a CT in the same space."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.images.perfusion_sidecar import map_unit, read_sidecar
from cohorts.images.scan import ScanImage
from flows.cases.case import SIDECAR_OF, CaseFile, OpenCase, Outcome, excluded
from flows.cases.native_scan import PreparedScan, facts, prepared, registration_files, shared_quality
from flows.cases.perfusion_maps import Perfusion, kept_maps
from flows.sources.interface import Method
from flows.sources.perfusion_core import CoreFindings, PerfusionCoreSource, PerfusionFound, core_outcome
from tasks.brain import ct_working_scan
from tasks.perfusion.masks import ctp_masks
from tasks.perfusion.vendor_maps import convert_cbf
from tasks.space.resample import Grid, resample_image, resample_labels

#: Share of a map's measured voxels that must lie in the brain of the CT it is registered by. Workstations mask maps to
#: the brain, of which slices and smoothing leave some at the edge; chosen here.
LEAST_SHARE_OF_MAP_IN_BRAIN = 0.8
SAME_SPACE = np.eye(4)


class CbfMapSource(PerfusionCoreSource):
    """Ground truth: the ischaemic core on a workstation's CBF map, with a CT in the same space as the map."""

    about: ClassVar[str] = "the ischaemic core on a workstation's CBF map; ground truth"

    kind: Literal["cbf_map"]
    modality: str = Field("cbf", description="Which rows of scans.tsv hold the CBF map; its unit in the sidecar")
    tmax: str = Field("tmax", description="Which rows hold Tmax in seconds, where there is one")
    ct: str = Field("ncct", description="Which rows hold a CT in the map's own space, by which it is registered")
    zero_means: Literal["no_measurement", "no_flow"] = Field(
        "no_measurement", description="Whether a voxel of exactly zero was blanked by the workstation or has no flow"
    )

    @property
    def scans(self) -> tuple[str, ...]:
        """The map, then its CT and Tmax."""
        return (self.modality, self.ct, self.tmax)

    @property
    def phrase(self) -> str:
        """What is taken for the core."""
        return f"the ischaemic core on a workstation's CBF map {self.modality} ({', '.join(self.criteria)})"

    def measure(self, case: OpenCase) -> Outcome:
        """Core on one CBF map."""
        file, ct_file = case.first, case.file(self.ct)
        cbf = case.image(file, "cbf", self.forms)
        unit = map_unit(read_sidecar(case.content(SIDECAR_OF.format(file.modality)), file.name))
        findings = CoreFindings(scans={file.modality: facts(cbf)}, perfusion=PerfusionFound(unit=unit))
        if ct_file is None:
            detail = (
                f"map must have a CT in its own space, got none of modality {self.ct!r}. List the workstation's "
                "average or baseline CT in scans.tsv, or name its modality as ct in the source."
            )
            return excluded(case.case, "ct_missing", detail, findings, {})
        ct = prepared(case, ct_file, "ncct", self.forms)
        findings = findings.adding(
            scans={ct_file.modality: facts(ct.image)},
            quality={ct_file.modality: shared_quality(case, ct)},
        )
        files = dict(registration_files(case.case.prefix, ct))
        if ct.registration.reason:
            return excluded(case.case, ct.registration.reason, ct.registration.detail, findings, files)
        return self._on_the_map(case, cbf, unit, ct, findings, files)

    def _on_the_map(
        self,
        case: OpenCase,
        cbf: ScanImage,
        unit: str | None,
        ct: PreparedScan,
        findings: CoreFindings,
        files: dict[str, bytes],
    ) -> Outcome:
        """Core on a map whose CT is registered."""
        x, y, z = cbf.values.shape
        grid = Grid((x, y, z), cbf.affine)
        brain = resample_labels(ct.brain_mask, ct.image.affine, grid, SAME_SPACE)
        converted = convert_cbf(cbf.values, unit, brain=brain, zero_means=self.zero_means)
        about = {"factor": converted.factor, "grey_median": converted.grey_median}
        findings = findings.adding(perfusion=findings.perfusion.model_copy(update=about))
        if converted.cbf is None or converted.reason:
            return excluded(case.case, converted.reason, converted.detail, findings, files)
        share = float(brain[np.isfinite(converted.cbf) & (converted.cbf > 0)].mean())
        if share < LEAST_SHARE_OF_MAP_IN_BRAIN:
            detail = (
                f"map must lie in the brain of the CT, got {share:.0%} of its measured voxels. They are in different "
                "spaces: give the CT that the workstation exported with the map."
            )
            return excluded(case.case, "map_outside_ct", detail, findings, files)
        maps = {"cbf": converted.cbf}
        tmax_file: CaseFile | None = case.file(self.tmax)
        if tmax_file is not None:
            tmax = case.image(tmax_file, "tmax", self.forms)
            findings = findings.adding(scans={tmax_file.modality: facts(tmax)})
            maps["tmax"] = resample_image(tmax.values, tmax.affine, grid, SAME_SPACE, outside=float("nan"))
        elif self.core_tmax_s is not None:
            detail = f"core_tmax_s needs a Tmax map, got none of modality {self.tmax!r}. Add it, or leave it out."
            return excluded(case.case, "tmax_missing", detail, findings, files)
        on_map = resample_image(ct.image.values, ct.image.affine, grid, SAME_SPACE, outside=-1000.0)
        scan = replace(
            ct,
            contrast="ctp",
            image=ScanImage(on_map, cbf.affine, cbf.notes, cbf.numbers),
            working=ct_working_scan(on_map, cbf.affine),
            native=brain,
        )
        nothing = np.zeros(on_map.shape, dtype=np.float32)
        masks = ctp_masks(on_map, nothing, brain, cbf.spacing_mm, blood_area_hu_s=np.inf)
        perfusion = Perfusion(maps, masks.tissue, np.ones(on_map.shape, dtype=bool))
        files |= kept_maps(case.case.prefix, perfusion, cbf.affine, {"UnitOfTheMap": unit, **self.settings})
        return core_outcome(self, case, scan, perfusion, findings, files)


METHOD = Method(CbfMapSource, memory_mib=900)
