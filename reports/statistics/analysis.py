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
association   generalised_odds_ratio (of a worse outcome on     source, measure, variable, dichotomy
              the positive side of the primary cut)
agreement     icc_a1 (F interval), icc_a1_bootstrap,            source (candidate), reference, measure
              kappa_linear, kappa_quadratic, ac2, exact,
              within_1, within_2, bias, loa_lower,
              loa_upper, proportional_slope, spearman, bowker
              (symmetry); side_bias, side_loa_lower,
              side_loa_upper (scores of hemispheres)
agreement     volume_ratio, volume_ratio_loa_lower,             source (candidate), reference
              volume_ratio_loa_upper (candidate / reference)
agreement     region_agreement, region_prevalence_reference,    source (candidate), reference, region
              region_prevalence_candidate (proportions),
              region_kappa, region_ac1,
              region_positive_agreement,
              region_negative_agreement: affected on
              either side of the patient
guards        suspected (a proportion): an old infarct, a       category (the guard)
              haemorrhage, a hyperdense artery on plain CT
guards        icc_a1, within_1, bias: the same agreement        source (candidate), reference, measure;
              without those who are suspected                   category (who is left out)
regional      sensitivity, specificity, balanced_accuracy,      source (candidate), reference; region, or
              kappa, auc (Obuchowski): patients resampled;      category (all, subcortical, cortical)
              sensitivity_gee, specificity_gee,
              auc_bootstrap: of all regions
reference_    sensitivity, specificity, accuracy,               source (candidate), reference, dichotomy
cuts          balanced_accuracy, kappa, auc, the cut of the
              reference's score being the truth
calibration   calibration_intercept, calibration_slope, brier   source (candidate), reference, category (regions,
              of chances                                        or low score)
segmentation  n_both_empty, n_reference_empty,                  source (candidate), reference
              n_candidate_empty, of those compared
segmentation  dice, surface_dice, hd95_mm, lesion_f1,           source (candidate), reference; category (stratum
              volume_difference_ml: medians; the same with      of the reference's volume)
              _q1 and _q3
segmentation  dice: the same median over patients, of each      source (candidate), reference (drawn regions);
              the mean of both sides                            region
readers       fleiss_kappa, fleiss_ac: of the score (quadratic  dichotomy, region (affected on either side)
              weights), of each cut, of each region
readers       reader_auc, reader_auc_difference (source - the   source, variable; category (which session less
              readers), session_auc_difference: random readers  which)
              and cases (Obuchowski-Rockette)
sites         site_, pooled_, predicted_ (of a further site),   source, measure, variable or reference,
              i_squared_ and without_ of auc, of sensitivity    dichotomy; category (the site, or the site left
              and specificity at the primary cut, of icc_a1     out)
intention     failed (a proportion), n_unknown, sensitivity_    source, measure, dichotomy, variable
              and specificity_ complete, worst and best
              (failures left out, as errors, as right)
benefit       net_benefit, net_benefit_all (of treating all):   source, dichotomy, category (the risk); of chances
              of the primary cut; of chances of a low score     also reference
precision     width of an interval, n_for_width                 category (the quantity) and those of its row
plan          primary, confirmatory, exploratory: the number of   category (the question's name); further those
              a declared question at level 1 - alpha (p_value   of the number
              of its claim, p_adjusted)
============  ================================================  ===========================================

``role`` says of every number whether ``[analysis]`` of ``cohort.toml`` declared it: ``primary``, ``confirmatory`` or
``exploratory``; what was not declared is ``exploratory``, and ``descriptive`` where nothing is inferred.

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
from reports.statistics.sections.agreement import add_agreement, add_volume_ratios
from reports.statistics.sections.association import add_association
from reports.statistics.sections.cohort import add_cohort, add_distribution
from reports.statistics.sections.flow import add_flow
from reports.statistics.sections.guards import add_guards
from reports.statistics.sections.plan import add_plan
from reports.statistics.sections.readers import add_reader_agreement, add_reader_discrimination
from reports.statistics.sections.reference_cuts import (
    add_low_score_benefit,
    add_low_score_calibration,
    add_reference_cuts,
)
from reports.statistics.sections.regional import add_region_calibration, add_regional
from reports.statistics.sections.regions import add_regions
from reports.statistics.sections.segmentation import add_segmentation
from reports.statistics.sections.severity import add_dichotomies, add_roc, add_youden
from reports.statistics.sections.sites import add_sites
from reports.statistics.sections.usefulness import add_benefit, add_intention, add_precision

#: Sections of a study with a severity column, readers, sites and plain CT; behind them ``plan`` where one is declared.
SECTIONS = ("flow", "cohort", "distribution", "regions", "roc", "dichotomies", "youden", "association", "agreement",
            "guards", "regional", "reference_cuts", "calibration", "segmentation", "readers", "sites", "intention",
            "benefit", "precision")  # fmt: skip


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
        add_volume_ratios(rows, patients, name)
    for name, patients in agreement_sets(everyone).items():
        add_guards(rows, patients, name)
    measured = agreement_sets(everyone)["measured"]
    for add_section in (add_regional, add_reference_cuts, add_region_calibration, add_low_score_calibration):
        add_section(rows, measured, "measured")
    for name, patients in agreement_sets(everyone).items():
        add_segmentation(rows, data, patients, name)
    for name, patients in agreement_sets(everyone).items():
        add_reader_agreement(rows, patients, name)
    for name, patients in sets.items():
        add_reader_discrimination(rows, patients, name)
    add_sites(rows, sets["included"], "included")
    add_intention(rows, everyone)
    add_benefit(rows, sets["included"], "included")
    add_low_score_benefit(rows, measured, "measured")
    add_precision(rows, everyone)
    add_plan(rows, data.config)
    return rows.frame()
