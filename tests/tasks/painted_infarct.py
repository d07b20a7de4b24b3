"""Large infarcts painted into scans: where the truth of the pose is the registration of the same scan without them.

A lesion is grown in template space inside one hemisphere, first in the territory of the middle cerebral artery, then
beyond (malignant infarcts with the anterior or posterior territory), brought to the scan by its registration, and
painted with a soft border.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from models.anatomy.register_template import template_target
from models.anatomy.template import load_template, mca_territory
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.phantoms.lesion import grow_lesion, lesion_domain
from tasks.quality.gates import GATES, judge_quality
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_image

STEP = 4  # mm of the grid on which lesions grow
SEED_MM = (38.0, -4.0, 14.0)  # insula and corona radiata, the middle of the territory
ROOM = 1.25  # a front in a domain that it fills has no shape of its own
#: Signal of an infarct of the first two weeks over normal tissue on diffusion images of b = 1000 s/mm2.
DWI_FACTORS = (1.5, 2.2, 3.0)
#: By how much an infarct is darker on CT, HU: early, some hours, a day; a late one has fluid's density.
CT_LOWERING_HU = (3.0, 7.0, 12.0)
LATE_HU = 12.0


@lru_cache(maxsize=4)
def _domains(side):
    """Territory and hemisphere of one side on the growing grid."""
    template = load_template()
    pick = (slice(None, None, STEP),) * 3
    brain, territory = template.brain[pick], mca_territory()[0][pick]
    affine = template.affine @ np.diag([STEP, STEP, STEP, 1.0])
    world = np.moveaxis(np.indices(brain.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    above, middle = world[..., 2] > -30, np.abs(world[..., 0]) < 4
    territory = lesion_domain(territory, brain, affine, side=side, spared=middle)
    hemisphere = lesion_domain(above, brain, affine, side=side, spared=middle)
    return territory, hemisphere, affine


@lru_cache(maxsize=256)
def template_lesion(side, volume_ml, seed=0):
    """An infarct of a volume in template space, and its affine; its own to one seed."""
    territory, hemisphere, affine = _domains(side)
    voxel_ml = STEP**3 / 1000
    domain = territory if territory.sum() * voxel_ml > ROOM * volume_ml else hemisphere
    sign = -1 if side == "left" else 1
    at = np.linalg.inv(affine) @ [sign * SEED_MM[0], *SEED_MM[1:], 1]
    voxels = np.argwhere(domain)
    start = tuple(int(one) for one in voxels[np.linalg.norm(voxels - at[:3], axis=1).argmin()])
    rng = np.random.default_rng(seed)
    return grow_lesion(domain, seed=start, volume_ml=volume_ml, spacing_mm=(STEP,) * 3, rng=rng), affine


def lesion_share(shape, affine, pose, side, volume_ml, seed=0):
    """Share of each voxel of a scan that is infarct; ``volume_ml`` in the scan; ``pose`` template -> scan world."""
    ratio = abs(float(np.linalg.det(np.asarray(pose)[:3, :3])))
    mask, lesion_affine = template_lesion(side, round(volume_ml / ratio, 1), seed)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.5)
    return resample_image(soft, lesion_affine, Grid(shape, affine), np.linalg.inv(pose))


def paint_dwi(values, share, factor):
    """A diffusion image with the infarct brighter by a factor."""
    return (values * (1 + share * np.float32(factor - 1))).astype(np.float32)


def paint_ct(values, share, lowering_hu):
    """A CT with the infarct darker by so many HU, tissue only."""
    is_tissue = (values > 5) & (values < 80)
    return np.where(is_tissue, np.maximum(values - share * np.float32(lowering_hu), 0), values).astype(np.float32)


def paint_late_ct(values, share, level_hu=LATE_HU, seed=0):
    """A CT with an infarct of weeks ago: near fluid, with the noise of the scan."""
    is_tissue = (values > 0) & (values < 80)
    noise = np.random.default_rng(seed).normal(0, 3, values.shape)
    late = values * (1 - share) + share * (np.float32(level_hu) + noise)
    return np.where(is_tissue, np.maximum(late, 0), values).astype(np.float32)


def reason_of(registration, image):
    """Why a registration is refused, by itself or by the limits that hold where a study sets none; empty if it is not.

    ``image`` is the kind of scan as the gates have it: ``ct``, ``cta``, ``ctp`` or ``dwi``.
    """
    figures = {
        "tilt_deg": registration.tilt_deg,
        "template_coverage": registration.coverage,
        "scale_min": registration.scale_min,
        "scale_max": registration.scale_max,
        "registration_dice": registration.brain_dice,
        "tissue_correlation": registration.tissue_correlation,
    }
    findings = judge_quality(figures, GATES[image])
    return registration.reason or (findings[0].reason if findings else "")


def place(values, affine, modality):
    """Working scan, brain and registration of a scan, as in a run."""
    is_ct = modality in ("ct", "cta")
    scan = (ct_working_scan if is_ct else mr_working_scan)(values, affine)
    brain = (extract_ct_brain if is_ct else extract_mr_brain)(scan)
    return scan, brain, register(scan, brain, template_target(modality))
