"""Who is one person: identifiers against all else that files say. All people are synthetic."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.index import Index
from cohorts.dicom.patient_header import PatientHeader
from cohorts.dicom.patients import IntakeRules, find_patients, same_person_of
from cohorts.dicom.register import Register, read_register, write_register

KEY = Pseudonymiser(bytes(range(7, 39)))
NO_RULES, EMPTY = IntakeRules(), Register()
JANE = PatientHeader("4711", "", "DOE^JANE", "19400316", "F", "", "20240302", "1.1", "a")


def _found(*headers, rules=NO_RULES, register=EMPTY):
    """Everybody in files with such headers, one file each."""
    files = {}
    for number, header in enumerate(headers):
        files.setdefault(header, []).append(f"{header.folder}/{number}.dcm")
    places = {name: place for place, name in enumerate(sorted({header.folder for header in headers}), start=1)}
    return find_patients(Index(files, Counter()), KEY, register, rules, places)


def _refusals(*headers, **given):
    """Kind and text of the refusals."""
    return [(one.refusal.kind, one.refusal.text) for one in _found(*headers, **given).patients if one.refusal]


def _twins(*headers, **given):
    return [one for one in _found(*headers, **given).findings if one.kind == "likely_one_person"]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"birth_date": "19550720"}, "2 birth dates"),
        ({"birth_date": "19400317"}, "2 birth dates"),
        ({"sex": "M"}, "2 sexes"),
        ({"name": "MILLER^ANN"}, "2 names"),
        ({"name": "MILLER^ANN", "birth_date": "", "sex": ""}, "2 names"),
        ({"name": "DOE^JOHN", "birth_date": "", "sex": ""}, "2 names"),  # nothing confirms what they share
        ({"name": "MILLER^ANN", "birth_date": "19700101", "sex": "M"}, "2 birth dates, 2 sexes, 2 names"),
    ],
)
def test_one_number_of_two_people_is_refused_by_kind_and_folder(change, kinds):
    second = replace(JANE, study_uid="1.2", folder="b", **change)
    place = "in folder no. 1, 2 of DICOM_DIR, counted by LC_ALL=C ls -A"
    assert _refusals(JANE, second) == [("identity_contradicts", f"one identifier has {kinds}; {place}")]
    assert _refusals(JANE, second, rules=IntakeRules(patient_from="folder")) == []
    (participant_id,) = {one.participant_id for one in _found(JANE, second).patients}
    assert _refusals(JANE, second, rules=IntakeRules(same_person={participant_id: participant_id})) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Doe^Jane^Mary"},
        {"name": "DOE^J"},
        {"name": "Doe^Jane^^Dr"},
        {"name": ""},
        {"name": "ANONYMOUS"},
        {"name": "4711"},
        {"birth_date": ""},
        {"birth_date": "1940-03-16"},
        {"birth_date": "19400101"},  # the year alone, as anonymisers leave it
        {"birth_date": "19000101"},
        {"birth_date": "unknown"},
        {"sex": "O"},
        {"sex": ""},
        {"sex": "f"},
        {"age": "084Y"},
        {"age": "83Y"},
    ],
)
def test_other_spellings_of_one_person_are_one_person(change):
    found = _found(replace(JANE, age="083Y"), replace(JANE, study_uid="1.2", folder="b", **change))
    assert len(found.patients) == 1
    assert found.findings == ()


def test_names_that_differ_in_part_are_noted_where_the_birth_date_is_the_same():
    married = replace(JANE, name="MILLER^JANE", study_uid="1.2")
    assert [finding.kind for finding in _found(JANE, married).findings] == ["names_differ"]
    assert [finding.kind for finding in _found(JANE, replace(JANE, name="山田^太郎")).findings] == ["names_differ"]
    unknown = {"birth_date": "", "sex": ""}
    assert _refusals(replace(JANE, **unknown), replace(married, **unknown))[0][0] == "identity_contradicts"


def test_ages_that_no_one_person_has_are_a_contradiction():
    young = replace(JANE, birth_date="", name="", age="041Y", study_uid="1.2")
    old = replace(young, age="083Y", study_uid="1.1")
    assert _refusals(old, young)[0][1].startswith("one identifier has 2 ages")
    later = replace(old, age="086Y", study_date="20270302", study_uid="1.3")
    others = replace(JANE, patient_id="99", study_uid="9")
    assert _refusals(old, later, others) == []


def test_an_identifier_for_everybody_needs_something_that_confirms_it():
    nothing = {"name": "ANONYMOUS", "birth_date": "", "sex": ""}
    others = replace(JANE, patient_id="99", study_uid="9")
    anonymous = [
        replace(JANE, patient_id="ANON", study_uid=f"1.{number}", folder=str(number), **nothing) for number in (1, 2)
    ]
    kind, text = _refusals(*anonymous, others)[0]
    assert kind == "identity_unconfirmed"
    assert text.startswith("an identifier that names nobody stands for 2 studies")
    born = [replace(header, birth_date="19800615", sex="F") for header in anonymous]
    assert _refusals(*born, others)[0][0] == "identity_unconfirmed"  # the date may be written for everybody too
    assert _refusals(anonymous[0], others) == []  # one study may be anybody's
    only = [replace(header, patient_id="SITE7") for header in anonymous]
    assert _refusals(*only)[0][0] == "identity_unconfirmed"  # the only identifier of an export
    assert _refusals(*only, others) == []  # one pseudonym among others
    dated = _found(*(replace(header, birth_date="19500101") for header in only))
    assert [finding.kind for finding in dated.findings] == ["one_identifier_for_all"]
    assert [one.refusal for one in dated.patients] == [None]
    for rules, count in ((IntakeRules("folder"), 2), (IntakeRules("study"), 2)):
        assert [one.refusal for one in _found(*anonymous, rules=rules).patients] == [None] * count
    again = replace(anonymous[0], study_uid="1.3")
    assert _refusals(*anonymous, again, rules=IntakeRules("folder")) == []


def test_one_person_under_several_identifiers_is_listed():
    headers = (
        replace(JANE, patient_id="00123", issuer="HOSP", study_uid="1"),
        replace(JANE, patient_id="00123", study_uid="2"),
        replace(JANE, patient_id="123", study_uid="3"),
        replace(JANE, patient_id="X-9", name="Döe^Jane^Mary", study_uid="4"),
        replace(JANE, patient_id="55", name="ROE^RICHARD", birth_date="19620522", study_uid="5"),
    )
    (found,) = _twins(*headers)
    assert found.text == (
        "4 participants have the same name and birth date "
        "or identifiers that differ in zeros, punctuation or issuer alone"
    )
    merged = _found(*headers, rules=IntakeRules(same_person=same_person_of(["=".join(found.participant_ids)])))
    assert sorted(len(one.files) for one in merged.patients) == [1, 4]


def test_two_people_with_one_number_in_two_hospitals_are_two_and_no_twins():
    first = replace(JANE, issuer="NORTH")
    second = replace(JANE, issuer="SOUTH", name="ROE^RICHARD", birth_date="19620522", sex="M", study_uid="2")
    found = _found(first, second)
    assert (len(found.patients), found.findings) == (2, ())


def test_one_study_under_two_identifiers_is_listed():
    unnamed = {"name": "", "birth_date": ""}
    (found,) = _twins(replace(JANE, **unnamed), replace(JANE, patient_id="815", **unnamed))
    assert found.text == "2 participants have one study"


def test_patients_without_identifier_and_name_are_studies_and_that_is_said():
    nobody = replace(JANE, patient_id="", name="Anonymized")
    found = _found(nobody, replace(nobody, study_uid="1.2"))
    assert len(found.patients) == 2
    assert [finding.kind for finding in found.findings] == ["known_by_study_alone"]


def test_what_an_import_learned_holds_in_the_next_one_and_is_nobodys_name(tmp_path):
    first = _found(JANE)
    write_register(tmp_path, first.register)
    register = read_register(tmp_path)
    assert register == Register(
        KEY.fingerprint,
        {},
        {one: replace(own, birth_ranges=frozenset()) for one, own in first.register.evidence.items()},
    )
    text = (tmp_path / "import_register.json").read_text().upper()
    assert [word for word in ("DOE", "JANE", "1940", "0316", "4711") if word in text] == []
    other = replace(JANE, name="ROE^RICHARD", birth_date="19620522", sex="M", study_uid="2")
    assert _refusals(other, register=register)[0][1].startswith("one identifier has 2 birth dates, 2 sexes, 2 names")
    assert _found(other, register=register).register.evidence == register.evidence  # who is refused is not learned
    assert len(_twins(replace(JANE, patient_id="X-9"), register=register)) == 1


def test_a_declared_person_stays_declared_and_needs_the_first_identifier():
    second = replace(JANE, patient_id="X-9", study_uid="2")
    names = [one.participant_id for one in (*_found(JANE).patients, *_found(second).patients)]
    both = _found(JANE, second, rules=IntakeRules(same_person=same_person_of(["=".join(names)])))
    assert [(one.participant_id, len(one.files)) for one in both.patients] == [(names[0], 2)]
    assert both.findings == ()
    again = _found(JANE, second, register=both.register)
    assert [one.participant_id for one in again.patients] == names[:1]
    assert _refusals(second, register=both.register)[0][0] == "same_person_absent"


def test_a_person_is_declared_by_pseudonyms_alone():
    for text in ("4711=815", "sub-4711", "DOE^JANE", "sub-aaaabbbbccc1=", ""):
        with pytest.raises(ValueError, match=r"^--same-person must be participants .* got something else") as caught:
            same_person_of([text])
        assert not text or text not in str(caught.value)
