"""The synthetic patients of the phantom cohort: which stroke, which clinical data, and what three readers see.

Nothing here is estimated from a person. Each number is chosen to resemble a published margin, named on its line: WEI is
Wei et al. 2026 (doi 10.1093/braincomms/fcag053, Table 1 and text); SOOP is the public Stroke Outcome Optimization
Project cohort (OpenNeuro ds004889), of whose 1,022 lesion volumes the median is 11.9 ml and the quartiles 1.9 and
50.5 ml. WEI prints no lesion volumes.

*Severity model*. With volume V (ml), ``ln(1 + NIHSS) = 0.75 + 0.29 ln(1 + V) + 0.20 [left] + 0.45 [eloquent]
- 0.50 [ACA or PCA] + 0.10 (age - 70)/10 + e``, ``e ~ N(0, 0.64)``, rounded and clipped to 0..42. *Eloquent* lesions
start in the internal capsule, lentiform, insula, M2 or M5. Left counts more: the scale has more points for language.

*Outcome model*. The 90-day modified Rankin scale is the number of ordered cuts below ``0.16 NIHSS + 0.35 (age - 70)/10
+ 0.25 ln(1 + V) + e``, ``e`` standard logistic: a proportional-odds model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from tasks.anatomy import ASPECTS_REGIONS, DEEP_REGIONS, HEMISPHERES, LEFT, Side

Shape = Literal["single", "emboli", "lacune"]
SITES = ("north", "south")
NORTH_SHARE = 0.55  # chosen here: the thrombectomy centre is the larger one

#: WEI, Fig. 4 and its text: insula, M2 and M5 mark severe stroke; capsule and lentiform take the motor tract along.
ELOQUENT_REGIONS = ("internal_capsule", "lentiform", "insula", "m2", "m5")


@dataclass(frozen=True)
class LesionKind:
    """One kind of stroke: its territory, where it starts, its volume and its share of each site's patients.

    Volumes are log-normal with ``median_ml`` and ``sigma_ln``, at most ``maximum_ml``. For lacunes the same three
    numbers are the diameter in mm.
    """

    name: str
    territory: Literal["mca", "perforators", "aca", "pca"]
    seed_regions: tuple[str, ...]
    median_ml: float
    sigma_ln: float
    maximum_ml: float
    share_north: float
    share_south: float
    shape: Shape = "single"
    is_bilateral: bool = False


#: Medians and spreads are chosen here; together they give a mixture near SOOP's median and quartiles. About 70 % are
#: MCA infarcts larger than a lacune; WEI excluded 356 lacunar and 416 ACA or posterior infarcts of 1,372.
LESION_KINDS = (
    LesionKind("mca_stem", "mca", ("insula", "lentiform"), 110, 0.5, 260, 0.16, 0.07),
    LesionKind("mca_superior_division", "mca", ("m1", "m4", "m5", "insula"), 24, 1.0, 140, 0.22, 0.18),
    LesionKind("mca_inferior_division", "mca", ("m2", "m3", "m6"), 20, 1.0, 130, 0.18, 0.15),
    LesionKind("lenticulostriate", "perforators", ("lentiform", "internal_capsule", "caudate"), 4, 0.7, 18, 0.12, 0.16),
    LesionKind("mca_emboli", "mca", (), 5, 0.9, 40, 0.08, 0.07, "emboli"),
    LesionKind("aca", "aca", (), 10, 0.9, 60, 0.05, 0.05),
    LesionKind("pca", "pca", (), 11, 0.9, 70, 0.07, 0.08),
    LesionKind("bilateral_emboli", "mca", (), 8, 0.8, 40, 0.04, 0.03, "emboli", is_bilateral=True),
    LesionKind(
        "lacune", "perforators", ("lentiform", "internal_capsule", "caudate"), 10, 0.2, 14.5, 0.08, 0.21, "lacune"
    ),
)
LACUNE_RANGE_MM = (6.0, 14.5)  # WEI: lacunar up to 15 mm


@dataclass(frozen=True)
class PlannedLesion:
    """What one patient's lesion is to be. ``volume_ml`` of a lacune is that of an ellipsoid of ``diameter_mm``."""

    kind: LesionKind
    side: Side
    seed_region: str | None
    volume_ml: float
    diameter_mm: float | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Hemispheres that hold lesion."""
        return HEMISPHERES if self.kind.is_bilateral else (self.side,)

    @property
    def is_eloquent(self) -> bool:
        """Whether the lesion starts in an eloquent region."""
        return self.seed_region in ELOQUENT_REGIONS


@dataclass(frozen=True)
class PlannedPatient:
    """One synthetic patient before the images are made."""

    site: str
    lesion: PlannedLesion


def plan_patients(n_participants: int, rng: np.random.Generator) -> tuple[PlannedPatient, ...]:
    """Draw site, kind of stroke, side, seed region and volume of each patient."""
    return tuple(_plan_patient(rng) for _ in range(n_participants))


def _plan_patient(rng: np.random.Generator) -> PlannedPatient:
    """One patient: the site first, then the kind from that site's case mix."""
    site = SITES[0] if rng.random() < NORTH_SHARE else SITES[1]
    shares = np.array([kind.share_north if site == SITES[0] else kind.share_south for kind in LESION_KINDS])
    kind = LESION_KINDS[rng.choice(len(LESION_KINDS), p=shares / shares.sum())]
    side = HEMISPHERES[rng.integers(2)]  # WEI, Table 1: 45 % to 58 % left
    region = kind.seed_regions[rng.integers(len(kind.seed_regions))] if kind.seed_regions else None
    size = kind.median_ml * float(np.exp(kind.sigma_ln * rng.standard_normal()))
    if kind.shape == "lacune":
        diameter_mm = float(np.clip(size, *LACUNE_RANGE_MM))
        volume_ml = np.pi / 6 * diameter_mm**3 * 0.75**2 / 1000
        return PlannedPatient(site, PlannedLesion(kind, side, region, volume_ml, diameter_mm))
    return PlannedPatient(site, PlannedLesion(kind, side, region, float(np.clip(size, 0.3, kind.maximum_ml))))


NIHSS_INTERCEPT = 0.75  # with the terms below: median NIHSS 5 as in WEI, Table 1, and SOOP
NIHSS_PER_LN_VOLUME = 0.29
NIHSS_LEFT = 0.20
NIHSS_ELOQUENT = 0.45
NIHSS_OTHER_TERRITORY = -0.50
NIHSS_PER_DECADE = 0.10
NIHSS_NOISE_SD = 0.64  # gives volume an AUC near .77 for NIHSS >= 8 (WEI .752, SOOP .757)
MRS_PER_NIHSS = 0.16
MRS_PER_DECADE = 0.35
MRS_PER_LN_VOLUME = 0.25
MRS_CUTS = (-0.5, 0.9, 1.8, 2.8, 4.4, 5.2)  # chosen here
MISSING_SHARE = {"nihss": 0.05, "mrs_90d": 0.12, "atrial_fibrillation": 0.04}  # WEI lacks NIHSS in 130 of 738


#: What ``participants.json`` says of each column: the model, so that nobody mistakes it for data.
COLUMN_DICTIONARY: dict[str, dict[str, object]] = {
    "site": {
        "Description": "Synthetic site; the north one sees more large infarcts, the south one more lacunes",
        "Levels": {"north": "synthetic thrombectomy centre", "south": "synthetic general hospital"},
    },
    "age": {
        "Description": "Age, drawn from a normal distribution of mean 70 and SD 12, kept in 28 to 97",
        "Units": "years",
    },
    "sex": {"Description": "Sex, 57 % male", "Levels": {"M": "male", "F": "female"}},
    "hypertension": {"Description": "Hypertension, 73 % at random", "Levels": {"0": "no", "1": "yes"}},
    "atrial_fibrillation": {
        "Description": "Atrial fibrillation, 40 % in stem and embolic infarcts, else 12 %, at random",
        "Levels": {"0": "no", "1": "yes"},
    },
    "onset_date": {"Description": "Synthetic day of onset, uniform over 540 days from 2024-01-08"},
    "scan_date": {"Description": "Synthetic day of the scan: onset and onset_to_scan_h"},
    "onset_to_scan_h": {"Description": "Log-normal, median 9 h, sigma 0.7, kept in 0.5 to 24 h", "Units": "h"},
    "affected_side": {
        "Description": "Hemisphere of the lesion; n/a where both are affected",
        "Levels": {"left": "left", "right": "right"},
    },
    "nihss": {
        "Description": f"Round(exp(x) - 1) in 0 to 42, x = {NIHSS_INTERCEPT} + {NIHSS_PER_LN_VOLUME} ln(1 + volume/ml) "
        f"+ {NIHSS_LEFT} [left] + {NIHSS_ELOQUENT} [starts in {', '.join(ELOQUENT_REGIONS)}] "
        f"{NIHSS_OTHER_TERRITORY} [ACA or PCA] + {NIHSS_PER_DECADE} (age - 70)/10 + N(0, {NIHSS_NOISE_SD})",
        "Units": "points",
    },
    "mrs_90d": {
        "Description": f"Number of the cuts {', '.join(map(str, MRS_CUTS))} below {MRS_PER_NIHSS} NIHSS "
        f"+ {MRS_PER_DECADE} (age - 70)/10 + {MRS_PER_LN_VOLUME} ln(1 + volume/ml) + standard logistic noise",
    },
}


def simulate_clinical(patients: Sequence[PlannedPatient], rng: np.random.Generator) -> pd.DataFrame:
    """Draw the clinical columns of the planned patients from the models of this module.

    Returns
    -------
    DataFrame, one row per patient in their order: ``site``, ``age`` (years), ``sex`` (M, F), ``hypertension`` and
    ``atrial_fibrillation`` (0/1), ``onset_date`` and ``scan_date`` (ISO dates), ``onset_to_scan_h`` (hours),
    ``affected_side`` (left, right; missing where bilateral), ``nihss`` (0 to 42), ``mrs_90d`` (0 to 6). Some values are
    missing at random.
    """
    n = len(patients)
    lesions = [patient.lesion for patient in patients]
    ln_volume = np.log1p([lesion.volume_ml for lesion in lesions])
    is_embolic = np.array([lesion.kind.shape == "emboli" or lesion.kind.name == "mca_stem" for lesion in lesions])

    age = np.clip(np.round(rng.normal(70, 12, n)), 28, 97).astype(int)  # WEI, Table 1: median 71 (63, 83)
    decades = (age - 70) / 10
    latent = (
        NIHSS_INTERCEPT
        + NIHSS_PER_LN_VOLUME * ln_volume
        + NIHSS_LEFT * np.array([lesion.side == LEFT for lesion in lesions])
        + NIHSS_ELOQUENT * np.array([lesion.is_eloquent for lesion in lesions])
        + NIHSS_OTHER_TERRITORY * np.array([lesion.kind.territory in ("aca", "pca") for lesion in lesions])
        + NIHSS_PER_DECADE * decades
        + rng.normal(0, NIHSS_NOISE_SD, n)
    )
    nihss = np.clip(np.round(np.expm1(latent)), 0, 42).astype(int)
    outcome = MRS_PER_NIHSS * nihss + MRS_PER_DECADE * decades + MRS_PER_LN_VOLUME * ln_volume + rng.logistic(0, 1, n)
    mrs = (outcome[:, None] > np.asarray(MRS_CUTS)).sum(axis=1)

    onset = pd.Timestamp("2024-01-08") + pd.to_timedelta(np.round(rng.uniform(0, 540 * 24 * 60, n)), unit="min")
    hours = np.round(np.clip(np.exp(rng.normal(np.log(9), 0.7, n)), 0.5, 24), 1)  # WEI: MRI within 24 h
    scan = onset + pd.to_timedelta(hours, unit="h")
    columns = {
        "site": [patient.site for patient in patients],
        "age": pd.array(age, dtype="Int64"),
        "sex": np.where(rng.random(n) < 0.57, "M", "F"),  # WEI, Table 1: 54 % to 65 % male
        "hypertension": pd.array((rng.random(n) < 0.73).astype(int), dtype="Int64"),  # WEI, Table 1
        # WEI, Table 1: 12 % to 18 %; chosen here: more in embolic strokes
        "atrial_fibrillation": pd.array((rng.random(n) < np.where(is_embolic, 0.40, 0.12)).astype(int), dtype="Int64"),
        "onset_date": onset.strftime("%Y-%m-%d"),
        "scan_date": scan.strftime("%Y-%m-%d"),
        "onset_to_scan_h": hours,
        "affected_side": [pd.NA if lesion.kind.is_bilateral else lesion.side for lesion in lesions],
        "nihss": pd.array(nihss, dtype="Int64"),
        "mrs_90d": pd.array(mrs, dtype="Int64"),
    }
    clinical = pd.DataFrame(columns)
    for column, share in MISSING_SHARE.items():
        clinical.loc[rng.random(n) < share, column] = pd.NA
    return clinical


@dataclass(frozen=True)
class ReaderModel:
    """A reader who reports truly affected regions with a sensitivity and others with a false-positive rate.

    Regions err independently of each other and of the lesion's size; the unaffected hemisphere is read as normal.
    """

    name: str
    sensitivity_deep: float
    sensitivity_cortical: float
    false_positive_deep: float
    false_positive_cortical: float
    is_template_assisted: bool = False

    def read(
        self, truth: Mapping[tuple[str, str], bool], sides: Sequence[Side], rng: np.random.Generator
    ) -> dict[tuple[str, str], bool]:
        """Flags of all twenty regions.

        Parameters
        ----------
        truth : (side, region) -> affected
        sides : hemispheres that hold a lesion; only there the reader reports anything
        """
        flags: dict[tuple[str, str], bool] = {}
        for side in HEMISPHERES:
            for region, chance in zip(ASPECTS_REGIONS, rng.random(len(ASPECTS_REGIONS)), strict=True):
                is_deep = region in DEEP_REGIONS
                if truth[side, region]:
                    rate = self.sensitivity_deep if is_deep else self.sensitivity_cortical
                else:
                    rate = self.false_positive_deep if is_deep else self.false_positive_cortical
                flags[side, region] = side in sides and bool(chance < rate)
        return flags


#: Synthetic. A misses a quarter and adds little; B misses more and over-calls; C scores on the registered template, as
#: the template-assisted raters of WEI did (Table 2: ICC with the automated score .91 to .92, else .80 to .84).
READERS = (
    ReaderModel("A", 0.82, 0.74, 0.07, 0.05),
    ReaderModel("B", 0.76, 0.68, 0.16, 0.10),
    ReaderModel("C", 0.95, 0.92, 0.02, 0.02, is_template_assisted=True),
)
REPEAT_READER, REPEAT_EVERY = "A", 4  # reader A reads every fourth patient twice
