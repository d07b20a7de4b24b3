"""``ctp_core``: ground truth, the ischaemic core on a CT perfusion series.

It keeps the transforms, the maps with their sidecars, the masks and the panel of the patient's page; a refused series
keeps what was made until then. Sources that differ in what core is, not in how maps are made, share the maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes.util import find_library
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import Field

from cohorts.images.nifti import ImageProblemError
from cohorts.images.perfusion_sidecar import chosen_vessels, frame_times, read_sidecar
from cohorts.images.scan import ScanImage
from cohorts.store.findings import ScanFacts
from flows.cases.case import SIDECAR_OF, OpenCase, Outcome, excluded
from flows.cases.native_scan import PreparedScan, facts, prepared, registration_files, shared_quality
from flows.cases.perfusion_ct import SameSpace, same_space
from flows.cases.perfusion_maps import kept_maps, perfusion_of
from flows.cases.perfusion_series import series_found
from flows.sources.interface import Method
from flows.sources.perfusion_core import AlignedCt, CoreFindings, PerfusionCoreSource, PerfusionFound, core_outcome
from models.anatomy.register_template import template_target
from tasks.brain import ct_working_scan
from tasks.perfusion.bolus import MINIMUM_FRAMES
from tasks.perfusion.deconvolution import BlockCirculantSvd, OscillationIndexSvd, StandardSvd
from tasks.perfusion.denoising import Denoising
from tasks.perfusion.maps import PerfusionSettings
from tasks.perfusion.preparation import MINIMUM_BASELINE_FRAMES, baseline_mean
from tasks.perfusion.quality import series_quality
from tasks.perfusion.series import ManualInput, PerfusionSeries, SeriesSettings, measure_series
from tasks.registration.affine import register

DECONVOLUTIONS = {
    "oscillation_index": OscillationIndexSvd,
    "block_circulant": BlockCirculantSvd,
    "standard": StandardSvd,
}


class CtpCoreSource(PerfusionCoreSource):
    """Ground truth: the ischaemic core on a CT perfusion series (Cao et al. 2022, doi 10.1002/hbm.25845)."""

    about: ClassVar[str] = "the ischaemic core on a CT perfusion series; ground truth"

    kind: Literal["ctp_core"]
    modality: str = Field("ctp", description="Which rows of scans.tsv: the 4D series, frame times in its sidecar")
    threshold: Literal["nominal", "calibrated"] = Field(
        "nominal", description="relative_cbf on the maps as measured, or corrected for what deconvolution loses"
    )
    deconvolution: Literal["oscillation_index", "block_circulant", "standard"] = "oscillation_index"
    motion_correction: bool = True
    minimum_frames: int = Field(MINIMUM_FRAMES, ge=10, description="Usable frames; a series with fewer is refused")
    in_plane_sigma_mm: float | None = Field(
        None, ge=0, description="Smoothing within slices; none lets the noise choose, 0 leaves it out"
    )
    temporal_sigma_s: float = Field(0.0, ge=0, description="Smoothing over time; 0 leaves it out")
    haematocrit_large: float = Field(0.45, ge=0, lt=1, description="Of large vessels")
    haematocrit_small: float = Field(0.25, ge=0, lt=1, description="Of small vessels")
    density_g_ml: float = Field(1.04, gt=0, description="Of brain")
    ct: str = Field("ncct", description="Which rows hold a CT of the patient, onto which the core is drawn where given")

    @property
    def scans(self) -> tuple[str, ...]:
        """The series, then the patient's CT."""
        return (self.modality, self.ct)

    @property
    def is_calibrated(self) -> bool:
        """As declared."""
        return self.threshold == "calibrated"

    @property
    def making(self) -> SeriesSettings:
        """How the maps are made."""
        return SeriesSettings(
            corrects_motion=self.motion_correction,
            minimum_frames=self.minimum_frames,
            denoising=Denoising(self.in_plane_sigma_mm, self.temporal_sigma_s),
            perfusion=PerfusionSettings(
                method=DECONVOLUTIONS[self.deconvolution](),
                haematocrit_large=self.haematocrit_large,
                haematocrit_small=self.haematocrit_small,
                density_g_ml=self.density_g_ml,
            ),
        )

    @property
    def phrase(self) -> str:
        """What is taken for the core."""
        parts = [*self.criteria, f"{self.threshold} threshold, {self.deconvolution.replace('_', ' ')} deconvolution"]
        return f"the ischaemic core on the CT perfusion series {self.modality} ({', '.join(parts)})"

    def measure(self, case: OpenCase) -> Outcome:
        """Maps and core of one series."""
        key = self._key(case)
        made = case.shared.once(("series", *key), lambda: self._maps(case))
        found, scan = made.found, made.scan
        findings = CoreFindings(
            scans={case.first.modality: made.facts},
            perfusion=PerfusionFound(
                frame_times_from=made.frame_times_from, device=made.device, series=series_found(found)
            ),
        )
        if scan is None:
            return excluded(case.case, found.reason, found.detail, findings, {})
        figures = shared_quality(case, scan) | asdict(series_quality(found))
        findings = findings.adding(quality={case.first.modality: figures})
        files = dict(registration_files(case.case.prefix, scan))
        perfusion = perfusion_of(found, self.making.perfusion)
        if scan.registration.is_usable and (ct := self._ct(case)) is not None:
            aligned = case.shared.once(("aligned", *key, self.ct), lambda: _aligned(scan, ct, self.ct))
            perfusion = replace(perfusion, same_space=aligned)
            findings = findings.adding(
                scans={self.ct: facts(ct.image)},
                perfusion=findings.perfusion.model_copy(update={"ct": _alignment(aligned, ct)}),
            )
        files |= kept_maps(case.case.prefix, perfusion, scan.image.affine, self.settings)
        return core_outcome(self, case, scan, perfusion, findings, files)

    def _key(self, case: OpenCase) -> tuple[str, ...]:
        """What the maps of a series are made from and how."""
        sidecar = case.file(SIDECAR_OF.format(case.first.modality))
        return case.first.sha256, sidecar.sha256 if sidecar else "", self.forms, repr(self.making)

    def _maps(self, case: OpenCase) -> _Made:
        """Read the series and make its maps."""
        file = case.first
        sidecar = read_sidecar(case.content(SIDECAR_OF.format(file.modality)), file.name)
        stored = case.image(file, "ctp", self.forms)
        times, written_in = frame_times(sidecar, case.contents[file.modality], file.name)
        manual = _manual_input(sidecar, stored, times, file.name)
        image = _slices_along_z(stored)
        device = deconvolution_device()
        found = measure_series(image.values, image.affine, times, self.making, manual=manual, device=device)
        noted = facts(stored, (*stored.notes, *found.notes))
        scan = _registered(found, image.affine)
        if scan is not None:
            scan = replace(scan, key=self._key(case))
        return _Made(noted, found, scan, written_in, device or "cpu")

    def _ct(self, case: OpenCase) -> PreparedScan | None:
        """The patient's CT where there is one that can be read; its own source says what is wrong with it."""
        file = case.file(self.ct)
        try:
            return None if file is None else prepared(case, file, "ncct", self.forms)
        except ImageProblemError:
            return None


METHOD = Method(CtpCoreSource, cpu_limit_s=600, memory_mib=2500)


@dataclass(frozen=True, eq=False)
class _Made:
    """What sources with the same maps share: the series, its place in the template, and where its times come from."""

    facts: ScanFacts
    found: PerfusionSeries
    scan: PreparedScan | None
    frame_times_from: str | None
    device: str


@lru_cache(maxsize=1)
def deconvolution_device() -> str | None:
    """``cuda`` where a GPU's driver and torch are installed and work; None computes with numpy, to the same numbers."""
    if find_library("cuda") is None or find_spec("torch") is None:
        return None
    return "cuda" if import_module("torch").cuda.is_available() else None


def _aligned(scan: PreparedScan, ct: PreparedScan, space: str) -> SameSpace | None:
    """The CT in the space of the series; None where one of the two cannot be placed."""
    return same_space(scan, ct, space) if ct.registration.is_usable else None


def _alignment(aligned: SameSpace | None, ct: PreparedScan) -> AlignedCt:
    """How the alignment went."""
    if aligned is None:
        return AlignedCt(refused_as=ct.registration.reason or "skulls_do_not_fit")
    return AlignedCt(refused_as="", misfit=aligned.misfit, correction_mm=aligned.correction_mm)


def _manual_input(
    sidecar: Mapping[str, Any], image: ScanImage, times: Sequence[float] | None, name: str
) -> ManualInput | None:
    """Vessels that a reader chose, as curves; voxels are read on the frames as stored, over the first in time."""
    chosen = chosen_vessels(sidecar, image.values.shape, name)
    if "aif" not in chosen:
        return None
    first = np.argsort(times if times is not None else np.arange(image.values.shape[3]))[:MINIMUM_BASELINE_FRAMES]
    curves = {}
    for vessel, given in chosen.items():
        if given.voxels is not None:
            curve = image.values[tuple(given.voxels.T)].mean(axis=0, dtype=np.float64)
            curves[vessel] = curve - curve[first].mean()
        elif given.curve is not None:
            curves[vessel] = given.curve
    return ManualInput(curves["aif"], curves.get("vof"))


def _slices_along_z(image: ScanImage) -> ScanImage:
    """The image with its third axis nearest to the vertical; as it came where it is."""
    if int(np.abs(image.affine[2, :3]).argmax()) == 2:
        return image
    axes = nib.orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    values = nib.orientations.apply_orientation(image.values, axes)  # type: ignore[no-untyped-call]
    turn = nib.orientations.inv_ornt_aff(axes, image.values.shape[:3])  # type: ignore[no-untyped-call]
    return replace(image, values=np.asfortranarray(values), affine=image.affine @ turn)


def _registered(found: PerfusionSeries, affine: npt.NDArray[np.float64]) -> PreparedScan | None:
    """The series as a scan: its baseline, its brain, its place in the template; None where it did not come so far.

    Where no baseline was found the first frames stand for it, so that the page can show what was refused.
    """
    if found.series is None or found.brain is None or found.brain_mask is None:
        return None
    baseline = baseline_mean(found.series, MINIMUM_BASELINE_FRAMES) if found.baseline is None else found.baseline
    working = ct_working_scan(baseline, affine)
    registration = register(working, found.brain, template_target("ctp"))
    return PreparedScan("ctp", ScanImage(baseline, affine), working, found.brain, registration, native=found.brain_mask)
