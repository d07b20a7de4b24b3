"""Tables of others: every kind of mess becomes what it says, or is refused with what to declare."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cohorts.dicom.link_table import LINK_COLUMNS
from flows.commands.failures import failure_of
from flows.commands.import_table import import_table
from flows.commands.table_request import TableRequest
from flows.sources.registry import read_cohort
from tests.cohorts.messy_tables import STUDY, TABLES, workbook


def _as_tsv(text):
    return text.replace(",", "\t")


def _cohort(folder, before="", table="participants.tsv"):
    folder.mkdir()
    (folder / "cohort.toml").write_text(STUDY, encoding="utf-8")
    if before:
        (folder / table).write_text(_as_tsv(before))
    return folder


def _import(file, cohort, ask=None, **options):
    """Run the command; its exit code and everything that it prints."""
    words = io.StringIO()
    request = TableRequest(file, cohort, **{"is_agreed": True, **options})
    try:
        code = import_table(request, Console(file=words, width=250), ask)
    except Exception as error:
        failure = failure_of(error)
        return failure.exit_code, words.getvalue() + failure.text
    return code, words.getvalue()


def _file(folder, content):
    path = folder / ("table.xlsx" if isinstance(content, dict) else "table.csv")
    if isinstance(content, dict):
        workbook(path, content)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("messy", TABLES, ids=lambda messy: messy.name[:60])
def test_a_messy_table_becomes_what_it_says_or_is_refused(tmp_path, messy):
    cohort = _cohort(tmp_path / "cohort", messy.before)
    options = dict(messy.options)
    if "dictionary" in options:
        (tmp_path / "dictionary.csv").write_bytes(options["dictionary"])
        options["dictionary"] = tmp_path / "dictionary.csv"
    code, words = _import(_file(tmp_path, messy.content), cohort, **options)
    assert [text for text in messy.says if text not in words] == [], words
    assert code == messy.exit_code, words
    written = cohort / f"{options.get('given', {}).get('into', 'participants')}.tsv"
    if messy.rows is None:
        assert (written.read_text() if written.exists() else "") == _as_tsv(messy.before)
        assert (cohort / "cohort.toml").read_text(encoding="utf-8") == STUDY
        return
    assert written.read_text() == _as_tsv(messy.rows)
    if written.name == "readings.tsv":
        (cohort / "participants.tsv").write_text("participant_id\n001\n002\n")
    reasons = {problem.reason for problem in read_cohort(cohort).problems}
    allowed = {"file_missing", "missing_column", "participant_without_scan", "all_values_missing", "empty_cell"}
    assert reasons <= allowed, reasons  # the folder reads every cell that was written


def test_a_mapping_is_stored_once_and_a_newer_file_needs_no_option(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    first = _file(tmp_path, b"Pat;NIHSS;Onset;Beruf\n001;12;03/04/2024;x\n")
    options = {"given": {"id": "Pat", "dates": "dmy"}, "maps": ("NIHSS=nihss", "Onset=onset"), "ignored": ("Beruf",)}
    assert _import(first, cohort, **options)[0] == 0
    study = (cohort / "cohort.toml").read_text(encoding="utf-8")
    assert study.startswith(STUDY)  # a person's own lines stay letter by letter
    mapping = read_cohort(cohort).config.table[0]
    assert (mapping.id, mapping.dates, mapping.columns) == ("Pat", "dmy", {"NIHSS": "nihss", "Onset": "onset"})
    newer = tmp_path / "newer.csv"
    newer.write_bytes(b"Pat;NIHSS;Onset;Beruf;Neu\n001;13;03/04/2024;x;1\n002;4;05/04/2024;y;2\n")
    code, words = _import(newer, cohort)
    assert code == 0
    assert "12 -> 13; has another value in the file" in words
    assert "not imported: Neu" in words
    assert (cohort / "participants.tsv").read_text() == _as_tsv(
        "participant_id,nihss,onset\nsub-001,13,2024-04-03\nsub-002,4,2024-04-05\n"
    )
    assert (cohort / "cohort.toml").read_text(encoding="utf-8") == study
    code, words = _import(newer, cohort)
    assert "No value of participants.tsv changes." in words
    assert words.endswith("There is nothing to write.\n")
    log = (cohort / "import_changes.tsv").read_text().splitlines()
    assert len([line for line in log if "\tchanged\t" in line]) == 1
    assert len(log) == 1 + 2 + 4  # the first import: one new, one date; the second: one changed, one new, two dates


def test_a_newer_file_without_a_mapped_column_is_refused(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    _import(_file(tmp_path, b"Pat,NIHSS\n001,12\n"), cohort, given={"id": "Pat"}, maps=("NIHSS=nihss",))
    code, words = _import(_file(tmp_path, b"Pat,NIHS\n001,13\n"), cohort)
    assert code == 2
    assert "NIHSS must be a column of FILE (Pat, NIHS). Did you mean NIHS?" in words


def test_nothing_is_written_by_a_dry_run_or_without_consent(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    file = _file(tmp_path, b"Pat,NIHSS\n001,12\n")
    options = {"given": {"id": "Pat"}, "maps": ("NIHSS=nihss",)}
    listing = tmp_path / "changes.tsv"
    assert _import(file, cohort, is_dry=True, listing=listing, **options)[0] == 0
    assert listing.read_text().splitlines()[1].split("\t")[:3] == ["added", "sub-001", "2"]
    assert _import(file, cohort, is_agreed=False, **options)[0] == 2
    assert _import(file, cohort, is_agreed=False, ask=lambda _question: "n", **options)[0] == 0
    assert sorted(path.name for path in cohort.iterdir()) == ["cohort.toml"]


def test_a_person_at_a_terminal_is_asked_for_all_that_is_not_known(tmp_path):
    cohort = _cohort(tmp_path / "cohort", "participant_id\nsub-001\nsub-002\n")
    content = b"Patient;NIHSS bei Aufnahme;Onset;Name;Alter\n1;12;03/04/2024;x;60\n2;>20;04/05/2024;y;70\n"
    answers = {
        "Which column names the participant": "",
        "NIHSS bei Aufnahme": "",
        "Onset": "",
        "Name": "-",
        "Alter": "age:integer",
        "Which is it in this table": "dmy",
        "Fill ids with zeros to 3 digits": "y",
        "What does it mean": "n/a",
        "Write these changes": "y",
    }
    asked = []

    def ask(question):
        asked.append(question)
        return next(answer for start, answer in answers.items() if question.startswith(start))

    code, words = _import(_file(tmp_path, content), cohort, ask=ask, is_agreed=False)
    assert code == 0, words
    assert (cohort / "participants.tsv").read_text() == _as_tsv(
        "participant_id,nihss,onset,age\nsub-001,12,2024-04-03,60\nsub-002,n/a,2024-05-04,70\n"
    )
    assert asked[1] == "NIHSS bei Aufnahme (such as 12, >20) [nihss]: "
    study = read_cohort(cohort).config
    assert study.clinical[-1].column == "age"
    assert study.table[0].ignored == ("Name",)
    assert study.table[0].values == {"nihss": {">20": "n/a"}}


def test_ids_of_another_kind_come_through_a_link_table_and_are_never_printed(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    link = tmp_path / "link.tsv"
    link.write_text("participant_id\tmrn\nsub-a1\t4711007\nsub-a2\t4711008\n")
    file = _file(tmp_path, b"MRN,NIHSS\n4711007,12\n4711009,3\n")
    code, words = _import(file, cohort, given={"id": "MRN"}, maps=("NIHSS=nihss",), link=link)
    assert code == 1
    assert (cohort / "participants.tsv").read_text() == "participant_id\tnihss\nsub-a1\t12\n"
    everything = words + "".join(path.read_text() for path in cohort.iterdir())
    assert "4711" not in everything


def test_the_link_table_of_an_import_joins_a_clinical_table_by_the_patients_number(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    link = tmp_path / "links.tsv"
    one = "4711007\tNORTH\t1.2\t1.2.3\tin\t[]"
    link.write_text(
        "\t".join(LINK_COLUMNS) + f"\nsub-a1\tsub-a1/ct/x.nii.gz\t{one}\nsub-a1\tsub-a1/ct/y.nii.gz\t{one}\n"
    )
    file = _file(tmp_path, b"MRN,NIHSS\n4711007,12\n")
    given = {"given": {"id": "MRN"}, "maps": ("NIHSS=nihss",), "link": link}
    link.chmod(0o644)
    code, words = _import(file, cohort, **given)
    assert (code, "must be readable by its owner alone (mode 600), got mode 644" in words) == (2, True)
    link.chmod(0o600)
    code, words = _import(file, cohort, **given)
    assert (code, (cohort / "participants.tsv").read_text()) == (0, "participant_id\tnihss\nsub-a1\t12\n")
    link.write_text(link.read_text() + f"sub-b2\tsub-b2/ct/x.nii.gz\t{one.replace('NORTH', 'SOUTH')}\n")
    code, words = _import(file, cohort, **given)
    assert (code, "one participant for every id, and 1 ids have several" in words, "4711" in words) == (2, True, False)


def test_zeros_that_a_spreadsheet_took_from_the_hospitals_number_are_told_and_put_back_where_declared(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    link = tmp_path / "link.tsv"
    link.write_text("participant_id\tmrn\nsub-a1\t0047\nsub-a2\t0048\nsub-a3\t5048\n")
    file = _file(tmp_path, b"MRN,NIHSS\n47,12\n5048,3\n49,1\n")
    given = {"given": {"id": "MRN"}, "maps": ("NIHSS=nihss",), "link": link}
    code, words = _import(file, cohort, is_dry=True, **given)
    assert code == 1
    assert "row 2, MRN: the id is not in the link table; with zeros in front it is: give --id-digits 4\n" in words
    assert "row 4, MRN: the id is not in the link table\n" in words
    given["given"]["id_digits"] = 4
    code, words = _import(file, cohort, **given)
    assert (code, "sub-a1, row 2, MRN: zeros are put in front" in words) == (1, True)  # row 4 is still left out
    assert (cohort / "participants.tsv").read_text() == "participant_id\tnihss\nsub-a1\t12\nsub-a3\t3\n"
    assert [word for word in ("0047", "5048") if word in words + (cohort / "import_changes.tsv").read_text()] == []


def test_fields_that_identify_people_are_refused(tmp_path):
    from tests.cohorts.messy_tables import REDCAP_DICTIONARY

    cohort = _cohort(tmp_path / "cohort")
    dictionary = tmp_path / "dictionary.csv"
    dictionary.write_bytes(REDCAP_DICTIONARY)
    file = _file(tmp_path, b"record_id,name\n1,Somebody\n")
    code, words = _import(file, cohort, given={"id": "record_id"}, maps=("name=name:text",), dictionary=dictionary)
    assert (code, sorted(path.name for path in cohort.iterdir())) == (2, ["cohort.toml"])
    assert "name must not be imported: the dictionary says that it identifies people." in words


def test_an_options_fault_is_named_with_what_is_likely_meant(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    file = _file(tmp_path, b"Pat,NIHSS bei Aufnahme\n001,12\n")
    code, words = _import(file, cohort)
    assert code == 2
    assert "Give --id COLUMN." in words
    assert '--map "NIHSS bei Aufnahme=nihss"' in words
    for maps, told in ((("NIHSS",), "must be COLUMN=NAME"), (("Pat=nihs",), "Did you mean nihss?")):
        code, words = _import(file, cohort, given={"id": "Pat"}, maps=maps)
        assert code == 2
        assert told in words


def test_repeating_instruments_of_redcap_have_a_column_for_every_instance(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    head = b"record_id,redcap_repeat_instrument,redcap_repeat_instance,sex,nihss\n"
    file = _file(tmp_path, head + b"1,,,F,\n1,exam,1,,12\n1,exam,2,,4\n")
    code, words = _import(file, cohort, given={"id": "record_id"}, maps=("nihss@exam#1=nihss",))
    assert code == 0, words
    assert (cohort / "participants.tsv").read_text() == _as_tsv("participant_id,nihss,sex\nsub-1,12,F\n")
    assert "not imported: nihss@exam#2" in words


def test_what_is_declared_must_be_readable_and_what_is_there_must_not_be_lost(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    file = _file(tmp_path, b"Pat,NIHSS\n1,<5\n")
    options = {"given": {"id": "Pat"}, "maps": ("NIHSS=nihss",)}
    code, words = _import(file, cohort, values=("nihss:<5=few",), **options)
    assert (code, "must be a whole number" in words) == (3, True)
    (cohort / "participants.tsv").write_text(_as_tsv("participant_id,nihss\nsub-1,3,surplus\n"))
    code, words = _import(file, cohort, values=("nihss:<5=4",), **options)
    assert (code, "rows with more cells than its header" in words) == (3, True)


def test_a_column_of_names_is_not_taken_in_without_a_word(tmp_path):
    cohort = _cohort(tmp_path / "cohort")
    file = _file(tmp_path, b"Pat,Surname\n1,Somebody\n")
    _, words = _import(file, cohort, given={"id": "Pat"}, maps=("Surname=label:text",), is_dry=True)
    assert "CAUTION: Surname may identify people" in words
