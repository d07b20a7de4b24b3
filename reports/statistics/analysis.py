"""From contract tables to ``statistics``: one row per printed number, the same rows for the same tables.

``analyse`` runs the sections of ``reports.sections`` in the order of the report. The vocabulary of its rows:

*Analysis sets.* ``scored`` (``participants.is_scored``) and, where the study declares eligibility rules, ``eligible``
(``participants.is_eligible``). Every section but ``flow`` is computed for both. A ``stratum`` is ``screened`` (section
``flow``), ``<set>``, or ``<set>/<grade>`` with a severity grade of the study; ``<set>/ungraded`` counts patients
without one.

*Measures.* A patient is measured by ``score`` (from ``scores``; ``source`` is the scoring source) or by ``volume_ml``
(from ``lesions``; ``source`` is the modality of the mask). A quantity that exists for both ends in ``:score`` or
``:volume_ml``. ``score`` speaks for severity when low, ``volume_ml`` when high.

*Names.* ``quantity`` is a word, or a word and details behind colons. ``reference`` is the reference source or the
clinical column. ``statistic_id`` is ``section/quantity/source/reference/stratum``, ``-`` for what a row has not.

===============  ==================================================  ============  ==============  =================
section          quantity                                            source        reference       stratum
===============  ==================================================  ============  ==============  =================
flow             n_screened, n_included, n_excluded, n_failed,       -             -               screened
                 n_scored, n_eligible (only with rules)
flow             n_excluded:<stage>:<reason>,                        -             -               screened
                 n_failed:<stage>:<reason> (primary reasons)
cohort           n                                                   -             -               set, set/grade,
                                                                                                   set/ungraded
cohort           median, q1, q3, mean, sd, n_missing                 - | source    column or       set, set/grade
                                                                     of measure    measure
cohort           level:<value> (a proportion)                        -             column          set, set/grade
cohort           difference (p_value; test in method), smd           as above      as above        set
distribution     median, q1, q3, mean, sd, n_missing                 source        measure         set
distribution     score_eq_<0..10> (a proportion)                     score source  score           set
regions          affected:<left|right|any>:<region> (a proportion)   score source  -               set, set/grade
regions          grades_test:<side>:<region> (p_value, p_adjusted)   score source  severity col.   set
regions          class_test:<side>:<region> (positive class against  score source  severity col.   set
                 the rest; p_value, p_adjusted)
roc              auc:<measure>                                       source        severity col.   set
roc              auc_difference:score:volume_ml (score - volume)     score source  modality        set
roc              auc_difference:score:score (source - reference)     score source  score source    set
dichotomies      test_positive:<dichotomy> (a proportion)            source        -               set
dichotomies      sensitivity, specificity, accuracy, ppv, npv,       source        severity col.   set
                 prevalence (proportions), lr_positive,
                 lr_negative, balanced_accuracy, f1_positive,
                 f1_negative, mcc, each with :<dichotomy>
youden           cut, j, sensitivity, specificity, each with         source        severity col.   set
                 :<measure>: the cut chosen in these patients
youden           j_corrected, sensitivity_corrected,                 source        severity col.   set
                 specificity_corrected, each with :<measure>:
                 less the bootstrap optimism
youden           cut_published, j_published, sensitivity_published,  source        severity col.   set
                 specificity_published, each with :<measure>
association      spearman:<measure>, kendall:<measure> (tau-b)       source        severity or     set
                                                                                   outcome column
association      odds_ratio:<measure> (proportional odds of a        source        outcome column  set
                 worse outcome per point, or per doubling)
agreement        icc_a1 (F interval), icc_a1_bootstrap,              candidate     reference       set
                 kappa_linear, kappa_quadratic, ac2, exact,          source        source
                 within_1, within_2, bias, loa_lower, loa_upper,
                 proportional_slope, spearman
agreement        region_agreement, region_prevalence_reference,      candidate     reference       set
                 region_prevalence_candidate (proportions),          source        source
                 region_kappa, region_ac1,
                 region_positive_agreement,
                 region_negative_agreement, each with :<region>:
                 affected on either side of the patient
===============  ==================================================  ============  ==============  =================

A proportion has ``numerator`` and ``denominator`` and a Wilson interval; a count has ``unit`` ``participants``. Where a
number cannot be computed, ``estimate`` is null and ``note`` says why. ``note`` also names a dichotomy's operator form
and source (``primary; ASPECTS <= 6; <source>``), the published cut's source, an odds ratio's unit, and shared-method
agreement (one mask measured twice, or a reader who was shown the registered template). Rows come in the order of this
table.
"""

from __future__ import annotations

import pandas as pd

from reports.statistics.inputs import ReportInput
from reports.statistics.patients import analysis_sets, patients_of
from reports.statistics.rows import Rows
from reports.statistics.sections.agreement import add_agreement
from reports.statistics.sections.association import add_association
from reports.statistics.sections.cohort import add_cohort, add_distribution
from reports.statistics.sections.flow import add_flow
from reports.statistics.sections.regions import add_regions
from reports.statistics.sections.severity import add_dichotomies, add_roc, add_youden

SECTIONS = ("flow", "cohort", "distribution", "regions", "roc", "dichotomies", "youden", "association", "agreement")


def analyse(data: ReportInput) -> pd.DataFrame:
    """Every number of the report as a row of ``statistics``.

    Parameters
    ----------
    data : ReportInput

    Returns
    -------
    pandas.DataFrame
        The ``statistics`` contract, unique by ``statistic_id``, in the order of this module's table. Identical for
        identical tables, whatever the order of their rows; every random number has its seed in the row.
    """
    rows = Rows()
    add_flow(rows, data)
    sets = analysis_sets(patients_of(data))
    for add_section in (
        add_cohort,
        add_distribution,
        add_regions,
        add_roc,
        add_dichotomies,
        add_youden,
        add_association,
        add_agreement,
    ):
        for name, patients in sets.items():
            add_section(rows, patients, name)
    return rows.frame()
