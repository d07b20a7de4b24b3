"""Bad images as files, each with the outcome that it must have: made from one good phantom head.

``write_bad_images`` writes them, two good ones among them as a control; ``outcome`` takes one through the library as a
run does: read, working grid, brain, registration, quality gates. What cannot be seen is listed as well, with the
outcome ``ok``: a CT whose affine is mirrored as a whole looks like another head, and nothing in the image can tell.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from cohorts.images.mask import ImageProblemError
from cohorts.images.scan import read_scan
from models.anatomy.register_template import template_target, template_tissues
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.modality import CT_MODALITIES
from tasks.phantoms.head import Acquisition, build_head, head_pose, scan_grid
from tasks.phantoms.scans import simulate_cta, simulate_diffusion, simulate_ncct
from tasks.quality.figures import measure_quality
from tasks.quality.gates import GATES, judge_quality
from tasks.registration.affine import register
from tasks.space.affines import MIRROR
from tasks.space.resample import resample_labels
from tests.once_per_run import once_per_run

OK, EXCLUDED = "ok", "excluded"
CT_SHAPE, MR_SHAPE, SPACING_MM = (120, 132, 34), (120, 132, 32), (1.8, 1.8, 5.0)
#: Byte offsets of NIfTI-1 header fields (nifti1.h).
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SCL_SLOPE, XYZT_UNITS, MAGIC = 40, 70, 76, 108, 112, 123, 344


@dataclass(frozen=True)
class BadImage:
    """One image and what must become of it.

    Attributes
    ----------
    name : short name, unique
    path : the file
    modality : as declared in scans.tsv
    expected_status : ``ok`` or ``excluded``
    expected_reason : reason code, empty where the image is used
    expected_notes : notes of the reader where the image is used
    refused_when_listed : reason under which the cohort's list of scans refuses the file before it is opened, or empty
    """

    name: str
    path: Path
    modality: str
    expected_status: str
    expected_reason: str
    expected_notes: tuple[str, ...] = ()
    refused_when_listed: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of an image: status, reason, the message and the reader's notes."""

    status: str
    reason: str
    message: str
    notes: tuple[str, ...] = ()


def outcome(path: Path, modality: str) -> Outcome:
    """Take one image through reading, brain extraction, registration and the quality gates."""
    try:
        scan = read_scan(path.read_bytes(), path.name, modality)
    except ImageProblemError as error:
        return Outcome(EXCLUDED, error.reason, str(error))
    is_ct = modality in CT_MODALITIES
    working = (ct_working_scan if is_ct else mr_working_scan)(np.asarray(scan.values), scan.affine)
    brain = (extract_ct_brain if is_ct else extract_mr_brain)(working)
    result = register(working, brain, template_target("ct" if is_ct else "dwi"))
    if result.reason:
        return Outcome(EXCLUDED, result.reason, f"{path.name}: {result.detail}", scan.notes)
    gated = "ct" if modality == "ncct" else modality
    figures = asdict(measure_quality(gated, scan, working, brain, result, load_label_map("classic")))
    findings = judge_quality(figures, GATES[gated])
    if findings:
        return Outcome(
            EXCLUDED, findings[0].reason, f"{path.name}: {' '.join(one.detail for one in findings)}", scan.notes
        )
    return Outcome(OK, "", "", scan.notes)


@dataclass(frozen=True)
class Good:
    """The good images that are spoilt: CT in HU, CT angiography, b = 1000 and brain mask, with their affines."""

    hu: Any
    cta: Any
    affine: Any
    dwi: Any
    dwi_affine: Any
    brain: Any
    lesion: Any
    neck: Any
    small: Any


@once_per_run
def good_images() -> Good:
    """One head, made once."""
    head = build_head(template_tissues(), neck_mm=120)
    pose = head_pose((6, -4, 5), (4, -150, 300))
    ct = Acquisition(scan_grid(pose, CT_SHAPE, SPACING_MM), pose, 1)
    mr = Acquisition(scan_grid(pose, MR_SHAPE, SPACING_MM), pose, 2)
    to_template = np.linalg.inv(pose)
    brain = resample_labels(head.brain, head.affine, ct.grid, to_template)
    lesion = np.zeros_like(brain)
    lesion[70:82, 60:76, 17:20] = True
    low = Acquisition(scan_grid(pose, CT_SHAPE, SPACING_MM, above_mm=-160), pose, 3)
    small_pose = head_pose((6, -4, 5), (4, -150, 300), scale=0.4)
    small = Acquisition(scan_grid(small_pose, CT_SHAPE, (0.9, 0.9, 2.5)), small_pose, 4)
    return Good(
        hu=simulate_ncct(head, ct),
        cta=simulate_cta(head, ct),
        affine=ct.grid.affine,
        dwi=simulate_diffusion(head, mr).b1000,
        dwi_affine=mr.grid.affine,
        brain=brain,
        lesion=lesion & brain,
        neck=(simulate_ncct(head, low), low.grid.affine),
        small=(simulate_ncct(head, small), small.grid.affine),
    )


def write_bad_images(folder: Path) -> list[BadImage]:
    """Write every kind into a folder, made where it is absent; a second or two."""
    folder.mkdir(parents=True, exist_ok=True)
    good = good_images()
    images = []
    for name, kind in KINDS.items():
        path = folder / f"{name}{kind.suffix}"
        raw = kind.build(good)
        path.write_bytes(raw if kind.is_final or kind.suffix == ".nii" else _gz(raw))
        status = EXCLUDED if kind.reason else OK
        images.append(BadImage(name, path, kind.modality, status, kind.reason, kind.notes, kind.refused_when_listed))
    return images


@dataclass(frozen=True)
class _Kind:
    """How a kind is made and what is expected; ``is_final`` bytes are written as they are, whatever the suffix."""

    build: Callable[[Good], bytes]
    reason: str = ""
    modality: str = "ncct"
    suffix: str = ".nii.gz"
    notes: tuple[str, ...] = ()
    is_final: bool = False
    refused_when_listed: str = ""


def _nifti(values: Any, affine: Any, kind: Any = np.int16, **forms: Any) -> bytes:
    """A single-file NIfTI-1 image; ``qform`` another affine for the qform, ``codes`` of sform and qform."""
    stored = np.asarray(np.rint(values) if np.dtype(kind).kind in "iu" else values).astype(kind)
    image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
    sform_code, qform_code = forms.get("codes", (1, 1))
    image.set_sform(affine, sform_code)
    image.set_qform(forms.get("qform", affine), qform_code)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _gz(raw: bytes) -> bytes:
    return gzip.compress(raw, compresslevel=1, mtime=0)


def _ct(good: Good) -> bytes:
    return _nifti(good.hu, good.affine)


def _patched(raw: bytes, offset: int, layout: str, *values: Any) -> bytes:
    content = bytearray(raw)
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def _with(values: Any, where: Any, value: Any) -> Any:
    changed = values.copy()
    changed[where] = value
    return changed


def _turned(affine: Any, axis: str, degrees: float) -> Any:
    """The same head, turned about its middle."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    return turn @ affine


def _moved(affine: Any, *first_voxel: float) -> Any:
    """The affine of a part of the grid that begins at this voxel."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ first_voxel
    return moved


def _corrupt_crc(good: Good) -> bytes:
    content = bytearray(_gz(_ct(good)))
    content[-6] ^= 0xFF
    return bytes(content)


def _axes_turned(good: Good) -> bytes:
    """Slices along the first axis in the right order, the affine turned with them: unusual and right."""
    turn = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    return _nifti(good.hu.transpose(2, 1, 0), good.affine @ turn)


def _metal(good: Good, streak_hu: float) -> bytes:
    """A clip at the end of the left carotid over four slices: saturated, with rays of random HU that fade outwards."""
    hu = good.hu.copy()
    x, y = np.ogrid[: hu.shape[0], : hu.shape[1]]
    ray = ((np.arctan2(y - 60, x - 66) + np.pi) / (2 * np.pi) * 180).astype(int) % 180
    distance = np.hypot(x - 66, y - 60)
    for slice_ in range(9, 13):
        hu[:, :, slice_] += np.random.default_rng(slice_).normal(0, streak_hu, 180)[ray] / (1 + distance / 30)
        hu[:, :, slice_][distance < 4] = 3071  # the largest value of 12 bits
    return _nifti(np.clip(hu, -1024, 3071), good.affine)


def _bottle(good: Good) -> bytes:
    """A cylinder of water, 20 cm wide, in a plastic wall, as for quality control."""
    x, y = np.ogrid[: CT_SHAPE[0], : CT_SHAPE[1]]
    distance = np.hypot(x - 59.5, y - 65.5)[:, :, None] * SPACING_MM[0]
    rng = np.random.default_rng(5)
    hu = np.where(distance < 100, 0, np.where(distance < 105, 120, -1000)) + rng.normal(0, 4, CT_SHAPE)
    return _nifti(hu, good.affine)


def _complex(good: Good) -> bytes:
    return _nifti(good.hu.astype(np.complex64), good.affine, np.complex64)


def _rgb(good: Good) -> bytes:
    grey = np.clip(good.hu * 2, 0, 255).astype(np.uint8)
    colour = np.zeros(CT_SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for channel in "RGB":
        colour[channel] = grey
    return bytes(nib.Nifti1Image(colour, good.affine).to_bytes())


def _big_endian(good: Good) -> bytes:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    return bytes(nib.Nifti1Image(np.rint(good.hu).astype(">i2"), good.affine, header).to_bytes())


def _extension(good: Good) -> bytes:
    """An extension of 16 bytes that claims to have 2 GB; the voxels are where the header says."""
    raw = _patched(_ct(good), VOX_OFFSET, "<f", 368)
    return raw[:348] + b"\1\0\0\0" + struct.pack("<ii", 2**31 - 16, 6) + bytes(8) + raw[352:]


def _micrometres(good: Good) -> bytes:
    return _patched(_nifti(good.hu, np.diag([1000, 1000, 1000, 1.0]) @ good.affine), XYZT_UNITS, "B", 3)


def _metres(good: Good) -> bytes:
    return _patched(_nifti(good.hu, np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ good.affine), XYZT_UNITS, "B", 1)


def _bomb(good: Good) -> bytes:
    """A small image, then 3 GB of zeros in a few megabytes of gzip."""
    return _gz(_ct(good)) + gzip.compress(bytes(1 << 24), 9, mtime=0) * 180


def _pair_header(good: Good) -> bytes:
    """The .hdr of an Analyze-like pair, renamed: its voxels lie in another file."""
    return _patched(_patched(_ct(good), VOX_OFFSET, "<f", 0), MAGIC, "4s", b"ni1\0")[:352]


def _nifti2_overflow(good: Good) -> bytes:
    """NIfTI-2 dimensions whose product is 0 in 64 bits."""
    image = nib.Nifti2Image(np.rint(good.hu[:8]).astype(np.int16), good.affine)
    return _patched(bytes(image.to_bytes()), 16, "<4q", 3, 2**32, 2**32, 2)


KINDS: dict[str, _Kind] = {
    "good_ct": _Kind(_ct),
    "good_dwi": _Kind(lambda good: _nifti(good.dwi, good.dwi_affine), modality="dwi"),
    # the file
    "truncated_gzip": _Kind(lambda good: _gz(_ct(good))[:200_000], "truncated_file", is_final=True),
    "truncated_plain": _Kind(lambda good: _ct(good)[:200_000], "truncated_file", suffix=".nii"),
    "corrupt_gzip": _Kind(_corrupt_crc, "unreadable_file", is_final=True),
    "no_nifti": _Kind(lambda _: b"Export failed: disk quota exceeded\n" * 40, "unreadable_file", suffix=".nii"),
    "empty_file": _Kind(lambda _: b"", "truncated_file", is_final=True, refused_when_listed="file_empty"),
    "plain_named_gz": _Kind(_ct, "unreadable_file", is_final=True),
    "gz_named_plain": _Kind(lambda good: _gz(_ct(good)), "unreadable_file", suffix=".nii"),
    "header_of_a_pair": _Kind(_pair_header, "unreadable_file"),
    "gzip_bomb": _Kind(_bomb, "image_too_large", is_final=True),
    # the header
    "voxels_far_away": _Kind(lambda good: _patched(_ct(good), VOX_OFFSET, "<f", 3e9), "truncated_file"),
    "dimensions_32767": _Kind(lambda good: _patched(_ct(good), DIM, "<4h", 3, *[32767] * 3), "truncated_file"),
    "dimensions_overflow": _Kind(_nifti2_overflow, "truncated_file"),
    "no_dimensions": _Kind(lambda good: _patched(_ct(good), DIM, "<4h", 0, 0, 0, 0), "wrong_dimensions"),
    "negative_dimension": _Kind(lambda good: _patched(_ct(good), DIM, "<4h", 3, 120, -132, 34), "wrong_dimensions"),
    "extension_of_2_gb": _Kind(_extension),
    "zero_voxel_size": _Kind(
        lambda good: _patched(_nifti(good.hu, good.affine, codes=(0, 1)), PIXDIM, "<4f", 1, 0, 0, 0), "wrong_affine"
    ),
    "negative_voxel_size": _Kind(
        lambda good: _patched(_nifti(good.hu, good.affine, codes=(0, 1)), PIXDIM, "<4f", 1, -1.8, -1.8, -5),
    ),
    "centimetres": _Kind(lambda good: _nifti(good.hu, np.diag([0.1, 0.1, 0.1, 1]) @ good.affine), "brain_too_small"),
    "micrometres": _Kind(_micrometres, "wrong_affine"),
    "metres": _Kind(_metres, "wrong_affine"),
    "singular_affine": _Kind(
        lambda good: _nifti(good.hu, good.affine[:, [0, 0, 2, 3]], qform=good.affine, codes=(1, 0)), "wrong_affine"
    ),
    "affine_not_finite": _Kind(
        lambda good: _nifti(good.hu, _with(good.affine, (0, 3), np.nan), qform=good.affine, codes=(1, 0)),
        "wrong_affine",
    ),
    "no_affine": _Kind(lambda good: _nifti(good.hu, good.affine, codes=(0, 0)), "wrong_affine"),
    "complex_numbers": _Kind(_complex, "unreadable_file"),
    "colours": _Kind(_rgb, "unreadable_file"),
    "unknown_type": _Kind(lambda good: _patched(_ct(good), DATATYPE, "<h", 9999), "unreadable_file"),
    "big_endian": _Kind(_big_endian),
    "slope_zero": _Kind(lambda good: _patched(_ct(good), SCL_SLOPE, "<2f", 0, 5)),
    "slope_not_a_number": _Kind(lambda good: _patched(_ct(good), SCL_SLOPE, "<2f", np.nan, np.nan)),
    "intercept_infinite": _Kind(lambda good: _patched(_ct(good), SCL_SLOPE, "<2f", 1, np.inf), "unreadable_file"),
    # the grid
    "four_dimensions": _Kind(lambda good: _nifti(np.stack([good.hu] * 3, -1), good.affine), "wrong_dimensions"),
    "three_dimensions_for_perfusion": _Kind(_ct, "wrong_dimensions", modality="ctp"),
    "one_slice": _Kind(lambda good: _nifti(good.hu[:, :, 17:18], good.affine), "wrong_dimensions"),
    "two_slices": _Kind(lambda good: _nifti(good.hu[:, :, 17:19], good.affine), "brain_too_small"),
    "axes_reversed": _Kind(
        lambda good: _nifti(good.hu.transpose(2, 1, 0), good.affine), "registration_overlap_too_low"
    ),
    "axes_swapped_in_plane": _Kind(
        lambda good: _nifti(good.hu.transpose(1, 0, 2), good.affine), "registration_overlap_too_low"
    ),
    "slices_along_x": _Kind(_axes_turned),
    "forms_mirrored": _Kind(lambda good: _nifti(good.hu, good.affine, qform=MIRROR @ good.affine), "forms_disagree"),
    "mirrored_as_a_whole": _Kind(lambda good: _nifti(good.hu, MIRROR @ good.affine)),
    "sheared": _Kind(
        lambda good: _nifti(good.hu, _with(good.affine, (1, 2), 1.5), qform=good.affine, codes=(1, 0)), "wrong_affine"
    ),
    # the values
    "not_a_number": _Kind(
        lambda good: _nifti(_with(good.hu, good.lesion, np.nan), good.affine, np.float32), "scan_not_finite"
    ),
    "infinite": _Kind(
        lambda good: _nifti(_with(good.hu, good.lesion, -np.inf), good.affine, np.float32), "scan_not_finite"
    ),
    "constant": _Kind(lambda good: _nifti(np.full(CT_SHAPE, 35), good.affine), "constant_image"),
    "all_zero": _Kind(lambda good: _nifti(np.zeros(CT_SHAPE), good.affine), "constant_image"),
    "offset_1024": _Kind(
        lambda good: _nifti((good.hu + 1024).clip(0), good.affine, np.uint16), notes=("hu_offset_removed",)
    ),
    "clipped_at_zero": _Kind(lambda good: _nifti(good.hu.clip(0), good.affine), notes=("hu_clipped_at_zero",)),
    "wrapped_to_8_bits": _Kind(
        lambda good: _nifti(np.rint(good.hu).astype(np.int64) & 255, good.affine, np.uint8), "hounsfield_unknown"
    ),
    "window_of_grey_levels": _Kind(
        lambda good: _nifti((good.hu / 80).clip(0, 1) * 255, good.affine, np.uint8), "hounsfield_unknown"
    ),
    # the content
    "mr_as_ncct": _Kind(lambda good: _nifti(good.dwi, good.dwi_affine), "hounsfield_unknown"),
    "mr_as_ncct_in_the_range_of_hu": _Kind(lambda good: _nifti(good.dwi * 0.3, good.dwi_affine), "hounsfield_unknown"),
    "ct_as_dwi": _Kind(_ct, "signal_negative", modality="dwi"),
    "clipped_ct_as_dwi": _Kind(lambda good: _nifti(good.hu.clip(0), good.affine), "brain_too_small", modality="dwi"),
    "lesion_mask_as_ncct": _Kind(lambda good: _nifti(good.lesion, good.affine, np.uint8), "label_image"),
    "brain_mask_as_dwi": _Kind(lambda good: _nifti(good.brain, good.affine, np.uint8), "label_image", modality="dwi"),
    "cta_as_ncct": _Kind(lambda good: _nifti(good.cta, good.affine), "contrast_present"),
    "half_blanked": _Kind(
        lambda good: _nifti(_with(good.hu, np.s_[:60], -1000), good.affine), "registration_scale_out_of_range"
    ),
    "half_outside": _Kind(lambda good: _nifti(good.hu[60:], _moved(good.affine, 60, 0, 0)), "brain_cut_at_side"),
    "front_outside": _Kind(lambda good: _nifti(good.hu[:, 66:], _moved(good.affine, 0, 66, 0)), "brain_cut_at_side"),
    "only_the_top": _Kind(lambda good: _nifti(good.hu[:, :, 22:], _moved(good.affine, 0, 0, 22)), "brain_too_small"),
    "only_the_base": _Kind(lambda good: _nifti(good.hu[:, :, :16], good.affine), "registration_scale_out_of_range"),
    "metal_with_faint_streaks": _Kind(lambda good: _metal(good, 10)),
    "metal_with_streaks": _Kind(lambda good: _metal(good, 60), "streak_artefact"),
    "noise": _Kind(
        lambda good: _nifti(good.hu + np.random.default_rng(7).normal(0, 14, CT_SHAPE), good.affine), "noise_too_high"
    ),
    "tilt_of_70_degrees": _Kind(
        lambda good: _nifti(good.hu, _turned(good.affine, "x", 70)), "registration_overlap_too_low"
    ),
    "upside_down": _Kind(lambda good: _nifti(good.hu, _turned(good.affine, "y", 180)), "registration_overlap_too_low"),
    "back_to_front": _Kind(
        lambda good: _nifti(good.hu, _turned(good.affine, "z", 180)), "registration_overlap_too_low"
    ),
    "water_bottle": _Kind(_bottle, "no_brain_found", notes=("no_soft_tissue",)),
    "small_animal": _Kind(lambda good: _nifti(*good.small), "brain_too_small"),
    "neck": _Kind(lambda good: _nifti(*good.neck), "no_brain_found"),
}
