"""From contract tables to ``statistics``: one row per printed number, the same rows for the same tables.

``analyse`` runs the sections of ``reports.sections`` in the order of the report. The vocabulary of its rows:

*Analysis sets.* ``scored`` (``participants.is_scored``) and, where the study declares eligibility rules, ``eligible``
(``participants.is_eligible``). Every section but ``flow`` is computed for both. A ``stratum`` is ``screened`` (section
``flow``), ``<set>``, or ``<set>/<grade>`` with a severity grade of the study; ``<set>/ungraded`` counts patients without.

*Measures.* A patient is measured by ``score`` (from ``scores``; ``source`` is the scoring source) or by ``volume_ml``
(from ``lesions``; ``source`` is the modality of the mask). A quantity that exists for both ends in ``:score`` or
``:volume_ml``. ``score`` speaks for severity when low, ``volume_ml`` when high.

*Names.* ``quantity`` is a word, or a word and details behind colons. ``reference`` is the reference source or the clinical
column. ``statistic_id`` is ``section/quantity/source/reference/stratum``, ``-`` for what a row has not.

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
regions          mild_test:<side>:<region> (positive class against   score source  severity col.   set
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
association      spearman:<measure>, kendall:<measure>,              source        severity or     set
                 odds_ratio:<measure> (proportional odds;                          outcome column
                 per point, per doubling of the volume)
agreement        icc_a1 (F interval), icc_a1_bootstrap,              candidate     reference       set
                 kappa_linear, kappa_quadratic, ac2, exact,          source        source
                 within_1, within_2, bias, loa_lower, loa_upper,
                 proportional_slope, spearman
agreement        region_agreement, region_kappa,                     candidate     reference       set
                 region_prevalence, region_positive_agreement,       source        source
                 region_negative_agreement, each with :<region>,
                 both sides of a patient together
===============  ==================================================  ============  ==============  =================

A proportion has ``numerator`` and ``denominator`` and a Wilson interval; a count has ``unit`` ``participants``. Where a
number cannot be computed, ``estimate`` is null and ``note`` says why. ``note`` also names a dichotomy's operator form and
source, the published cut's source, an odds ratio's unit, a primary dichotomy (it starts with ``primary;``), and
shared-method agreement of template-assisted readers (METHODS N16). Rows come in the order of this table.
"""
