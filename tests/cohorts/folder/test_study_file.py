import time

import pytest

from cohorts.folder.manifest import CohortError
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, write_small_cohort

TOP_LEVEL = (
    "study, template, source, rule, clinical, severity, outcome, clinical_side, eligibility, gate, guards, "
    "dichotomy, agreement, drawn_regions, table, analysis"
)
MASK = '[study]\nname = "x"\n[[source]]\nname = "a"\nkind = "mask"\n'
LOADS = '[[rule]]\nname = "r"\nkind = "per_region"\n'


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


def refusals(folder, text):
    """Texts of the problems of a ``cohort.toml``, without the file's name."""
    (folder / "cohort.toml").write_text(text)
    with pytest.raises(CohortError) as caught:
        read_cohort(folder)
    assert all(problem.stops_the_study for problem in caught.value.problems)
    return [problem.text.removeprefix("cohort.toml, ") for problem in caught.value.problems]


def test_every_problem_of_a_file_is_named_with_its_row(folder):
    text = """\
outcom = "mrs"
seed = 3
[study]
nam = "a"
seed = -1
bootstrap_resamples = "many"
[[source]]
name = "A B"
kind = "mask"
regoins = "x"
laterality = "worse"
[[source]]
name = "b"
[[source]]
kind = "masks"
[severity]
grades = [{ name = "a", minimum = 1, maximu = 2 }]
[[dichotomy]]
name = "a"
cut = "x"
operator = ">="
outcome = "mrs"
[eligibility]
required_columns = "age"
"""
    kinds = (
        "mask, native_mask, density_ratio, dwi_threshold, dwi_unet, dwi_dichotomy, ctp_core, cbf_map, ncct_overlap, "
        "ncct_asymmetry, radiomics, ncct_radiomics, cta_radiomics, results, command, readings"
    )
    source_keys = "kind, name, regions, laterality, most_fluid, description, rule, modality"
    assert refusals(folder, text) == [
        f"row 1, key outcom: must be one of {TOP_LEVEL}. Did you mean outcome? Rename or delete it.",
        f"row 2, key seed: must be one of {TOP_LEVEL}. Does it belong in [study]? Rename or delete it.",
        "row 3, key study.name: must be given. Add name = ... to this section.",
        "row 4, key study.nam: must be one of name, description, synthetic, pictures, may_reidentify, seed, "
        "bootstrap_resamples. Did you mean name? Rename or delete it.",
        "row 5, key study.seed: value -1 must be greater than or equal to 0. Correct it.",
        "row 6, key study.bootstrap_resamples: value many must be a valid integer. Correct it.",
        "row 8, key source[1].name: value A B must be lower-case letters, digits and _ : . -, beginning with a letter "
        "or digit. Correct it.",
        f"row 10, key source[1].regoins: must be one of {source_keys}. Did you mean regions? Rename or delete it.",
        "row 11, key source[1].laterality: value worse must be one of worst, lesion_side, clinical_side, both. "
        "Did you mean worst? Correct it.",
        f"row 12, key source[2]: must have kind = one of {kinds}. Add kind to this section.",
        f"row 14, key source[3]: kind must be one of {kinds}. Did you mean mask? Correct it.",
        "row 17, key severity.grades[1].maximum: must be given. Add maximum = ... to this section.",
        "row 17, key severity.grades[1].maximu: must be one of name, minimum, maximum. Did you mean maximum? "
        "Rename or delete it.",
        "row 20, key dichotomy[1].cut: value x must be a valid number. Correct it.",
        "row 21, key dichotomy[1].operator: value >= must be one of ge, gt, le, lt. Did you mean ge? Correct it.",
        "row 22, key dichotomy[1].outcome: must be one of name, on, cut, operator, source, primary. "
        "Does it belong at the top of the file, before the first section? Rename or delete it.",
        "row 24, key eligibility.required_columns: value age must be a list. Write required_columns = [...].",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = = 3", "row 1: must be valid TOML (invalid value). Look for a missing quote, bracket or"),
        ("source = []", "row 1, key source: must have at least one entry. Add a [[source]]."),
        ('[source]\nname = "a"', "row 1, key source: must be a list. Write [[source]] with double brackets."),
        ('study = "x"', "row 1, key study: value x must be a section with keys. Write [study] and its keys below it."),
        ('source = ["a"]', "row 1, key source[1]: value a must be a section with keys. Write [[source]] and its keys"),
        ('[study]\nname = ""', "row 2, key study.name: value '' must not be empty. Write a text."),
        (
            f"{MASK}[guards]\nchronic_volume_ml = 0",
            "row 7, key guards.chronic_volume_ml: value 0 must be greater than 0.",
        ),
        (f"{MASK}{LOADS}[rule.cuts]\nm1 = 3", "row 10, key rule[1].cuts.m1: value 3 must be less than or equal to 1."),
        (f"{MASK}{LOADS}cuts = {{ m1 = 0.3 }}", "row 6, key rule[1]: cuts must name exactly caudate, lentiform,"),
    ],
)
def test_one_problem(folder, text, expected):
    assert any(refusal.startswith(expected) for refusal in refusals(folder, text)), refusals(folder, text)


def test_sections_that_contradict_each_other_are_named_one_by_one(folder):
    text = MASK + '[[source]]\nname = "a"\nkind = "mask"\nrule = "we"\n'
    assert refusals(folder, text) == [
        "cohort.toml: source 'a' is declared 2 times. Correct it.",
        "cohort.toml: source 'a': rule must be one of any, wei, danet, got 'we'. Correct it.",
    ]


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(CohortError, match=r"cohort\.toml: must exist\. Add the file; 'aspects init' writes an example"):
        read_cohort(tmp_path)
    with pytest.raises(CohortError, match="none must be in a folder that exists"):
        read_cohort(tmp_path / "none")


MAP_REMEDY = "Give classic, territory, or a NIfTI label map with its table (.tsv) beside it."


@pytest.mark.parametrize(
    ("regions", "reason", "text"),
    [
        (
            "teritory",
            "label_map_not_nifti",
            "value teritory must end in .nii or .nii.gz (label map of lesion). Did you mean territory? " + MAP_REMEDY,
        ),
        (
            "../maps/x.nii.gz",
            "label_map_path_escapes_cohort",
            "value ../maps/x.nii.gz must stay inside the cohort folder (label map of lesion). " + MAP_REMEDY,
        ),
        (
            "maps/x.nii.gz",
            "label_map_file_missing",
            "value maps/x.nii.gz must be a file in the cohort folder (label map of lesion). " + MAP_REMEDY,
        ),
        (
            "lesions/10.nii.gz",
            "label_map_file_missing",
            "value lesions/10.tsv must be a file in the cohort folder (label map of lesion). " + MAP_REMEDY,
        ),
    ],
)
def test_a_label_map_that_cannot_be_used_stops_the_study(folder, regions, reason, text):
    change(folder, "cohort.toml", 'kind = "mask"', f'kind = "mask"\nregions = "{regions}"')
    assert [(problem.reason, problem.text) for problem in read_cohort(folder).study_problems] == [
        (reason, f"cohort.toml, key regions: {text}")
    ]


def test_a_label_map_with_its_table_is_accepted(folder):
    change(folder, "cohort.toml", 'kind = "mask"', 'kind = "mask"\nregions = "lesions/10.nii.gz"')
    (folder / "lesions" / "10.tsv").write_text("index\n")
    assert read_cohort(folder).problems == ()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            'not_before = "onset"',
            'not_before = "onst"',
            "clinical scan: not_before: value onst must compare two columns read as date (onset). Did you mean onset? "
            "Correct it.",
        ),
        (
            'top_code = "89+"',
            'top_code = "old"',
            "clinical age: top_code: value old must contain its number, such as 89+. Correct it.",
        ),
        (
            'outcome = "mrs"',
            'outcome = "note"',
            "clinical note: read_as: value text must be integer or number for the outcome column. Correct it.",
        ),
        (
            'clinical_side = "affected"',
            'clinical_side = "smoker"',
            "clinical smoker: levels: value none must be left and right for the clinical_side column. "
            'Write levels = { left = "left", right = "right" }.',
        ),
    ],
)
def test_a_clinical_column_declared_for_what_it_is_not(folder, old, new, text):
    change(folder, "cohort.toml", old, new)
    assert [problem.text for problem in read_cohort(folder).study_problems] == [f"cohort.toml, key {text}"]


def test_a_clinical_column_may_not_take_a_name_of_the_table(folder):
    text = (folder / "cohort.toml").read_text()
    for name in ("participant_id", "status"):
        (folder / "cohort.toml").write_text(f'{text}[[clinical]]\ncolumn = "{name}"\nread_as = "integer"\n')
        (problem,) = read_cohort(folder).study_problems
        assert (problem.reason, problem.value) == ("reserved_column", name)


BEFORE = """\
# a comment with " and [
[study]
name = "x # [ x"
"""


@pytest.mark.parametrize(
    "between",
    [
        'notes = """\nfirst\nseed = 3\n[source]\n"""\n',
        "notes = '''a\nb = 1\n[[source]]'''\n",
        'notes = """one line"""\n',
        'notes = """\\"""\nseed = 3"""\n',
        'notes = ["a",\n  "b = c", # ] of a comment\n  ["d"],\n]\n',
        "notes = [\n  [1, 2],\n  [3],\n]\n",
        'notes = "it\'s ["\n',
        "",
    ],
)
def test_a_row_is_right_whatever_spans_the_rows_before_it(folder, between):
    text = f'{BEFORE}nam = "b"\n{between}[[source]]\nname = "a"\nkind = "mask"\nregoins = "x"\n'
    row = text.split("\n").index('regoins = "x"') + 1
    found = refusals(folder, text)
    assert any(refusal.startswith("row 4, key study.nam: must be one of") for refusal in found)
    assert any(refusal.startswith(f"row {row}, key source[1].regoins: must be one of") for refusal in found)


def test_dotted_and_quoted_keys_have_rows(folder):
    text = '"study".name = "x"\nstudy.nam = 1\nsource = [{ name = "a", kind = "mask",\n  regoins = 1 }]\n'
    assert any(refusal.startswith("row 2, key study.nam: ") for refusal in refusals(folder, text.replace("\n  ", " ")))


DEEP = 100_000


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (2, "\n" + ".".join("a" * DEEP) + " = 1\n"),
        (1, "[" + ".".join("a" * DEEP) + "]\n"),
        (1, '"a' + '" . "a' * DEEP + '" = 1\n'),
        (1, "a = " + "[" * DEEP),
        (2, "a = [\n" + "[" * 30 + "]" * 31),
        (1, "a = " + "{a = " * DEEP),
        (1, "a = {" + ".".join("a" * DEEP) + " = 1}\n"),
    ],
    ids=["key", "header", "quoted", "lists", "closed lists", "tables", "key in a table"],
)
def test_keys_nested_without_end_are_refused_at_once(folder, row, text):
    begun = time.monotonic()
    assert refusals(folder, text) == [
        f"row {row}: must nest keys and brackets at most 20 deep. Look for a damaged line."
    ]
    assert time.monotonic() - begun < 5


def test_dots_and_brackets_in_a_text_are_not_nested(folder):
    text = MASK.replace('name = "x"', 'name = "' + "1.2[{" * 200 + '"')
    (folder / "cohort.toml").write_text(text)
    (folder / "readings.tsv").unlink(missing_ok=True)
    assert read_cohort(folder).config.study.name.startswith("1.2[{1.2")


def test_a_study_far_too_large_is_not_read(folder):
    text = "#" * 1_000_001
    assert refusals(folder, text) == [
        "cohort.toml: must have at most 1 MB, got 1.0 MB. Look whether this is the right file."
    ]
