"""From contract tables to ``statistics``: one row per printed number, the same rows for the same tables.

``analyse`` runs the sections of ``reports.statistics.sections`` in the order of the report. What its rows are about:

*Analysis sets.* ``analysis_set`` names a column ``is_<set>`` of ``participants``: ``included``, and, where the study
declares eligibility rules, ``examined``, those whom the rules were asked of. Agreement is of ``measured``, everyone
whom both sources measured, and of ``included``. Section ``flow`` is of ``screened``, every row. ``grade`` narrows a set
to a severity grade; ``ungraded`` are those without one.

*Measures.* A patient is measured by ``score`` (from ``scores``; ``source`` is the scoring source) or by ``volume_ml``
(from ``lesions``; ``source`` is the modality of the mask). ``score`` speaks for severity when low, ``volume_ml`` when
high.

*Names.* ``quantity`` is one word; what it is about stands in columns of its own. ``statistic_id`` joins them:
``section/quantity:details/source/against/set``, with ``/grade`` behind a set, ``-`` for what a row has not; ``against``
is the reference source, the variable or, in ``cohort`` and ``distribution``, the measure.

============  ================================================  ===========================================
section       quantity                                          further columns
============  ================================================  ===========================================
flow          n_screened, n_included, n_excluded, n_failed,     -
              n_measured, n_examined
flow          n_excluded, n_failed (of a primary reason)        stage, reason
cohort        n                                                 grade
cohort        median, q1, q3, mean, sd, n_missing               variable, or source and measure; grade
cohort        share (a proportion)                              variable, category; grade
cohort        difference (p_value; test in method), smd         variable, or source and measure
distribution  median, q1, q3, mean, sd, n_missing               source, measure
distribution  share (a proportion) of each score 0..10          source, measure, category
regions       affected (a proportion)                           source, side, region; grade
regions       grades_test (p_value, p_adjusted)                 source, variable, side, region
regions       class_test (positive class against the rest;      source, variable, side, region
              p_value, p_adjusted)
roc           auc                                               source, measure, variable
roc           auc_difference (source - reference)               source, measure, reference,
                                                                reference_measure, variable
dichotomies   test_positive (a proportion)                      source, measure, dichotomy
dichotomies   sensitivity, specificity, accuracy, ppv, npv,     source, measure, dichotomy, variable
              prevalence (proportions), lr_positive,
              lr_negative, balanced_accuracy, f1_positive,
              f1_negative, mcc
youden        cut, j, sensitivity, specificity (of the cut      source, measure, variable
              chosen in these patients); the same with
              _corrected, less the bootstrap optimism, and
              with _published, of the published cut
association   spearman, kendall (tau-b), odds_ratio             source, measure, variable
              (proportional odds of a worse outcome per
              point, or per doubling)
agreement     icc_a1 (F interval), icc_a1_bootstrap,            source (candidate), reference, measure
              kappa_linear, kappa_quadratic, ac2, exact,
              within_1, within_2, bias, loa_lower,
              loa_upper, proportional_slope, spearman
agreement     region_agreement, region_prevalence_reference,    source (candidate), reference, region
              region_prevalence_candidate (proportions),
              region_kappa, region_ac1,
              region_positive_agreement,
              region_negative_agreement: affected on
              either side of the patient
segmentation  n_both_empty, n_reference_empty,                  source (candidate), reference
              n_candidate_empty, of those compared
segmentation  dice, surface_dice, hd95_mm, lesion_f1,           source (candidate), reference; category (stratum
              volume_difference_ml: medians; the same with      of the reference's volume)
              _q1 and _q3
segmentation  dice: the same median over patients, of each      source (candidate), reference (drawn regions);
              the mean of both sides                            region
============  ================================================  ===========================================

A proportion has ``numerator`` and ``denominator`` and a Wilson interval; a count has ``unit`` ``participants``. Where a
number cannot be computed, ``estimate`` is null and ``note`` says why. ``note`` also names a dichotomy's operator form
and source (``primary; ASPECTS <= 6; <source>``), the published cut's source, an odds ratio's unit, and shared-method
agreement (one mask measured twice, or a reader who was shown the registered template). Rows come in the order of this
table.
"""

from __future__ import annotations

import pandas as pd

from reports.statistics.inputs import ReportInput
from reports.statistics.patients import agreement_sets, analysis_sets, patients_of
from reports.statistics.rows import Builder
from reports.statistics.sections.agreement import add_agreement
from reports.statistics.sections.association import add_association
from reports.statistics.sections.cohort import add_cohort, add_distribution
from reports.statistics.sections.flow import add_flow
from reports.statistics.sections.regions import add_regions
from reports.statistics.sections.segmentation import add_segmentation
from reports.statistics.sections.severity import add_dichotomies, add_roc, add_youden

SECTIONS = ("flow", "cohort", "distribution", "regions", "roc", "dichotomies", "youden", "association", "agreement",
            "segmentation")  # fmt: skip


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
    rows = Builder()
    add_flow(rows, data)
    everyone = patients_of(data)
    sets = analysis_sets(everyone)
    for add_section in (
        add_cohort,
        add_distribution,
        add_regions,
        add_roc,
        add_dichotomies,
        add_youden,
        add_association,
    ):
        for name, patients in sets.items():
            add_section(rows, patients, name)
    for name, patients in agreement_sets(everyone).items():
        add_agreement(rows, patients, name)
    for name, patients in agreement_sets(everyone).items():
        add_segmentation(rows, data, patients, name)
    return rows.frame()
