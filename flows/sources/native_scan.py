"""What every step on a scan in native space begins with: reading, brain, registration, labels - and what it keeps.

A scan that is refused on the way keeps what was measured until then, so that its page can show why. Brain and
registration are made once for all measurements of one scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from cohorts.folder.source import RegistrationName
from cohorts.images.grid import FormRule
from cohorts.images.scan import ScanImage
from cohorts.images.transforms import displacement_files, transform_files
from cohorts.store.findings import Figure, Findings, RegionCounts, ScanFacts
from flows.sources.interface import CaseFile, MapReference, OpenCase, Outcome, excluded
from flows.sources.label_maps import VASCULAR_MAP, planned_map, region_counts
from models.anatomy.register_template import template_target
from models.anatomy.template import GridLabels, LabelMap, coverage_on_grid, labels_on_grid, load_template
from reports.figures.scan_picture import picture_files, scan_picture
from tasks.anatomy import TEMPLATE_SPACE
from tasks.arrays import Float32Array, Mask
from tasks.brain import Brain, ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.modality import ScanContrast
from tasks.quality.figures import measure_quality
from tasks.registration.affine import Registration, register
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import Refinement, refine
from tasks.space.affines import voxel_volume_mm3
from tasks.space.resample import Grid
from tasks.space.working_grid import WorkingScan, to_native_grid
from tasks.views import key_slices

CT_WINDOW_HU = (0.0, 80.0)  # Tao 2024, section 2.1: width 80, level 40


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan with its brain and its place in the template; ``registration`` says whether it can be used.

    ``refinement`` is there where it was asked for and found, folded or not.
    ``native`` is the brain on the scan's own grid where it is known better than from the working grid.
    """

    contrast: ScanContrast
    image: ScanImage
    working: WorkingScan
    brain: Brain
    registration: Registration
    refinement: Refinement | None = None
    native: Mask | None = None
    _labels: dict[MapReference, GridLabels] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.working.native_shape

    @property
    def brain_mask(self) -> Mask:
        """(X, Y, Z) bool array on the native grid."""
        return to_native_grid(self.brain.mask, self.working) if self.native is None else self.native

    @property
    def warp(self) -> Refinement | None:
        """The refinement, unless it folds: then the affine transform serves alone."""
        return None if self.refinement is None or self.refinement.reason else self.refinement

    @property
    def notes(self) -> tuple[str, ...]:
        """What was fixed or seen on the way, by its code."""
        refused = self.refinement.reason if self.refinement is not None else ""
        return (*self.image.notes, *((refused,) if refused else ()))

    def labels(self, reference: MapReference) -> tuple[LabelMap, GridLabels]:
        """A label map and its labels on the native grid, made once per map.

        Coverage is that of the affine transform: the refinement moves regions by millimetres.
        """
        label_map = planned_map(reference)
        if reference not in self._labels:
            to_template = self.registration.moving_to_fixed @ self.image.affine
            if self.warp is None:
                self._labels[reference] = labels_on_grid(label_map, self.shape, to_template)
            else:
                grid = Grid(self.shape, self.image.affine)
                labels = labels_to_scan(label_map.labels, label_map.affine, grid, self.warp)
                self._labels[reference] = GridLabels(labels, coverage_on_grid(label_map, self.shape, to_template))
        return label_map, self._labels[reference]


def prepared(
    case: OpenCase, file: CaseFile, kind: str, forms: FormRule, registration: RegistrationName = "affine"
) -> PreparedScan:
    """Read one file of a case, find its brain and register it; made once for all measurements of the participant.

    Parameters
    ----------
    case : OpenCase
    file : the scan
    kind : what it is: ``ncct``, ``cta`` or ``dwi``
    forms : what to do where qform and sform disagree
    registration : ``refined`` lets regions follow a displacement beneath the affine transform
    """
    key = ("prepared", file.sha256, kind, forms)
    image = case.image(file, kind, forms)
    contrast: ScanContrast = "dwi" if kind == "dwi" else "cta" if kind == "cta" else "ct"
    affine = case.shared.once((*key, "affine"), lambda: prepare(image, contrast))
    if registration == "affine":
        return affine
    return case.shared.once((*key, registration), lambda: refined(affine))


def prepare(image: ScanImage, contrast: ScanContrast) -> PreparedScan:
    """Find the brain and register it to the template by an affine transform.

    Parameters
    ----------
    image : ScanImage, three axes
    contrast : what the template is made to look like
    """
    is_mr = contrast == "dwi"
    working = (mr_working_scan if is_mr else ct_working_scan)(image.values, image.affine)
    brain = (extract_mr_brain if is_mr else extract_ct_brain)(working)
    return PreparedScan(contrast, image, working, brain, register(working, brain, template_target(contrast)))


def refined(scan: PreparedScan) -> PreparedScan:
    """The same scan whose regions follow a displacement beneath the affine transform, where one is found."""
    if not scan.registration.is_usable:
        return scan
    return replace(scan, refinement=refine(scan.working, scan.brain, template_target(scan.contrast), scan.registration))


def shown(
    scan: PreparedScan,
    reference: MapReference,
    lesion: Mask | None = None,
    values: Float32Array | None = None,
) -> key_slices.PreparedScan:
    """The scan as pictures are cut from it; without regions where nothing was registered.

    Parameters
    ----------
    scan : PreparedScan
    reference : label map to draw
    lesion : (X, Y, Z) bool array
    values : another image on the scan's grid to draw in its place
    """
    template = load_template()
    labels, matrix = np.zeros(scan.shape, np.int16), None
    if scan.registration.fixed_to_moving is not None:
        labels, matrix = scan.labels(reference)[1].labels, scan.registration.matrix
    drawn = scan.image.values if values is None else values
    reference_brain = (template.brain, template.affine)
    return key_slices.PreparedScan(drawn, scan.image.affine, scan.brain_mask, labels, matrix, lesion, reference_brain)


def quality_figures(scan: PreparedScan, reference: MapReference) -> dict[str, Figure]:
    """Quality figures of a scan; ``reference`` is the label map whose regions are to be in view."""
    quality = measure_quality(
        scan.contrast, scan.image, scan.working, scan.brain, scan.registration, planned_map(reference)
    )
    figures = asdict(quality)
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in figures.items()}


def native_counts(
    scan: PreparedScan,
    references: Sequence[MapReference],
    parts: Mapping[str, Mask],
    tissue: Mask | None = None,
    covered: Mask | None = None,
) -> dict[str, RegionCounts]:
    """Voxels of each label of each map on the scan's grid, and of masks in it, as a record stores them.

    Parameters
    ----------
    scan : PreparedScan, registered
    references : label maps
    parts : name of a count -> (X, Y, Z) bool array, such as ``n_lesion``
    tissue : (X, Y, Z) bool array, the voxels that count as a region's own; None counts all
    covered : (X, Y, Z) bool array, the voxels that the scan really shows; None has all of them
    """
    flat_parts = {name: part.reshape(-1, order="F") for name, part in parts.items()}
    counts = {}
    for reference in references:
        label_map, on_grid = scan.labels(reference)
        flat = on_grid.labels.reshape(-1, order="F")
        size = label_map.table.labels[-1].index + 1
        whole = np.bincount(flat, minlength=size)
        own = whole if tissue is None else np.bincount(flat[tissue.reshape(-1, order="F")], minlength=size)
        coverage = on_grid.coverage
        if covered is not None:
            seen = np.bincount(flat[covered.reshape(-1, order="F")], minlength=size) / np.maximum(1, whole)
            coverage = {index: share * float(seen[index]) for index, share in coverage.items()}
        found = {name: np.bincount(flat[part], minlength=size) for name, part in flat_parts.items()}
        counts[reference.sha256] = region_counts(label_map.table, own, found, coverage)
    return counts


def facts(image: ScanImage, notes: tuple[str, ...] | None = None) -> ScanFacts:
    """Grid and notes of a scan, as the ``scans`` table shows them; ``notes`` in place of the image's own."""
    return ScanFacts(
        shape=image.values.shape,
        spacing_mm=tuple(round(size, 6) for size in image.spacing_mm),
        orientation=image.orientation,
        voxel_volume_mm3=voxel_volume_mm3(image.affine),
        notes=image.notes if notes is None else notes,
        numbers={name: float(value) for name, value in image.numbers.items()},
    )


def begun(case: OpenCase, scan: PreparedScan, kept: type[Findings]) -> tuple[Findings, dict[str, bytes]]:
    """What every scan keeps, usable or not: its grid, its quality figures and its transform."""
    modality = case.first.modality
    findings = kept(
        scans={modality: facts(scan.image, scan.notes)},
        quality={modality: quality_figures(scan, case.maps[0])},
    )
    return findings, dict(registration_files(case.case.prefix, scan))


def refused(case: OpenCase, scan: PreparedScan, findings: Findings, files: dict[str, bytes]) -> Outcome:
    """A scan that the brain mask or the registration refuses, with a picture of what there is."""
    files |= drawn(case, scan)
    return excluded(case.case, scan.registration.reason, scan.registration.detail, findings, files)


def drawn(case: OpenCase, scan: PreparedScan, lesion: Mask | None = None) -> dict[str, bytes]:
    """The key slices for the patient's page with each label map; without regions where nothing was registered."""
    window, unit = (None, "") if scan.contrast == "dwi" else (CT_WINDOW_HU, "HU")
    pictures = []
    for reference in case.maps:
        if reference.location != VASCULAR_MAP:
            table = planned_map(reference).table
            slices = key_slices.key_slices(shown(scan, reference, lesion), table, window)
            pictures.append(scan_picture(slices, table, unit, reference.sha256))
    return picture_files(case.case.prefix, pictures)


def registration_files(prefix: str, scan: PreparedScan) -> Mapping[str, bytes]:
    """The transform as ITK and BIDS files, with its figures of merit; none where nothing was registered."""
    registration = scan.registration
    if registration.fixed_to_moving is None:
        return {}
    merits = {
        "Profile": registration.profile,
        "BrainDice": registration.brain_dice,
        "TissueCorrelation": registration.tissue_correlation,
        "Refused": registration.reason or None,
    }
    files = transform_files(prefix, TEMPLATE_SPACE, registration.matrix, merits)
    if (warp := scan.warp) is not None:
        measures = {
            "MeanDisplacement": warp.mean_mm,
            "LargestDisplacement": warp.largest_mm,
            "SmallestVolumeRatio": warp.smallest_volume_ratio,
        }
        files |= displacement_files(prefix, TEMPLATE_SPACE, (warp.displacement, warp.inverse), warp.affine, measures)
    return files
