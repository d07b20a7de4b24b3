"""How the numbers were made, how to read them, what they rest on, and where everything is."""

from __future__ import annotations

import json
from collections.abc import Iterable

from cohorts.folder.source import REGION_NETWORK, OnScanSource, ReadingsSource
from cohorts.folder.study import FractionRule, PerRegionRule
from cohorts.tables.schemas import TABLES
from reports.document.page import Block, Chapter, Folded, Group, Listing, Material, Pre, TableView, Text
from reports.document.tables import OPERATOR_SIGNS, Cell, words
from tasks.density.rule import DensityRule
from tasks.scoring import AsGiven, ProbabilityRule, RegionRule, Rule

_LATERALITY = {
    "worst": "the lower of the two hemispheres' scores counts",
    "lesion_side": "the score of the hemisphere with more lesion counts",
    "clinical_side": "the score of the hemisphere named in the clinical table counts",
    "both": "ten less the affected regions of both hemispheres, not below 0",
}
_SECTION_TITLES = {
    "flow": "Flowchart", "cohort": "Cohort table", "distribution": "Distributions", "regions": "Regions",
    "roc": "ROC", "dichotomies": "Declared cuts", "youden": "Youden cuts", "association": "Association",
    "agreement": "Agreement", "regional": "Regions against a reference", "reference_cuts": "Cuts against a reference",
    "calibration": "Calibration", "segmentation": "Agreement of lesions", "readers": "Readers", "sites": "Sites",
    "intention": "Intention to diagnose", "benefit": "Net benefit", "precision": "Precision",
    "plan": "Declared questions",
}  # fmt: skip

READING_GUIDE = (
    "An interval is a 95 % confidence interval: the values that these data do not speak against. Where it is wide, the "
    "number is uncertain, however many decimals are printed.",
    "n is the number of patients that a number rests on; it differs from line to line because not everybody has "
    "every value. "
    "n/c means: not computed; the reason stands in the note of its row in the table of statistics. An empty cell "
    "means: there is no such number.",
    "AUC: the chance that a randomly drawn patient of the positive class looks more severe than one outside it; 0.5 is "
    "guessing. Sensitivity and specificity always belong to the positive class named beside them.",
    "ICC(A,1): 1 means identical scores, and a constant offset lowers it. Limits of agreement hold 95 % of the "
    "differences "
    "between two sources; they are not a confidence interval.",
    "A p value above 0.05 does not show that two things are equal. Adjusted p values take account of how many were "
    "tested in the family named in the caption.",
    "Rest the pointer on a number to see its identifier in the table of statistics and how it was computed.",
)

REFERENCES: tuple[tuple[str, str], ...] = (
    ("Barber PA et al. Validity and reliability of a quantitative computed tomography score in predicting outcome of "
     "hyperacute stroke before thrombolytic therapy. Lancet 2000;355:1670-1674",
     "10.1016/S0140-6736(00)02237-6"),
    ("Wei L et al. Automated quantification of the Alberta Stroke Programme Early CT Score (ASPECTS) and infarct core "
     "on diffusion-weighted imaging in acute ischaemic stroke: multi-centre validation and severity stratification. "
     "Brain Communications 2026, fcag053",
     "10.1093/braincomms/fcag053"),
    ("Cao Z et al. Deep learning derived automated ASPECTS on non-contrast CT scans of acute ischemic stroke patients. "
     "Hum Brain Mapp 2022;43:3023-3036",
     "10.1002/hbm.25845"),
    ("Fonov V et al. Unbiased average age-appropriate atlases for pediatric studies. NeuroImage 2011;54:313-327",
     "10.1016/j.neuroimage.2010.07.033"),
    ("DeLong ER et al. Comparing the areas under two or more correlated receiver operating characteristic curves: a "
     "nonparametric approach. Biometrics 1988;44:837-845",
     "10.2307/2531595"),
    ("Youden WJ. Index for rating diagnostic tests. Cancer 1950;3:32-35",
     "10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3"),
    ("Harrell FE et al. Multivariable prognostic models: issues in developing models, evaluating assumptions and "
     "adequacy, and measuring and reducing errors. Stat Med 1996;15:361-387 (optimism by bootstrap)",
     "10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4"),
    ("Wilson EB. Probable inference, the law of succession, and statistical inference. JASA 1927;22:209-212",
     "10.1080/01621459.1927.10502953"),
    ("Newcombe RG. Interval estimation for the difference between independent proportions: comparison of eleven "
     "methods. Stat Med 1998;17:873-890 (balanced accuracy, J of a published cut)",
     "10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I"),
    ("McGraw KO, Wong SP. Forming inferences about some intraclass correlation coefficients. Psychol Methods "
     "1996;1:30-46",
     "10.1037/1082-989X.1.1.30"),
    ("Cohen J. Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit. "
     "Psychol Bull 1968;70:213-220",
     "10.1037/h0026256"),
    ("Gwet KL. Computing inter-rater reliability and its variance in the presence of high agreement. Br J Math Stat "
     "Psychol 2008;61:29-48",
     "10.1348/000711006X126600"),
    ("Bland JM, Altman DG. Measuring agreement in method comparison studies. Stat Methods Med Res 1999;8:135-160",
     "10.1177/096228029900800204"),
    ("Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578",
     "10.2307/2533958"),
    ("Genders TSS et al. Methods for calculating sensitivity and specificity of clustered data: a tutorial. Radiology "
     "2012;265:910-916",
     "10.1148/radiol.12120509"),
    ("Liang KY, Zeger SL. Longitudinal data analysis using generalized linear models. Biometrika 1986;73:13-22",
     "10.1093/biomet/73.1.13"),
    ("Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction models. Med Decis Making "
     "2006;26:565-574",
     "10.1177/0272989X06295361"),
    ("Van Calster B et al. A calibration hierarchy for risk models was defined. J Clin Epidemiol 2016;74:167-176",
     "10.1016/j.jclinepi.2015.12.005"),
    ("Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70", ""),
    ("Okabe M, Ito K. Color Universal Design (CUD): how to make figures and presentations that are friendly to "
     "colorblind people. 2002, modified 2008 (the colours of the figures)",
     ""),
)  # fmt: skip


def methods_chapter(material: Material) -> Chapter:
    """What ran, in words, from the settings and the rows themselves."""
    config = material.data.config
    blocks: list[Block] = [Text(_opening(material))]
    blocks.append(Listing(tuple(_source_sentences(material))))
    if material.severity is not None and config.severity is not None:
        grades = ", ".join(f"{grade.name} {grade.minimum:g} to {grade.maximum:g}" for grade in config.severity.grades)
        blocks.append(
            Text(
                f"Severity is graded by {material.label(material.severity)}: {grades}; the positive class is "
                f"{material.positive_class}."
            )
        )
    rules = tuple(_eligibility(material))
    if rules:
        blocks.append(Text("The eligibility rules exclude a patient for any of these:"))
        blocks.append(Listing(rules))
    blocks.append(
        Text(
            "Missing values are left out of the number that needs them and counted beside it; nothing is imputed. "
            "Every "
            f"bootstrap has {config.study.bootstrap_resamples} resamples of patients with seeds derived from "
            f"{config.study.seed}."
        )
    )
    blocks.append(_methods_table(material))
    return Chapter("methods", "Methods", tuple(blocks))


def guide_chapter(_: Material) -> Chapter:
    """How to read the numbers."""
    return Chapter("guide", "How to read this report", (Listing(READING_GUIDE),))


def provenance_chapter(material: Material) -> Chapter:
    """Run, packages, digests, settings and files."""
    run = material.run
    facts = (
        ("Run", run.run_id), ("Started", run.started_at), ("aspects-cohort", run.version), ("Command", run.command),
        ("Digest of the code", run.code_digest), ("Digest of the settings", run.settings_digest),
        ("Digest of the analysis plan", material.data.config.analysis_digest or "no plan was declared"),
    )  # fmt: skip
    packages = sorted(run.packages.items())
    files = tuple(
        (
            Cell(f"{table.name}.parquet", f"{table.name}.tsv" if table.tsv_twin else ""),
            Cell(f"one row per {table.row.removeprefix('one ')}"),
        )
        for table in TABLES.values()
    )
    blocks: list[Block] = [
        TableView("This run", ("", ""), (Group("", _pairs(facts)),), n_text=2, is_prose=True),
        TableView("Software", ("Package", "Version"), (Group("", _pairs(packages)),), n_text=2, is_prose=True),
        TableView("Tables of this run, beside this report; the TSV twins hold the same rows", ("File", "Rows"),
                  (Group("", files),), n_text=2, is_prose=True),
        Folded("Settings of the study, as read",
               (Pre(json.dumps(material.data.config.model_dump(mode="json"), indent=1, ensure_ascii=False)),)),
    ]  # fmt: skip
    return Chapter("provenance", "Provenance", tuple(blocks))


def _opening(material: Material) -> str:
    """What ran, in one paragraph."""
    run = material.run
    return (
        f"This report was made by aspects-cohort {run.version} (run {run.run_id}, settings "
        f"{run.settings_digest[:12]}, code "
        f"{run.code_digest[:12]}). A label map was laid over "
        "each lesion (masks in template space; scans registered to the template in their own space), the share of each "
        "region that is lesion was stored, and a rule turned shares into affected regions; baselines without a lesion "
        "compare each region's density with the other side. Each affected region takes one point off ten. "
        "Lesion volume is the number of lesion voxels times the determinant of the image's affine."
    )


def _source_sentences(material: Material) -> Iterable[str]:
    """One sentence per source: map, rule and laterality."""
    config = material.data.config
    for source in config.source:
        laterality = _LATERALITY[source.laterality]
        about = f" {source.description}" if source.description else ""
        if isinstance(source, ReadingsSource):
            yield f"Readers: every reader and session of readings.tsv is a source of its own; {laterality}.{about}"
        elif source.name in material.data.absent:
            yield f"{source.name}: not measured. {material.data.absent[source.name]}{about}"
        else:
            name = material.data.map_names.get(source.name, config.regions_of(source))
            is_drawn = isinstance(source, OnScanSource) and source.registration == "network"
            by = f" drawn by {REGION_NETWORK} with the atlas" if is_drawn else ""
            how = f"{source.phrase}, label map {name}{by}" if source.scans else source.phrase
            if not source.is_scoring:
                yield f"{source.name}: {how}; it describes regions and gives no score.{about}"
                continue
            rule = _rule_text(material, config.rule_of(source))
            yield f"{source.name}: {how}, rule {source.rule_name} ({rule}); {laterality}.{about}"


def _rule_text(material: Material, rule: Rule) -> str:
    """When a region counts as affected."""
    if isinstance(rule, DensityRule):
        return rule.source
    if isinstance(rule, AsGiven):
        return "affected where the software says so"
    if isinstance(rule, ProbabilityRule):
        return ", ".join(f"{words(region)} {OPERATOR_SIGNS['ge']} {cut:.3g}" for region, cut in rule.cuts.items())
    declared = next((item for item in material.data.config.rule if item.name == rule.name), None)
    if isinstance(declared, FractionRule):
        sign = OPERATOR_SIGNS[declared.operator]
        return (
            f"deep regions {sign} {declared.deep:.3g}, cortical {sign} {declared.cortical:.3g} of the region, at least "
            f"{declared.minimum_voxels} voxels"
        )
    if isinstance(declared, PerRegionRule):
        sign = OPERATOR_SIGNS[declared.operator]
        return ", ".join(f"{words(region)} {sign} {cut:.3g}" for region, cut in declared.cuts.items())
    if not isinstance(rule, RegionRule):
        return rule.name
    deep, cortical = (
        f"{OPERATOR_SIGNS[operator]} {cut:.3g}" for operator, cut in (rule.cuts["caudate"], rule.cuts["m1"])
    )
    return f"affected when the lesion's share of a deep region is {deep}, of a cortical region {cortical}"


def _eligibility(material: Material) -> Iterable[str]:
    """The declared eligibility rules in words."""
    rules = material.data.config.eligibility
    if rules.minimum_max_diameter_mm is not None:
        yield f"The largest diameter of the lesion is at most {rules.minimum_max_diameter_mm:g} mm (lacunar)."
    if rules.minimum_mca_share is not None:
        yield f"Less than {100 * rules.minimum_mca_share:g} % of the lesion lies in MCA territory."
    if rules.maximum_aca_share is not None:
        yield f"More than {100 * rules.maximum_aca_share:g} % of the lesion lies in ACA territory."
    if rules.maximum_pca_share is not None:
        yield f"More than {100 * rules.maximum_pca_share:g} % lies in PCA and posterior-fossa territory."
    if rules.maximum_volume_ml is not None:
        yield f"The lesion is larger than {rules.maximum_volume_ml:g} ml, which is implausible."
    if rules.required_columns:
        yield f"One of these is missing: {', '.join(material.label(column) for column in rules.required_columns)}."


def _methods_table(material: Material) -> TableView:
    """Every method that a row of this report names, with what it was used for."""
    used: dict[str, dict[str, dict[str, None]]] = {}
    for row in material.statistics.rows:
        if "not estimable" not in row.method:
            quantity = words(row.quantity)
            used.setdefault(row.section, {}).setdefault(row.method, {})[quantity] = None
    groups = tuple(
        Group(
            _SECTION_TITLES.get(section, section),
            tuple((Cell(method), Cell(", ".join(quantities))) for method, quantities in methods.items()),
        )
        for section, methods in used.items()
    )
    return TableView("Every method used, and what for", ("Method", "Numbers"), groups, n_text=2, is_prose=True)


def _pairs(facts: Iterable[tuple[str, str]]) -> tuple[tuple[Cell, ...], ...]:
    """Names and values as lines."""
    return tuple((Cell(name), Cell(value)) for name, value in facts)
