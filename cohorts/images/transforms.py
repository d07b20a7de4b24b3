"""Transforms as files: affine as ITK text, displacements as ITK vector images, named and described as BIDS derivatives.

ITK (and ANTs, 3D Slicer, SimpleITK) count in LPS; the project in RAS. An ITK transform that brings a moving image onto
a fixed one maps fixed points to moving points, so ``from-orig_to-SPACE_mode-image`` holds ``fixed_to_moving``. A
displacement moves points of the template: before the affine transform on the way to the scan, after it on the way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from cohorts.images.nifti import nifti_bytes
from tasks.arrays import Affine, Float32Array
from tasks.space.affines import LPS_FROM_RAS

ITK_HEADER = "#Insight Transform File V1.0"
ITK_KIND = "Transform: AffineTransform_double_3_3"
SCAN_SPACE = "orig"  # BIDS name of the space in which an image was acquired
VECTOR_INTENT = 1007  # nifti1.h: NIFTI_INTENT_VECTOR, which ITK reads as it stands, in LPS
PRECISION_MM = 1 / 64  # of stored displacements: a hundredth of a voxel, in a quarter of the bytes


def itk_text(matrix: Affine) -> str:
    """A world transform as ITK's text format, every digit kept.

    Parameters
    ----------
    matrix : (4, 4) float array, world -> world, RAS, mm

    Raises
    ------
    ValueError
        Not a finite affine.
    """
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise ValueError("matrix must be a finite (4, 4) affine with last row 0 0 0 1. Give world coordinates in mm.")
    lps = LPS_FROM_RAS @ matrix @ LPS_FROM_RAS + 0.0  # + 0.0 writes -0 as 0
    parameters = " ".join(repr(float(value)) for value in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    return f"{ITK_HEADER}\n#Transform 0\n{ITK_KIND}\nParameters: {parameters}\nFixedParameters: 0 0 0\n"


def transform_files(prefix: str, space: str, fixed_to_moving: Affine, facts: Mapping[str, object]) -> dict[str, bytes]:
    """Both directions as BIDS files, each with its sidecar.

    Parameters
    ----------
    prefix : entities of the scan, such as ``sub-017_ct``
    space : BIDS name of the template
    fixed_to_moving : (4, 4) float array, template world -> scan world, RAS, mm
    facts : what else the sidecar says, such as the profile and the figures of merit

    Returns
    -------
    Name -> content: ``..._from-orig_to-SPACE_mode-image_xfm.txt`` (brings the scan to the template), its inverse, and
    their sidecars.
    """
    files = {}
    pairs = ((SCAN_SPACE, space, fixed_to_moving), (space, SCAN_SPACE, np.linalg.inv(fixed_to_moving)))
    for start, end, matrix in pairs:
        name = f"{prefix}_from-{start}_to-{end}_mode-image_xfm"
        last_row = np.array([[0.0, 0.0, 0.0, 1.0]])
        sidecar = {
            "Type": "affine",
            "Format": "ITK text, LPS, mm",
            "FromTo": f"brings an image of {start} onto the grid of {end}: maps points of {end} to points of {start}",
            "MatrixRAS": matrix.tolist(),
            **facts,
        }
        files[f"{name}.txt"] = itk_text(np.vstack([matrix[:3], last_row])).encode()
        files[f"{name}.json"] = (json.dumps(sidecar, indent=2, sort_keys=True) + "\n").encode()
    return files


def displacement_files(
    prefix: str,
    space: str,
    fields: tuple[Float32Array, Float32Array],
    affine: Affine,
    facts: Mapping[str, object],
) -> dict[str, bytes]:
    """A displacement of the template and its inverse beside the affine files of ``transform_files``.

    Parameters
    ----------
    prefix, space, facts : as in ``transform_files``
    fields : displacement and inverse, (X, Y, Z, 3) each, template world, RAS, mm
    affine : (4, 4) float array of both, voxel -> template world, RAS, mm

    Returns
    -------
    Name -> content: ``..._mode-image_desc-refinement_xfm.nii.gz`` of both directions, and their sidecars.
    """
    files = {}
    pairs = ((SCAN_SPACE, space, "before", fields[0]), (space, SCAN_SPACE, "after", fields[1]))
    for start, end, order, field in pairs:
        name = f"{prefix}_from-{start}_to-{end}_mode-image"
        sidecar = {
            "Type": "displacement field",
            "Format": "ITK vector image, LPS, mm",
            "FromTo": f"moves points of {space}, {order} the affine transform beside it; zero beyond its grid",
            "Affine": f"{name}_xfm.txt",
            **facts,
        }
        files[f"{name}_desc-refinement_xfm.nii.gz"] = _vector_image(field, affine)
        files[f"{name}_desc-refinement_xfm.json"] = (json.dumps(sidecar, indent=2, sort_keys=True) + "\n").encode()
    return files


def _vector_image(field: Float32Array, affine: Affine) -> bytes:
    """A RAS displacement as the NIfTI file of an ITK one; the same field gives the same bytes."""
    lps = np.rint(field * (np.diag(LPS_FROM_RAS)[:3] / PRECISION_MM)) * PRECISION_MM
    vectors = lps[:, :, :, None].astype(np.float32)
    return nifti_bytes(vectors, affine, fields={"intent_code": VECTOR_INTENT}, compression=("zlib", 6))
