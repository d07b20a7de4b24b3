"""What is allowed and most likely not meant is one warning that names the pattern; what a column may do about it."""

from __future__ import annotations

import unicodedata

import pytest

from cohorts.folder.clinical_column import ClinicalColumn, clinical_column
from cohorts.folder.suspicions import ids_of_one_number, ids_problem, likely_same_ids, suspicious_values
from cohorts.folder.tsv import Row, TsvTable
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort

VENDOR = """
[[source]]
name = "vendor"
kind = "results"
file = "vendor.csv"
id = "Patient"
columns = {Core = "volume_ml"}

"""


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


def _more_rows(folder, ages, sites=("n",) * 9):
    """Further participants with readings, so that nothing but their values is odd."""
    with (folder / "participants.tsv").open("a") as table, (folder / "readings.tsv").open("a") as readings:
        for number, (age, site) in enumerate(zip(ages, sites, strict=False), start=20):
            table.write(f"sub-{number}\t{site}\t3\t0\t25\tleft\t1\t{age}\tn/a\tn/a\tn/a\n")
            readings.write(f"sub-{number}\tB\tn/a\t1\tn/a\t7" + "\tn/a" * 11 + "\n")


def _texts(folder, reason):
    return [problem.text for problem in read_cohort(folder).problems if problem.reason == reason]


@pytest.mark.parametrize("code", ["-999", "999", "-9", "8888", "-1"])
def test_codes_for_missing_are_named_where_no_range_is_declared(folder, code):  # case 24
    _more_rows(folder, ["61", code, "70", code])
    (text,) = _texts(folder, "likely_missing_code")
    assert text == (
        f"participants.tsv, row 6, column age: value {code} looks like a code for missing, far from all others "
        "(55 to 71), and is read as a number (rows 6, 8). Write n/a if it is one; declare minimum and maximum for the "
        "column in cohort.toml."
    )


def test_a_high_value_among_others_is_no_code(folder):
    _more_rows(folder, ["88", "77", "99"])  # ages of 55 to 71: 99 is 28 above, within twice their spread of 16
    assert _texts(folder, "likely_missing_code") == []


def test_one_site_in_two_spellings_and_words_for_missing(folder):
    _more_rows(folder, ["61"] * 6, ["North", "north", "NORTH ", "NA", "north", '"north"'])
    (text,) = _texts(folder, "likely_one_level")
    assert "north (rows 6, 9)" in text
    assert all(one in text for one in ("North (row 5)", "NORTH (row 7)", '"north" (row 10)', "are most likely one"))
    (text,) = _texts(folder, "likely_missing_code")
    assert text.startswith("participants.tsv, row 8, column site: value NA looks like a word for missing")
    (text,) = _texts(folder, "quoted_cells")  # case 23
    assert "must be written without double quotes, which are read as part of the value (row 10)" in text


def test_a_table_in_quotes_is_named_as_such(folder):
    lines = (folder / "participants.tsv").read_text().splitlines()
    quoted = ["\t".join(f'"{cell}"' for cell in line.split("\t")) for line in lines]
    (folder / "participants.tsv").write_text("\n".join(quoted) + "\n")
    (text,) = _texts(folder, "quoted_cells")
    assert text == (
        "participants.tsv, row 1: must be written without quotes, got cells in double quotes. Write it again without "
        "quotes (in R: quote = FALSE), or bring it in by 'aspects import-table'."
    )


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        ("sub-10", "sub-0010", "1 of 1 ids match after zero-padding (sub-10 is sub-0010)"),
        ("sub-10", "sub-1_0", "but for case, accents, punctuation or zeros"),
    ],
)
def test_ids_that_differ_in_spelling_alone_are_one_line(folder, old, new, how):  # case 22
    text = (folder / "scans.tsv").read_text()
    (folder / "scans.tsv").write_text(text.replace("sub-10\t", f"{new}\t"))
    text = (folder / "readings.tsv").read_text()
    (folder / "readings.tsv").write_text("".join(line for line in text.splitlines(True) if "sub-10" not in line))
    (text,) = _texts(folder, "ids_spelt_otherwise")
    assert how in text


def test_a_decomposed_file_name_and_upper_case_are_named(folder):  # case 26
    name = "läsion.nii.gz"
    (folder / "lesions" / "10.nii.gz").rename(folder / "lesions" / unicodedata.normalize("NFD", name))
    change(folder, "scans.tsv", "lesions/10.nii.gz", f"lesions/{unicodedata.normalize('NFC', name)}")
    (text,) = _texts(folder, "file_missing")
    assert "with its accents decomposed, as macOS writes it: rename the file, or the row." in text
    change(folder, "scans.tsv", "lesions/2.nii", "lesions/2.NII")
    assert "The folder holds 2.nii: write upper and lower case as there." in "".join(_texts(folder, "file_missing"))


def test_a_column_may_keep_its_participant_without_the_value(folder):
    change(folder, "participants.tsv", "31 left yes", "31,5 left yes")
    assert [(who, reason) for who, reason, _ in found(read_cohort(folder))] == [("sub-2", "not_a_number")]
    change(folder, "cohort.toml", "minimum = 10", 'minimum = 10\non_problem = "missing"')
    cohort = read_cohort(folder)
    assert cohort.participant_problems == ()
    assert cohort.warnings[0].text == (
        "participants.tsv, row 4, column bmi: value 31,5 must be a number; it is read as n/a. "
        "Write the decimal point as a point."
    )
    assert cohort.participants.set_index("participant_id")["bmi"].isna()["sub-2"]


def test_levels_have_several_spellings_and_each_is_printed_once(folder):
    levels = '{ left = ["L", "links"], right = "right" }'
    change(folder, "cohort.toml", '{ left = "left", right = "right" }', levels)
    change(folder, "participants.tsv", "25.5 left 1", "25.5 links 1")
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    assert cohort.participants["affected"].tolist() == ["left", "right", "left"]


def test_levels_of_one_meaning_are_one_level_and_numbers_stay_themselves():
    sex = ClinicalColumn(
        column="sex", read_as="category", levels={"F": "female", "f": "female", "w": "female", "M": "male"}
    )
    assert sex.level_titles == {"F": "female", "M": "male"}
    assert [sex.level_of[one] for one in ("f", "w", "M")] == ["F", "F", "M"]
    mrs = ClinicalColumn(column="mrs", read_as="integer", levels={"0": "good", "1": "good", "6": ("dead",)})
    assert mrs.level_of == {"0": "0", "1": "1", "6": "6", "dead": "6"}
    with pytest.raises(ValueError, match="each spelling to one level, got x twice"):
        ClinicalColumn(column="side", read_as="category", levels={"left": ("x",), "right": ("x",)})


def _suspicions(texts, **column):
    """Reasons and texts of the warnings about one column of a table."""
    rows = tuple(Row(at, f"sub-{at}", {"participant_id": f"sub-{at}", "x": text}) for at, text in enumerate(texts, 2))
    table = TsvTable("participants.tsv", ("participant_id", "x"), rows)
    return [problem.text for problem in suspicious_values(table, [clinical_column(column="x", **column)])]


@pytest.mark.parametrize(
    ("read_as", "texts", "codes"),
    [
        ("number", "5.1 5.2 -99.9 999.9 6.1 7.0", {"-99.9", "999.9"}),
        ("number", "120 130 0 140 150 133", {"0"}),  # no blood pressure
        ("number", "0 1 2 3 4 0", set()),
        ("number", "9.9 8.8 7.1 6.0", set()),
        ("category", "1 2 9 3 99 1 2 -9", {"9", "99", "-9"}),
        ("category", "1 2 3 4 5 6 7 8 9", set()),
        ("category", "A B 9 C", set()),
        ("date", "2024-03-01 1900-01-01 9999-12-31T00:00 1899-12-30 2024-02-02", {"1900-01-01", "9999", "1899-12-30"}),
        ("date", "2024-03-01 1024-03-01 1948-03-01", {"1024-03-01"}),
    ],
)
def test_codes_for_missing_of_every_kind_of_column_are_named(read_as, texts, codes):
    found = _suspicions(texts.split(), read_as=read_as)
    assert all("looks like a code for missing" in text for text in found), found
    assert len(found) == len(codes)
    assert {code for code in codes if any(f"value {code}" in text for text in found)} == codes


@pytest.mark.parametrize(
    ("spelt", "told"),
    [
        ("{}.0", "sub-1.0 is sub-001"),
        ("P{:03}", "sub-P001 is sub-001"),
        ("ST-{}", "sub-ST-1 is sub-001"),
        ("{:03}_v1", "sub-001_v1 is sub-001"),
        ("2024-{:02}", "sub-2024-01 is sub-001"),
    ],
)
def test_ids_with_other_letters_around_one_number_are_one_line(spelt, told):
    theirs = [f"sub-{number:03}" for number in range(1, 5)]
    ours = ["sub-" + spelt.format(number) for number in range(1, 5)]
    pairs = likely_same_ids(theirs, ours) or ids_of_one_number(theirs, ours)
    assert pairs == list(zip(theirs, ours, strict=True))
    assert f"4 of 4 ids match by their numbers alone ({told}" in ids_problem("scans.tsv", pairs, 4).text


def test_numbers_that_agree_by_chance_pair_nobody():
    assert ids_of_one_number(["sub-A1", "sub-B1", "sub-C7"], ["sub-1", "sub-2", "sub-7"]) == []
    assert likely_same_ids(["sub-1.0"], ["sub-10"]) == []


def test_a_row_that_was_copied_to_another_participant_is_named_and_common_values_are_not():
    columns = ("participant_id", "nihss", "age", "glucose")
    values = [(27, 83, 9.4), (4, 61, 6.1), (4, 61, 6.1), (27, 83, 9.4)]
    values += [(4, 40 + number, 6.1 if number % 2 else 7 + number) for number in range(22)]
    rows = []
    for at, row in enumerate(values, start=2):
        cells = dict(zip(columns, (f"sub-{at}", *map(str, row)), strict=True))
        rows.append(Row(at, f"sub-{at}", cells))
    declared = [clinical_column(column=name, read_as="number", minimum=0, maximum=200) for name in columns[1:]]
    # 26 x 26 pairs x (1/26)^3 = .04 with the values of rows 2 and 5, 26 x 26 x 23/26 x 2/26 x 12/26 = 21 with 3 and 4
    (problem,) = suspicious_values(TsvTable("participants.tsv", columns, tuple(rows)), declared)
    assert (problem.reason, problem.row, problem.is_warning) == ("same_values", 2, True)
    assert "sub-5 has the same values in all 3 clinical columns" in problem.text


def test_a_volume_that_other_software_writes_for_none_is_named(folder):
    with (folder / "cohort.toml").open("a") as study:
        study.write(VENDOR)
    volumes = ("12.5", "999.9", "3", "40", "0", "-1")
    lines = [f"sub-{at},{volume}" for at, volume in enumerate(volumes, 1)]
    (folder / "vendor.csv").write_text("\n".join(["Patient,Core", *lines]) + "\n")
    (text,) = _texts(folder, "likely_missing_code")
    assert text.startswith("vendor.csv, row 3, column Core: value 999.9 looks like a code for missing, far from all")
