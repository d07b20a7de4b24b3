"""Whether a head CT shows contrast agent: bright vessels inside the skull, away from bone, weighed with what is said.

The voxels are measured, the description is written by people for this series, the contrast attribute is often filled by
the protocol for every series of the examination, and the protocol's name is that of the whole. Where they contradict
each other, the scan is in doubt, and the contradiction is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cohorts.dicom.vocabulary import Told
from tasks.arrays import Float32Array, Mask
from tasks.gaussian import MAD_TO_SIGMA

#: Enhanced arteries and sinuses; calcifications of the plexus lie there too, but are small. HU.
VESSEL_HU = (120.0, 500.0)
#: Bone. HU.
VOXEL_BONE_HU = 300.0
SOFT_TISSUE_HU = (0.0, 90.0)
#: Partial volume of bone reaches this far.
BONE_MARGIN_MM = 6.0
#: Slices with less tissue than this share of the fullest one show the base or the vertex, where bone is in every voxel.
FULL_SLICE_SHARE = 0.5
#: Share of the voxels inside the skull that must be bright. Four plain scans measured 0.0000 to 0.0006 (calcified
#: plexus and
#: pineal body included); the vessels of a head hold some tens of millilitres of 1,400, a share ten times this one.
MINIMUM_VESSEL_SHARE = 0.0025
#: With less of the skull's inside in the scan nothing is said, ml.
MINIMUM_INSIDE_ML = 50.0
#: Working grid: vessels of interest are wider.
GRID_MM = 1.5
#: Scatter of brain tissue on the working grid above which noise alone makes voxels as bright as vessels (they lie 4 of
#: these above tissue). Not even a sharp kernel, averaged to the grid, reaches it with a usual dose.
MOST_NOISE_HU = 20.0


@dataclass(frozen=True)
class ContrastEvidence:
    """What the attributes of a CT series say: its description, its protocol's name, and the contrast attribute."""

    description: Told | None = None
    protocol: Told | None = None
    agent: bool | None = None

    @property
    def is_silent(self) -> bool:
        """Whether nothing is said of this series itself."""
        return self.description is None and self.agent is None and self.protocol is None

    def weighed(self, is_seen: bool | None) -> tuple[str, tuple[str, ...], str]:
        """Kind of the series.

        Parameters
        ----------
        is_seen : contrast agent as measured; None where it could not be

        Returns
        -------
        ``ncct`` or ``cta``; the contradictions, empty where there is no doubt; and what decided.

        Examples
        --------
        >>> ContrastEvidence("native", agent=True).weighed(False)
        ('ncct', (), 'SeriesDescription and voxels, against ContrastBolusAgent')
        >>> ContrastEvidence("native").weighed(True)
        ('ncct', ('contrast_evidence_disagrees',), 'SeriesDescription against voxels')
        """
        if self.description is not None:
            has_agent = self.description != "native"
            kind = "cta" if has_agent else "ncct"
            if is_seen is not None:
                agrees = is_seen == has_agent
                place = "SeriesDescription and voxels" if agrees else "SeriesDescription against voxels"
                against = ", against ContrastBolusAgent" if self.agent not in (None, has_agent) else ""
                return kind, _doubt(not agrees), place + against
            return kind, _doubt(self.agent is not None and self.agent != has_agent), "SeriesDescription"
        if is_seen is not None:
            said = self.agent if self.agent is not None else is_seen
            return ("cta" if is_seen else "ncct"), _doubt(said != is_seen), "voxels"
        kind = "cta" if self.agent or (self.agent is None and self.protocol not in (None, "native")) else "ncct"
        place = "ContrastBolusAgent" if self.agent is not None else "ProtocolName" if self.protocol else "Modality"
        return kind, ("contrast_not_measured",), place


def _doubt(is_contradicted: bool) -> tuple[str, ...]:
    """The name of the contradiction."""
    return ("contrast_evidence_disagrees",) if is_contradicted else ()


@dataclass(frozen=True)
class HeadVoxels:
    """What the inside of the skull shows: share of bright vessels, 0 to 1, None where noise hides it; noise, HU."""

    vessel_share: float | None
    noise_hu: float

    @property
    def is_noisy(self) -> bool:
        """Whether noise alone makes voxels as bright as vessels, as a kernel for bone does."""
        return self.noise_hu > MOST_NOISE_HU

    @property
    def numbers(self) -> dict[str, float]:
        """As the report gives them."""
        return {"noise_hu": self.noise_hu} if self.vessel_share is None else {"vessel_share": self.vessel_share}


def head_voxels(values: Float32Array, spacing_mm: tuple[float, float, float]) -> HeadVoxels | None:
    """Measure the bright voxels inside the skull, and the noise.

    Parameters
    ----------
    values : (X, Y, Z) float32 array, HU, Z from foot to head
    spacing_mm : voxel size along X, Y, Z

    Returns
    -------
    None where too little of the inside of a skull can be found.
    """
    steps = [max(round(GRID_MM / size), 1) for size in spacing_mm[:2]]
    image = _averaged(values, steps)
    sizes = (spacing_mm[0] * steps[0], spacing_mm[1] * steps[1])
    is_bone = image > VOXEL_BONE_HU
    margin = _disk(BONE_MARGIN_MM, sizes)
    near = ndimage.binary_dilation(is_bone, margin)
    filled = np.stack([ndimage.binary_fill_holes(near[..., place]) for place in range(image.shape[2])], axis=-1)
    is_inside = filled & ~ndimage.binary_dilation(near, np.ones((1, 1, 3)))
    area = (is_inside & (image > SOFT_TISSUE_HU[0]) & (image < VESSEL_HU[1])).sum(axis=(0, 1))
    is_inside &= area >= FULL_SLICE_SHARE * area.max()
    is_vessel = is_inside & (image > VESSEL_HU[0]) & (image < VESSEL_HU[1])
    n_soft = int((is_inside & (image > SOFT_TISSUE_HU[0]) & (image < SOFT_TISSUE_HU[1])).sum()) + int(is_vessel.sum())
    if n_soft * sizes[0] * sizes[1] * spacing_mm[2] / 1000 < MINIMUM_INSIDE_ML:
        return None
    noise_hu = _noise_hu(image, is_inside)
    return HeadVoxels(None if noise_hu > MOST_NOISE_HU else float(is_vessel.sum()) / n_soft, noise_hu)


def _averaged(values: Float32Array, steps: list[int]) -> Float32Array:
    """Means of blocks in the plane, so that noise of single voxels is no vessel."""
    rows, columns = (size - size % step for size, step in zip(values.shape[:2], steps, strict=True))
    blocks = values[:rows, :columns].reshape(rows // steps[0], steps[0], columns // steps[1], steps[1], -1)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _noise_hu(image: Float32Array, is_inside: Mask) -> float:
    """Scatter of neighbouring voxels, from the median so that anatomy counts little."""
    both = is_inside[1:] & is_inside[:-1]
    steps = np.abs(image[1:] - image[:-1])[both]
    return float(np.median(steps)) * MAD_TO_SIGMA / np.sqrt(2.0) if steps.size else 0.0


def _disk(radius_mm: float, sizes_mm: tuple[float, float]) -> Mask:
    """Disk in the plane, for morphology."""
    x, y = (np.arange(-round(radius_mm / size), round(radius_mm / size) + 1) * size for size in sizes_mm)
    return np.asarray(np.hypot(x[:, None], y[None, :]) <= radius_mm + min(sizes_mm) / 2)[:, :, None]


def has_contrast(share: float | None) -> bool | None:
    """Whether the share says contrast agent; None where it is not known."""
    return None if share is None else share >= MINIMUM_VESSEL_SHARE
