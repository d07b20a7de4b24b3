"""How widely synthetic patients are drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """How widely everything is drawn; pairs are limits of a uniform distribution.

    The source of a range stands beside it. What has none was chosen here, that of CT so that the real scans of
    ``tests/benchmarks/synthetic_beside_real.py`` lie inside what is drawn.
    """

    # pose and deformation: SynthSeg (Billot et al., Med Image Anal 2023;86:102789) and SynthStroke
    rotation_deg: Range = (-15.0, 15.0)
    tilt_deg: Range = (-20.0, 20.0)  # about the left-right axis: of the head against the slices
    scale: Range = (0.88, 1.12)
    shift_mm: Range = (-8.0, 8.0)
    coarse_mm: float = 3.5  # standard deviation of the deformation with knots of 32 mm, at most
    fine_mm: float = 1.2  # with knots of 14 mm, at most
    one_sided: float = 0.4  # of the deformation: with 0 both sides move alike, with 1 each by itself
    # disease, as shares of patients
    atrophy: float = 0.2  # whose cortex is thinned
    narrow_sulci: float = 0.5  # whose cortex fills its sulci
    leukoaraiosis: float = 0.5
    old_lesion: float = 0.25
    no_infarct: float = 0.25
    grown: float = 0.3  # of the infarcts: balls and emboli in place of a real mask
    fade: float = 0.7  # of the infarcts have soft edges and an uneven inside
    haemorrhage: float = 0.1  # bleeding into tissue; never labelled as infarct
    swelling: float = 0.5  # of the infarcts older than 3 hours push their surroundings away
    swelling_mm: Range = (0.5, 5.0)  # at the border of the infarct
    infarct_age_h: Range = (0.5, 168.0)  # logarithmic: from the first scan to a week
    cropped: float = 0.12  # of the patients whose scans miss the vertex or the base
    cropped_mm: Range = (4.0, 45.0)
    # diffusion MR
    artefacts: float = 0.5  # share of patients with pile-up and distortion near air
    dwi_stripped: float = 0.3  # public sets are stripped as a rule; what is outside of the brain is 0
    t2_grey_ms: Range = (78.0, 105.0)  # 95 at 1.5 T, 15 % shorter at 3 T: Stanisz et al., MRM 2005;54:507-512
    t2_white_ms: Range = (66.0, 85.0)  # 72 at 1.5 T: as above
    adc_grey: Range = (0.76, 0.94)  # normal tissue .62 to 1.09: Helenius et al., AJNR 2002;23:194-199
    adc_white: Range = (0.67, 0.84)  # as above
    adc_fluid: Range = (2.4, 3.7)  # free water at 37 degrees has 3.0
    echo_time_ms: Range = (55.0, 110.0)  # clinical scanners of Wei et al., Brain Communications fcag053
    b_value: Range = (800.0, 1300.0)  # as above
    infarct_adc: Range = (0.42, 0.85)  # of normal, by age: Eastwood et al., AJNR 2003;24:680-687
    infarct_s0: Range = (1.0, 1.7)  # signal at b = 0 of normal, by age: as above
    slice_mm: Range = (2.0, 9.0)  # DWI 4 to 7: Wei et al.; CT up to 9: AISD
    thin_slices: float = 0.35  # share of scans with slices of 2 mm or less, as resampled sets have
    snr: Range = (7.0, 80.0)  # of white matter at b-high
    coil: float = 0.4  # largest natural logarithm of the shading
    # density of tissue: grey matter 37 to 41, white 20 to 34 HU in textbooks; widened to the real scans
    calibration_hu: Range = (-6.0, 6.0)  # by which scanners differ, all tissue alike
    hu_grey: Range = (35.0, 43.0)
    hu_grey_over_white: Range = (5.0, 16.0)
    hu_fluid: Range = (4.0, 14.0)
    meninges: Range = (0.2, 1.0)  # by which fluid beside bone is dura, veins and bone: label maps count them as fluid
    hu_blood: Range = (38.0, 52.0)  # by haematocrit
    symmetric_hu: Range = (1.5, 5.5)  # standard deviation of tissue from place to place, alike on both sides
    asymmetric_hu: Range = (0.1, 0.7)  # of the rest
    infarct_hu: Range = (1.0, 12.0)  # by which the density falls, by age
    dense_clot: float = 0.4  # share of occlusions whose clot is seen: hyperdense artery
    clot_hu: Range = (50.0, 80.0)
    haemorrhage_hu: Range = (48.0, 80.0)  # fresh blood 50 to 80
    calcified_plexus: float = 0.45  # a frequent finding beyond 50 years
    calcified_pineal: float = 0.6  # as above
    calcified_pallidum: float = 0.1
    calcified_hu: Range = (60.0, 350.0)  # in a voxel of 2 mm
    # scanner of CT
    gantry_tilt: float = 0.4  # share of scans
    gantry_tilt_deg: Range = (-20.0, 20.0)  # 6, 7 and 18.5 degrees in real series
    blur_mm: Range = (0.5, 1.2)  # standard deviation in the plane, pixels of 0.4 to 1 mm averaged to 2 mm
    tail: Range = (0.0, 0.18)  # share of the signal that spreads by ``tail_mm``: the bone's rim
    tail_mm: Range = (2.0, 4.5)
    sharpened: float = 0.25  # share of scans with an edge-enhancing kernel
    sharpening: Range = (0.1, 0.8)
    beam_hardening: Range = (0.0, 0.04)  # of the bone's density, within 8 mm
    cupping_hu: Range = (-3.0, 4.0)  # the rim over the middle of the head
    streak: float = 0.5  # share of scans with bands between dense bones
    streak_hu: Range = (2.0, 14.0)
    motion: float = 0.08  # share of scans in which some slices are moved
    motion_mm: Range = (1.0, 5.0)
    noise_hu: Range = (0.5, 5.5)  # logarithmic
    clipped: float = 0.4  # share of exports whose negative HU are 0
    ct_stripped: float = 0.15  # share of exports without skull
    # CT angiography
    artery_hu: Range = (200.0, 600.0)
    vein_share: Range = (0.0, 1.1)  # of the arteries' enhancement: from the arterial to the venous phase
    tissue_volume: Range = (0.015, 0.04)  # blood in grey matter, by which it enhances; white has 0.4 to 0.6 of it
    occluded: float = 0.7  # share of infarcts whose artery is still closed
    twigs: Range = (0.3, 0.9)  # share of an anatomy's small vessels that are seen
    calibre: Range = (0.8, 1.25)  # of the vessels' diameters
    collateral: Range = (0.0, 1.0)  # enhancement beyond the occlusion
    cta_slice_mm: Range = (0.6, 5.0)


def with_settings(recipe: Recipe, **changed: object) -> Recipe:
    """A recipe with some settings changed; for what each part is worth."""
    known = {one.name for one in fields(recipe)}
    if unknown := sorted(set(changed) - known):
        raise ValueError(f"settings must be of {', '.join(sorted(known))}, got {', '.join(unknown)}.")
    return Recipe(**{one.name: changed.get(one.name, getattr(recipe, one.name)) for one in fields(recipe)})  # type: ignore[arg-type]
