"""What every step on a scan in native space begins with: reading, brain, registration, labels - and what it keeps.

A scan that is refused on the way keeps what was measured until then, so that its page can show why. Brain and
registration are made once for all measurements of one scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cohorts.folder.source import NETWORK_MAP, RegistrationName
from cohorts.images.grid import FormRule
from cohorts.images.scan import ScanImage
from cohorts.images.transforms import displacement_files, transform_files
from cohorts.store.findings import Figure, Findings, RegionCounts, ScanFacts
from flows.cases.case import CaseFile, MapReference, OpenCase, Outcome, excluded
from flows.cases.label_maps import VASCULAR_MAP, planned_map, region_counts
from models.anatomy.register_template import template_target
from models.anatomy.template import (
    GridLabels,
    LabelMap,
    coverage_on_grid,
    labels_on_grid,
    load_label_map,
    load_template,
)
from models.regions import network_regions, region_network
from reports.figures.rendering_picture import rendering_files, rendering_picture
from reports.figures.scan_picture import picture_files, scan_picture
from tasks.anatomy import TEMPLATE_SPACE
from tasks.arrays import Float32Array, IntegerArray, Mask
from tasks.brain import Brain, ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.lesion import LesionMeasures
from tasks.modality import ScanContrast
from tasks.quality.figures import measure_quality
from tasks.quality.guards import measure_guards
from tasks.quality.regions import Placing, fluid_shares, label_dices, looks_like_fluid
from tasks.registration.affine import Registration, register
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import Refinement, refine
from tasks.space.affines import voxel_volume_mm3
from tasks.space.resample import Grid, resample_labels
from tasks.space.working_grid import WorkingScan, to_native_grid
from tasks.views import key_slices
from tasks.views.rendering import rendering

CT_WINDOW_HU = (0.0, 80.0)  # Tao 2024, section 2.1: width 80, level 40


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan with its brain and its place in the template; ``registration`` says whether it can be used.

    ``refinement`` is there where it was asked for and found, folded or not.
    ``network_regions`` are those of the network's label map on the scan's own grid, where they were asked for.
    ``native`` is the brain on the scan's own grid where it is known better than from the working grid.
    ``key`` says of which file it is and how it was read and registered; empty where nothing is shared.
    """

    contrast: ScanContrast
    image: ScanImage
    working: WorkingScan
    brain: Brain
    registration: Registration
    refinement: Refinement | None = None
    native: Mask | None = None
    network_regions: npt.NDArray[np.int16] | None = None
    key: tuple[str, ...] = ()
    _labels: dict[MapReference, GridLabels] = field(default_factory=dict, init=False, repr=False)
    _placing: dict[MapReference, Placing] = field(default_factory=dict, init=False, repr=False)

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
            if self.network_regions is not None and self.is_by_network(reference):
                coverage = coverage_on_grid(label_map, self.shape, to_template)
                self._labels[reference] = GridLabels(self.network_regions, coverage)
            elif self.warp is None:
                self._labels[reference] = labels_on_grid(label_map, self.shape, to_template)
            else:
                labels = self.atlas(label_map, Grid(self.shape, self.image.affine))
                self._labels[reference] = GridLabels(labels, coverage_on_grid(label_map, self.shape, to_template))
        return label_map, self._labels[reference]

    def is_by_network(self, reference: MapReference) -> bool:
        """Whether the network drew the regions of this map."""
        return self.network_regions is not None and reference.location == NETWORK_MAP

    def atlas(self, label_map: LabelMap, grid: Grid) -> npt.NDArray[np.int16]:
        """A label map on any grid in the scan's world, as the registration places it."""
        if self.warp is None:
            return labels_on_grid(label_map, grid.shape, self.registration.moving_to_fixed @ grid.affine).labels
        return labels_to_scan(label_map.labels, label_map.affine, grid, self.warp)

    def working_labels(self, reference: MapReference) -> IntegerArray:
        """A label map's labels on the working grid, (X, Y, Z)."""
        x, y, z = self.working.values.shape
        grid = Grid((x, y, z), self.working.affine)
        return resample_labels(self.labels(reference)[1].labels, self.image.affine, grid, np.eye(4))

    def placing(self, reference: MapReference) -> Placing:
        """Whether the labels of a map lie where they should, found once per map."""
        if reference not in self._placing:
            self._placing[reference] = self._placed(reference)
        return self._placing[reference]

    def _placed(self, reference: MapReference) -> Placing:
        label_map, on_grid = self.labels(reference)
        indices = tuple(label.index for label in label_map.table.labels)
        fluid = looks_like_fluid(self.working.values, self.brain.mask, self.contrast)
        atlas_dice = None
        if self.is_by_network(reference):
            atlas = self.atlas(label_map, Grid(self.shape, self.image.affine))
            atlas_dice = label_dices(on_grid.labels, atlas, indices)
        return Placing(fluid_shares(self.working_labels(reference), fluid, indices), atlas_dice)


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
    registration : ``refined`` lets regions follow a displacement beneath the affine transform; ``network`` draws those
        of its own label map besides
    """
    key = (file.sha256, kind, forms)
    image = case.image(file, kind, forms)
    contrast: ScanContrast = "dwi" if kind == "dwi" else "cta" if kind == "cta" else "ct"
    affine = case.shared.once(
        ("prepared", *key, "affine"), lambda: replace(prepare(image, contrast), key=(*key, "affine"))
    )
    if registration == "affine":
        return affine
    scan = case.shared.once(("prepared", *key, "refined"), lambda: replace(refined(affine), key=(*key, "refined")))
    if registration == "refined":
        return scan
    return case.shared.once(("prepared", *key, "network"), lambda: replace(by_network(scan), key=(*key, "network")))


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


def by_network(scan: PreparedScan) -> PreparedScan:
    """The same scan whose regions of the network's label map are drawn by it and the atlas; others stay the atlas's."""
    if not scan.registration.is_usable:
        return scan
    label_map = load_label_map(NETWORK_MAP)
    regions = network_regions(
        region_network(),
        scan.image.values,
        scan.image.affine,
        scan.brain_mask,
        scan.registration.moving_to_fixed,
        scan.contrast,
        lambda grid: scan.atlas(label_map, grid),
    )
    return replace(scan, network_regions=regions)


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


def guard_figures(scan: PreparedScan) -> dict[str, Figure]:
    """Guards of a CT without contrast agent, by its affine transform; none of other scans."""
    if scan.contrast != "ct":
        return {}
    territories = load_label_map(VASCULAR_MAP)
    return asdict(measure_guards(scan.working, scan.brain, scan.registration, territories))


def shared_quality(case: OpenCase, scan: PreparedScan) -> dict[str, Figure]:
    """Quality figures with the case's first map and guards, once for all measurements that prepare the scan alike.

    Guards are the same for every way of registering beneath the affine transform.
    """
    reference = case.maps[0]
    if not scan.key:
        return quality_figures(scan, reference) | guard_figures(scan)
    *of_file, _ = scan.key
    quality = case.shared.once(("quality", *scan.key, reference), lambda: quality_figures(scan, reference))
    return quality | case.shared.once(("guards", *of_file), lambda: guard_figures(scan))


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
        counts[reference.sha256] = region_counts(label_map.table, own, found, coverage, scan.placing(reference))
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


def begun(
    case: OpenCase, scan: PreparedScan, kept: type[Findings], modality: str | None = None
) -> tuple[Findings, dict[str, bytes]]:
    """What every scan keeps, usable or not: its grid, its quality figures and its transform.

    ``modality`` is that of the scan; by default of the case's first file.
    """
    modality = modality or case.first.modality
    findings = kept(
        scans={modality: facts(scan.image, scan.notes)},
        quality={modality: shared_quality(case, scan)},
    )
    return findings, dict(registration_files(case.case.prefix, scan))


def refused(case: OpenCase, scan: PreparedScan, findings: Findings, files: dict[str, bytes]) -> Outcome:
    """A scan that the brain mask or the registration refuses, with a picture of what there is."""
    files |= drawn(case, scan)
    return excluded(case.case, scan.registration.reason, scan.registration.detail, findings, files)


def drawn(
    case: OpenCase, scan: PreparedScan, lesion: Mask | None = None, measures: LesionMeasures | None = None
) -> dict[str, bytes]:
    """The pictures for the patient's page: key slices with each label map, and the lesion in three dimensions.

    Parameters
    ----------
    case : OpenCase
    scan : PreparedScan, without regions where nothing was registered
    lesion : (X, Y, Z) bool array
    measures : of the lesion; without them, as of one that is none of the scan's, it is drawn on slices alone
    """
    window, unit = (None, "") if scan.contrast == "dwi" else (CT_WINDOW_HU, "HU")
    pictures = []
    for reference in case.maps:
        if reference.location != VASCULAR_MAP:
            table = planned_map(reference).table
            slices = key_slices.key_slices(shown(scan, reference, lesion), table, window)
            pictures.append(scan_picture(slices, table, unit, reference.sha256))
    files = picture_files(case.case.prefix, pictures)
    if lesion is not None and measures is not None:
        views = rendering(scan.brain_mask, lesion, scan.image.affine, measures.side)
        if views is not None:
            files |= rendering_files(case.case.prefix, rendering_picture(views, measures))
    return files


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
