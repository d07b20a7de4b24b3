"""One synthetic patient: anatomy, disease, scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.training.anatomies import Anatomy
from models.training.synthetic import grid
from models.training.synthetic.anatomy import (
    affine_to_template,
    carried,
    filled,
    inside_skull,
    near_air,
    places_of,
    pushed,
    sampled,
    template_places,
    thinned,
)
from models.training.synthetic.ct import density, enhanced, scanned_ct
from models.training.synthetic.diffusion import diffusion, draw_tracts, found_brain, scanned, stored_adc
from models.training.synthetic.disease import (
    SWELLS_FROM_H,
    Disease,
    draw_haemorrhage,
    draw_infarct,
    draw_leukoaraiosis,
    draw_old_lesion,
    strength_of,
    swollen,
)
from models.training.synthetic.grid import FLUID, GREY, WHITE, share_of, smooth
from models.training.synthetic.recipe import Recipe
from models.training.synthetic.vessels import draw_vessels
from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.segmentation import CLASSES, INFARCT, STEP_MM


@dataclass(frozen=True, eq=False)
class SyntheticPatient:
    """One patient on the grid of 2 mm.

    Attributes
    ----------
    b0, b_high : (X, Y, Z) float32 arrays, signal
    adc : (X, Y, Z) float32 array, 10^-3 mm2/s, as computed from both
    ct, cta : (X, Y, Z) float32 arrays, HU: plain, and with contrast agent in the vessels
    brain : (X, Y, Z) bool array, as a brain extraction finds it on diffusion MR
    head : (X, Y, Z) bool array, the inside of the skull, as a brain extraction finds it on CT
    classes : (X, Y, Z) uint8 array, indices of ``CLASSES``
    regions : label map's name -> (X, Y, Z) uint8 array
    facts : what was drawn
    to_template : (3, 4) float array, voxel -> template world, mm: the best affine transform, as a registration finds it
    """

    b0: Float32Array
    b_high: Float32Array
    adc: Float32Array
    ct: Float32Array
    cta: Float32Array
    brain: Mask
    head: Mask
    classes: npt.NDArray[np.uint8]
    regions: Mapping[str, npt.NDArray[np.uint8]]
    facts: Mapping[str, float | str] = field(default_factory=dict)
    to_template: FloatArray = field(default_factory=lambda: np.zeros((3, 4)))


def draw_patient(
    anatomy: Anatomy,
    lesion: tuple[Float32Array, Affine] | None,
    rng: np.random.Generator,
    recipe: Recipe | None = None,
) -> SyntheticPatient:
    """Draw one patient.

    Parameters
    ----------
    anatomy : Anatomy
    lesion : mask in template space and its affine, voxel -> world, RAS, mm; None grows one, or none by the recipe
    rng : the same state gives the same patient
    recipe : Recipe
    """
    drawn = recipe or Recipe()
    disease_rng, ct_rng, cta_rng = rng.spawn(3)  # so that a change of one part leaves the others as they were
    codes = anatomy.tissues
    if (sulci := rng.random()) < drawn.atrophy:
        codes = thinned(codes, rng)
    elif sulci > 1 - drawn.narrow_sulci:
        codes = filled(codes, rng)
    is_flipped = bool(rng.random() < 0.5)
    places = places_of(anatomy, drawn, rng, is_flipped)
    air = near_air(anatomy, places)
    has_artefact = bool(rng.random() < drawn.artefacts)
    if has_artefact:  # echo-planar images are stretched along the phase encoding, front to back
        places[1] += np.float32(rng.uniform(-3, 3)) * air
    template_mm = template_places(anatomy, places)
    samples = sampled(codes, places)
    grey, white = share_of(samples, GREY), share_of(samples, WHITE)
    infarct, kind = draw_infarct(lesion, template_mm, grey + white, drawn, rng)
    age_h = float(np.exp(disease_rng.uniform(*np.log(drawn.infarct_age_h))))
    push_mm = 0.0
    if infarct.any() and age_h > SWELLS_FROM_H and disease_rng.random() < drawn.swelling:
        push_mm = float(disease_rng.uniform(*drawn.swelling_mm))
        places, template_mm, infarct = pushed(places, template_mm, infarct, swollen(infarct, push_mm))
        samples = sampled(codes, places)
        grey, white = share_of(samples, GREY), share_of(samples, WHITE)
    fluid, tissue = share_of(samples, FLUID), grey + white
    disease, bleeding = _disease((grey, white, tissue), samples, infarct, age_h, drawn, (rng, disease_rng))
    tracts = draw_tracts(template_mm, white, tissue, rng)
    b0, b_high, b_value = diffusion(samples, disease, tracts, drawn, rng)
    if has_artefact:
        pile_up = np.exp(np.float32(rng.uniform(0.1, 0.8)) * air * smooth(rng, 14.0, 1.0).clip(-1, 2))
        b0, b_high = b0 * pile_up, b_high * pile_up
    b0, b_high, facts = scanned(b0, b_high, white, drawn, rng)
    adc = stored_adc(b0, b_high, b_value)
    inside = found_brain(tissue + fluid, b_high, rng)
    head = inside_skull(tissue + fluid + share_of(samples, ("dura",)))
    vessels, vessel_facts = draw_vessels(anatomy, places, infarct, drawn, cta_rng)
    hu, ct_facts = density(samples, disease, vessels, template_mm, drawn, ct_rng)
    ct, scan_facts = scanned_ct(hu, head, drawn, ct_rng)
    hu, contrast_facts = enhanced(hu, disease, vessels, drawn, cta_rng)
    slices = (float(cta_rng.uniform(*drawn.cta_slice_mm)), 0.0, 0.0)
    cta, cta_facts = scanned_ct(hu, head, drawn, cta_rng, slices)
    classes = classes_of((grey, white, fluid), disease, inside)
    regions = {name: carried(one, places, is_flipped) for name, one in anatomy.regions.items()}
    if disease_rng.random() < drawn.dwi_stripped:
        b0, b_high, adc = (np.where(inside, one, np.float32(0)) for one in (b0, b_high, adc))
    missed = draw_missed(head, drawn, disease_rng)
    for one in (b0, b_high, adc, ct, cta, inside, head, classes, *regions.values()):
        one[:, :, missed] = 0
    facts = {
        **facts,
        **ct_facts,
        **vessel_facts,
        **contrast_facts,
        **{f"ct_{name}": value for name, value in scan_facts.items()},
        **{f"cta_{name}": value for name, value in cta_facts.items()},
        "anatomy": anatomy.name,
        "kind": kind,
        "volume_ml": float((classes == INFARCT).sum()) * STEP_MM**3 / 1000,
        "b_value": b_value,
        "age_h": age_h if infarct.any() else 0.0,
        "swelling_mm": push_mm,
        "haemorrhage": bleeding,
        "haemorrhage_ml": float((disease.blood > 0.5).sum()) * STEP_MM**3 / 1000,
    }
    to_template = affine_to_template(template_mm, tissue, is_flipped)
    return SyntheticPatient(b0, b_high, adc, ct, cta, inside, head, classes, regions, facts, to_template)


def _disease(
    shares: tuple[Float32Array, Float32Array, Float32Array],
    samples: Sequence[npt.NDArray[np.uint8]],
    infarct: Float32Array,
    age_h: float,
    drawn: Recipe,
    rngs: tuple[np.random.Generator, np.random.Generator],
) -> tuple[Disease, str]:
    """What is wrong, and the kind of bleeding."""
    grey, white, tissue = shares
    rng, disease_rng = rngs
    none = np.zeros(grid.GRID_SHAPE, np.float32)
    infarct = infarct * (tissue > 0.4)
    strength = strength_of(infarct, grey, tissue, drawn, rng)
    old = draw_old_lesion(tissue, infarct, rng) if rng.random() < drawn.old_lesion else none
    ventricle = share_of(samples, ("ventricle",))
    pale = draw_leukoaraiosis(white, ventricle, rng) if rng.random() < drawn.leukoaraiosis else none
    blood, bleeding = draw_haemorrhage(tissue, strength, drawn, disease_rng)
    share_grey = np.asarray(grey / np.maximum(tissue, 1e-3), np.float32)
    return Disease(tissue, share_grey, infarct, strength, old, pale, blood, age_h), bleeding


def draw_missed(head: Mask, drawn: Recipe, rng: np.random.Generator) -> slice:
    """Slices that the scans of a patient do not hold: some at the vertex or at the base, or none."""
    heights = np.flatnonzero(head.any(axis=(0, 1)))
    depth = int(rng.uniform(*drawn.cropped_mm) / STEP_MM)
    if rng.random() >= drawn.cropped or not len(heights):
        return slice(0, 0)
    return slice(0, int(heights[0]) + depth) if rng.random() < 0.5 else slice(int(heights[-1]) + 1 - depth, None)


def classes_of(
    shares: tuple[Float32Array, Float32Array, Float32Array], disease: Disease, inside: Mask
) -> npt.NDArray[np.uint8]:
    """The class of every voxel; outside of the mask nothing is asked, and what has bled is no infarct."""
    grey, white, fluid = shares
    classes = np.argmax(np.stack([1 - grey - white - fluid, fluid, grey, white]), axis=0).astype(np.uint8)
    classes[(disease.old > 0.5) & (grey + white > 0.4)] = CLASSES.index("chronic")
    classes[(disease.infarct > 0.5) & (grey + white > 0.4) & (disease.blood <= 0.5)] = INFARCT
    classes[~inside & (classes != INFARCT)] = 0
    return np.asarray(classes)
