"""What both ways to an ischaemic core from CT perfusion share: what is declared, and the way from maps to the core.

That way: the affected side, the threshold, volumes, and the counts of every label map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from cohorts.folder.source import Feature, FormsName, Gives, LesionSource, MapUse
from cohorts.images.nifti import nifti_bytes
from cohorts.store.findings import Findings, Found
from flows.cases.case import OpenCase, Outcome, excluded
from flows.cases.native_scan import PreparedScan, native_counts
from flows.cases.perfusion_ct import same_space_files
from flows.cases.perfusion_maps import MAP_UNITS, Perfusion
from flows.cases.perfusion_panel import CoreFound, panel_files
from flows.cases.perfusion_series import SeriesFound
from flows.cases.region_files import region_files
from tasks.anatomy import other_side
from tasks.lesion import measure_lesion
from tasks.modality import ScanContrast
from tasks.perfusion.core import CoreSettings, PerfusionCore, find_core
from tasks.perfusion.core_threshold import CoreThreshold, calibrate_threshold, sample_tissue
from tasks.perfusion.maps import PerfusionMaps
from tasks.perfusion.normal_flow import SIDE_SIGN, CoreAnatomy, Reference, mirrored_indices


class CoreNumbers(Found):
    """Columns of ``lesions`` that only perfusion has."""

    hypoperfused_volume_ml: float | None
    mismatch_ratio: float | None
    reference_cbf_ml_100g_min: float | None


class Threshold(Found):
    """The share of normal flow that core has less of: as declared, and on the maps; see ``CoreThreshold``."""

    nominal: float
    on_maps: float
    normal_cbf: float | None = None
    normal_recovery: float | None = None
    border_recovery: float | None = None
    reason: str = ""


class AlignedCt(Found):
    """How the patient's CT was aligned with the series; why not, where it was not."""

    refused_as: str
    misfit: float | None = None
    correction_mm: float | None = None


class PerfusionFound(Found):
    """How the core was found: the maps' origin, the affected side, the threshold, and its numbers."""

    frame_times_from: str | None = None
    device: str | None = None
    series: SeriesFound | None = None
    ct: AlignedCt | None = None
    unit: str | None = None
    factor: float | None = None
    grey_median: float | None = None
    affected_side: str | None = None
    side_source: str | None = None
    other_side_hypoperfused_ml: float | None = None
    threshold: Threshold | None = None
    core: CoreNumbers | None = None


class CoreFindings(Findings):
    """The core as lesion, and how it was found."""

    perfusion: PerfusionFound = PerfusionFound()


class PerfusionCoreSource(LesionSource):
    """What both ways to an ischaemic core from CT perfusion declare; see ``tasks.perfusion.core.CoreSettings``."""

    findings: ClassVar[type[Findings]] = CoreFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score", "lesion", "features"})
    reads_sidecar: ClassVar[bool] = True
    lesion_file: ClassVar[str | None] = "label-core_mask.nii.gz"

    modality: str
    rule: str = Field("danet", description="any, wei, danet, or the name of a [[rule]]; danet: more than 10 % is core")
    reference: Reference = Field("contralateral_hemisphere", description="What normal flow is taken from")
    relative_cbf: float = Field(0.3, gt=0, lt=1, description="Core has less than this share of normal flow")
    core_tmax_s: float | None = Field(None, gt=0, description="Core has Tmax above this as well; none asks nothing")
    hypoperfusion_tmax_s: float = Field(6.0, gt=0, description="Hypoperfused tissue has Tmax above this")
    minimum_cluster_ml: float = Field(0.0, ge=0, description="Smaller pieces of core and hypoperfusion are dropped")
    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")

    @property
    def stem(self) -> str:
        """The core on one modality."""
        return f"core-{self.modality}"

    @property
    def gated_as(self) -> ScanContrast:
        """Which limits of quality figures hold for its scans."""
        return "ctp"

    @property
    def core_settings(self) -> CoreSettings:
        """What core is."""
        return CoreSettings(
            reference=self.reference,
            relative_cbf=self.relative_cbf,
            core_tmax_s=self.core_tmax_s,
            hypoperfusion_tmax_s=self.hypoperfusion_tmax_s,
            minimum_cluster_ml=self.minimum_cluster_ml,
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether the threshold on the maps is corrected for what deconvolution loses."""
        return False

    @property
    def criteria(self) -> list[str]:
        """What core is, in words."""
        parts = [f"CBF below {100 * self.relative_cbf:g} % of the {self.reference.replace('_', ' ')}"]
        if self.core_tmax_s is not None:
            parts.append(f"Tmax above {self.core_tmax_s:g} s")
        if self.minimum_cluster_ml:
            parts.append(f"pieces of at least {self.minimum_cluster_ml:g} ml")
        return parts

    def lesion_columns(self, found: CoreFindings) -> Mapping[str, float | None]:
        """Hypoperfusion, mismatch and normal flow."""
        return found.perfusion.core.model_dump() if found.perfusion.core is not None else {}

    def features(self, found: CoreFindings, use: MapUse) -> Iterator[Feature]:
        """Share of every region that is hypoperfused, where arrival was measured."""
        counts, core = found.counts[use.sha256], found.perfusion.core
        if counts.n_hypoperfused is None or core is None or core.hypoperfused_volume_ml is None:
            return
        rows = zip(use.table.labels, counts.n_region, counts.n_hypoperfused, strict=True)
        for label, n_region, n_late in rows:
            yield Feature(label.side, label.region, "hypoperfused_share", n_late / n_region if n_region else None)


def core_outcome(
    source: PerfusionCoreSource,
    case: OpenCase,
    scan: PreparedScan,
    perfusion: Perfusion,
    findings: CoreFindings,
    files: dict[str, bytes],
) -> Outcome:
    """Find the core and count it; a refused series or scan ends with its reason and its panel.

    Parameters
    ----------
    source : what is declared
    case : OpenCase
    scan : the image on the grid of the maps, registered
    perfusion : Perfusion
    findings, files : so far, to which those of the core are added
    """
    prefix = case.case.prefix
    series = perfusion.series
    stopped = [(series.reason, series.detail)] if series is not None else []
    stopped.append((scan.registration.reason, scan.registration.detail))
    reason, detail = next((one for one in stopped if one[0]), ("", ""))
    if reason:
        files |= panel_files(prefix, scan, case.maps, perfusion, None, (reason, detail))
        return excluded(case.case, reason, detail, findings, files)
    anatomy = _anatomy(source, case, scan, perfusion)
    found = _find(source, perfusion, anatomy)
    core = found.core
    about = findings.perfusion.model_copy(
        update={
            "affected_side": core.affected_side,
            "side_source": core.side_source,
            "other_side_hypoperfused_ml": core.other_side_hypoperfused_ml,
            "threshold": Threshold(**found.threshold),
        }
    )
    findings = findings.adding(perfusion=about)
    if core.reason:
        detail = "both sides must hold tissue to compare, got one side without any. Check the slab and the brain mask."
        files |= panel_files(prefix, scan, case.maps, perfusion, found, (core.reason, detail))
        return excluded(case.case, core.reason, detail, findings, files)
    files |= panel_files(prefix, scan, case.maps, perfusion, found, ("", ""))
    for name, mask in (("core", core.core), ("hypoperfused", core.hypoperfused)):
        files[f"{prefix}_label-{name}_mask.nii.gz"] = nifti_bytes(mask.astype(np.uint8), scan.image.affine)
    files |= region_files(prefix, scan, case.maps)
    if perfusion.same_space is not None:
        files |= same_space_files(prefix, perfusion.same_space, core.core, scan.image)
    return Outcome("ok", findings=_counted(findings, case, scan, perfusion, core), files=files)


def _counted(
    findings: CoreFindings, case: OpenCase, scan: PreparedScan, perfusion: Perfusion, core: PerfusionCore
) -> CoreFindings:
    """The findings with the numbers of the core and the counts of every label map."""
    has_tmax = "tmax" in perfusion.maps
    is_relative = perfusion.series is not None and bool(perfusion.series.relative_reason)
    numbers = CoreNumbers(
        hypoperfused_volume_ml=core.hypoperfused_ml if has_tmax else None,
        mismatch_ratio=core.mismatch_ratio if has_tmax else None,
        reference_cbf_ml_100g_min=None if is_relative else core.reference_cbf,
    )
    indices = np.flatnonzero(core.core.reshape(-1, order="F"))
    parts = {"n_lesion": core.core, "n_hypoperfused": core.hypoperfused & perfusion.tissue}
    return findings.adding(
        perfusion=findings.perfusion.model_copy(update={"core": numbers}),
        lesion=measure_lesion(indices, scan.shape, scan.image.affine, scan.registration.moving_to_fixed),
        counts=native_counts(scan, case.maps, parts, perfusion.tissue, perfusion.is_covered),
    )


def _anatomy(source: PerfusionCoreSource, case: OpenCase, scan: PreparedScan, perfusion: Perfusion) -> CoreAnatomy:
    """Sides by the template's mid-plane, and what the reference of normal flow needs besides."""
    affine = scan.image.affine
    to_template = scan.registration.moving_to_fixed @ affine
    i, j, k = np.ogrid[tuple(slice(size) for size in scan.shape)]
    x_mm = to_template[0, 0] * i + to_template[0, 1] * j + to_template[0, 2] * k + to_template[0, 3]
    label_map, on_grid = scan.labels(case.maps[0])
    is_mirrored = source.reference == "mirrored_voxel"
    return CoreAnatomy(
        tissue=perfusion.tissue & np.isfinite(perfusion.maps["cbf"]),
        hemisphere=np.sign(x_mm).astype(np.int8),
        voxel_ml=abs(float(np.linalg.det(affine[:3, :3]))) / 1000,
        labels=on_grid.labels,
        table=label_map.table,
        mirrored=mirrored_indices(scan.shape, affine, scan.registration.matrix) if is_mirrored else None,
    )


def _find(source: PerfusionCoreSource, perfusion: Perfusion, anatomy: CoreAnatomy) -> CoreFound:
    """The core by the nominal threshold, or by the one that the source calibrates for its maps."""
    cbf = perfusion.maps["cbf"]
    tmax = perfusion.maps.get("tmax", np.full_like(cbf, np.nan))
    wanted = source.core_settings
    core, nominal = find_core(cbf, tmax, anatomy, wanted), wanted.relative_cbf
    cut = calibrated_threshold(perfusion, anatomy, core, nominal) if source.is_calibrated else None
    if cut is None:
        return CoreFound(core, wanted, anatomy, {"nominal": nominal, "on_maps": nominal})
    wanted = replace(wanted, relative_cbf=cut.on_maps)
    core = find_core(cbf, tmax, anatomy, wanted, affected_side=core.affected_side)
    return CoreFound(core, wanted, anatomy, asdict(cut))


def calibrated_threshold(
    perfusion: Perfusion, anatomy: CoreAnatomy, core: PerfusionCore, nominal: float
) -> CoreThreshold | None:
    """The threshold corrected for what deconvolution loses; None without a series or an affected side."""
    series, side = perfusion.series, core.affected_side
    if side is None or series is None:
        return None
    if series.curves is None or series.arterial is None or series.frame_times_s is None or perfusion.settings is None:
        raise ValueError("series must have maps before its threshold is calibrated. Call measure_series.")
    normal, affected = ((anatomy.tissue & (anatomy.hemisphere == SIDE_SIGN[one])).T for one in (other_side(side), side))
    maps = PerfusionMaps(*(perfusion.maps[name].T for name in MAP_UNITS))
    sample = sample_tissue(maps, series.curves.T, normal, affected, nominal)
    aif, times = series.arterial.scaled_aif, series.frame_times_s
    return calibrate_threshold(aif, times, sample, perfusion.settings, nominal=nominal)
