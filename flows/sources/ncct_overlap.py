"""``ncct_overlap``: the infarct on CT without contrast agent by a network, laid over the regions.

The system of paper 2 (Deep-ASPECTS, Upadhyay et al.): a network draws the infarct, another the regions, and every
region that the infarct overlaps is affected. Here the regions are the registered template's, or with ``registration =
"network"`` those of ``region-net``. The weights that ship know synthetic patients alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field, field_validator

from cohorts.folder.source import Feature, Gives, ImageName, MapUse
from cohorts.store.findings import Findings, Found
from flows.cases.case import OpenCase, Outcome
from flows.cases.found_lesion import found_lesion
from flows.cases.native_scan import PreparedScan, begun, prepared, refused
from flows.sources.interface import Method
from flows.sources.network_lesion import NetworkLesionSource, lesion_at, probability_file, stored_steps
from models.inference import loaded, probabilities
from models.weights import find_weights
from tasks.arrays import Float32Array
from tasks.density.channels import N_NCCT_CHANNELS, ncct_channels
from tasks.overlay import OVERLAY_THRESHOLDS, overlay
from tasks.scoring import RegionEvidence
from tasks.segmentation import CLASSES, INFARCT
from tasks.space.network_grid import network_grid, to_network_grid, to_scan


class OverlaidRegion(Found):
    """One label's ``tasks.overlay.Overlaid``."""

    n_above: tuple[int, ...]
    mean_probability: float | None


class OverlapFindings(Findings):
    """The lesion as drawn; and what lies over every label of a map (its sha256), in the order of its table."""

    largest_probability: float | None = None
    overlaid: Mapping[str, tuple[OverlaidRegion, ...]] = {}


class NcctOverlapSource(NetworkLesionSource):
    """The infarct on CT without contrast agent by a network; regions that it overlaps are affected."""

    about: ClassVar[str] = "the infarct on plain CT by a trained network, laid over the regions"
    trained_for: ClassVar[str] = "ncct-overlap"
    findings: ClassVar[type[Findings]] = OverlapFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score", "lesion", "features"})

    kind: Literal["ncct_overlap"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    rule: str = Field("any", description="any, as Deep-ASPECTS; a share by wei, danet, or the name of a [[rule]]")
    network: str = Field("ncct-overlap", description="Name of the trained weights")
    threshold: float = Field(0.9, gt=0, lt=1, description="Least probability of a voxel of the lesion")
    overlay_threshold: float | None = Field(
        None, description="Least probability of a voxel that affects its region, .05 to .95 by .05; default threshold"
    )

    @field_validator("overlay_threshold")
    @classmethod
    def _is_counted(cls, value: float | None) -> float | None:
        if value is not None and round(value, 6) not in OVERLAY_THRESHOLDS:
            raise ValueError(f"overlay_threshold must be .05 to .95 in steps of .05, got {value:g}")
        return value if value is None else round(value, 6)

    @property
    def scans(self) -> tuple[str, ...]:
        """The CT."""
        return (self.modality,)

    @property
    def settings(self) -> dict[str, Any]:
        """The overlay is applied to stored counts: another threshold measures nothing again."""
        return {name: value for name, value in super().settings.items() if name != "overlay_threshold"}

    @property
    def stem(self) -> str:
        """The infarct on one modality."""
        return f"overlap-{self.modality}"

    @property
    def image_kind(self) -> ImageName:
        """CT without contrast agent."""
        return "ncct"

    @property
    def phrase(self) -> str:
        """What is taken for the infarct, and what the network learned from."""
        behind = f"{self.network}, {self.learned_from}"
        words = f"a network ({behind}) on {self.modality}, voxels of probability {self.threshold:g} "
        apart = self.overlay_threshold not in (None, self.threshold)
        return words + ("and more" + (f", over regions {self.overlay_threshold:g} and more" if apart else ""))

    def evidence(self, found: Findings, use: MapUse) -> Iterator[RegionEvidence]:
        """Share of every region that is infarct, at the threshold of the overlay."""
        if self.overlay_threshold is None:
            yield from super().evidence(found, use)
            return
        at = OVERLAY_THRESHOLDS.index(self.overlay_threshold)
        n_lesion = tuple(one.n_above[at] for one in cast(OverlapFindings, found).overlaid[use.sha256])
        counts = found.counts[use.sha256].model_copy(update={"n_lesion": n_lesion})
        yield from super().evidence(found.adding(counts={use.sha256: counts}), use)

    def features(self, found: OverlapFindings, use: MapUse) -> Iterator[Feature]:
        """The mean probability of every region."""
        for label, one in zip(use.table.labels, found.overlaid[use.sha256], strict=True):
            yield Feature(label.side, label.region, "mean_probability", one.mean_probability)

    def measure(self, case: OpenCase) -> Outcome:
        """The infarct on one CT, counted in every label map on the scan's own grid."""
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        findings, files = begun(case, scan, OverlapFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        probability = infarct_probability(scan, self.network, flip=self.flip)
        stored = stored_steps(probability)
        overlaid = {}
        for reference in case.maps:
            label_map, on_grid = scan.labels(reference)
            indices = [label.index for label in label_map.table.labels]
            overlaid[reference.sha256] = tuple(
                OverlaidRegion(n_above=one.n_above, mean_probability=one.mean_probability)
                for one in overlay(stored, on_grid.labels, indices)
            )
        findings = findings.adding(largest_probability=float(probability.max()), overlaid=overlaid)
        files |= probability_file(case, stored, scan.image.affine)
        return found_lesion(case, scan, lesion_at(stored, self.threshold), findings, files)


def infarct_probability(scan: PreparedScan, weights: str, *, flip: bool, folder: Path | None = None) -> Float32Array:
    """What the network says of a prepared scan, (X, Y, Z) float32 on its own grid, 0 outside of the brain.

    Parameters
    ----------
    scan : PreparedScan, registered
    weights : name of the trained weights
    flip : also ask about the mirror image
    folder : where the weights lie; default those of the project

    Raises
    ------
    WeightsMissingError
        They cannot be used.
    """
    affine = scan.image.affine
    found = find_weights(weights, folder)
    grid = network_grid(scan.brain_mask, affine)
    channels = ncct_channels(
        to_network_grid(scan.image.values, affine, grid),
        to_network_grid(scan.brain_mask.astype(np.float32), affine, grid) > 0.5,
        scan.registration.moving_to_fixed @ grid.affine,
    )
    network = loaded(found, found.preset, N_NCCT_CHANNELS, len(CLASSES))
    on_grid = probabilities(network, channels, flip=flip)[INFARCT]
    return np.asarray(to_scan(on_grid, grid, scan.shape, affine) * scan.brain_mask, np.float32)


METHOD = Method(NcctOverlapSource, cpu_limit_s=600.0, memory_mib=1500, wants_gpu=True)
