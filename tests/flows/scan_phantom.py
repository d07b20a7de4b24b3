"""A small phantom patient with an infarct of the right hemisphere: CT and diffusion scans in a known pose."""

from __future__ import annotations

import hashlib

import numpy as np

from cohorts.phantom.native_scans import ADC_STORED, scan_bytes
from flows.cases.case import Case, CaseFile, MapReference, StepSettings
from flows.sources.density_ratio import DensityRatioSource
from flows.sources.dwi_threshold import DwiThresholdSource
from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_label_map
from tasks.phantoms.head import Acquisition, head_pose, scan_grid
from tasks.phantoms.scans import Infarct, simulate_cta, simulate_diffusion, simulate_ncct
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import head

SPACING_MM = (1.8, 1.8, 5.0)
CT_SHAPE, MR_SHAPE = (112, 128, 34), (120, 132, 32)
REGIONS = ("insula", "lentiform", "m2", "m5")
LOWERING_HU = 6.0  # an infarct of seven hours (tasks.phantoms.scans.LOWERING_HU_PER_H)
#: Deep restriction: what is tested is the way from file to record, not how faint a lesion is found.
ADC_RATIO = 0.6
POSE = head_pose((5, -4, 6), (8, -150, 320))
CLASSIC = MapReference("classic", load_label_map("classic").sha256)
TERRITORY = MapReference("territory", load_label_map("territory").sha256)
VASCULAR = MapReference("vascular", load_label_map("vascular").sha256)


def _head():
    return head(60)


@once_per_run
def infarct():
    """Whole regions of the right hemisphere."""
    label_map = load_label_map("classic")
    labels = [one.index for one in label_map.table.labels if one.side == "right" and one.region in REGIONS]
    return Infarct(np.isin(label_map.labels, labels), np.asarray(label_map.affine), LOWERING_HU, ADC_RATIO)


def infarct_ml():
    """Its grey and white matter in the scanner, where fluid shows no lesion: voxels of 1 mm3, scaled by the pose."""
    maps = template_tissues()
    return float((maps.grey + maps.white)[infarct().mask].sum() * np.linalg.det(POSE[:3, :3]) / 1000)


@once_per_run
def ct():
    """HU and affine."""
    acquisition = Acquisition(scan_grid(POSE, CT_SHAPE, SPACING_MM), POSE, 11)
    return simulate_ncct(_head(), acquisition, infarct(), noise_hu=3.0), acquisition.grid.affine


@once_per_run
def cta():
    """HU and affine, of the same infarct."""
    acquisition = Acquisition(scan_grid(POSE, CT_SHAPE, SPACING_MM), POSE, 13)
    return simulate_cta(_head(), acquisition, infarct(), noise_hu=5.0), acquisition.grid.affine


@once_per_run
def diffusion():
    """The series and its affine."""
    acquisition = Acquisition(scan_grid(POSE, MR_SHAPE, SPACING_MM), POSE, 12)
    return simulate_diffusion(_head(), acquisition, infarct()), acquisition.grid.affine


def ct_case(folder, values=None):
    """A case of one CT: the phantom's, or other values on its grid."""
    hu, affine = ct()
    return case(folder, {"ncct": scan_bytes(hu if values is None else values, affine)}, "ratio-ncct")


def dwi_case(folder, second):
    """A case of the image of b = 1000 with its ``adc`` or ``dwi-b0``."""
    series, affine = diffusion()
    other = series.adc * ADC_STORED if second == "adc" else series.b0
    files = {"dwi": scan_bytes(series.b1000, affine), second: scan_bytes(other, affine)}
    return case(folder, files, "threshold-dwi")


def case(folder, contents, step):
    """Files written and named as a case; the first modality is the one that must be there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for modality, content in contents.items():
        path = folder / f"sub-1_{modality}.nii.gz"
        path.write_bytes(content)
        files.append(CaseFile(modality, str(path), hashlib.sha256(content).hexdigest()))
    return Case("sub-1", step, tuple(files))


def ratio_settings(**changes):
    """Settings of ``density_ratio`` as a plan makes them."""
    source = DensityRatioSource(name="ratio", kind="density_ratio", **changes)
    return StepSettings(source.kind, (CLASSIC,), source.settings)


def threshold_settings(**changes):
    """Settings of ``dwi_threshold`` as a plan makes them."""
    source = DwiThresholdSource(name="threshold", kind="dwi_threshold", **changes)
    return StepSettings(source.kind, (CLASSIC, TERRITORY, VASCULAR), source.settings)
