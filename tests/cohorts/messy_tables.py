"""Tables as people send them, each with what it becomes: made here, one way of going wrong after another."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import openpyxl

STUDY = """\
outcome = "mrs_90d" # of the registry

[study]
name = "Messy"

[[source]]
kind = "readings"

[[clinical]]
column = "nihss"
read_as = "integer"
minimum = 0
maximum = 42

[[clinical]]
column = "mrs_90d"
read_as = "integer"
levels = { 0 = [], 1 = [], 2 = [], 3 = [], 4 = [], 5 = [], 6 = ["dead"] }

[[clinical]]
column = "glucose"
read_as = "number"
unit = "mmol/l"
minimum = 0

[[clinical]]
column = "sex"
read_as = "category"
levels = { F = ["female", "weiblich", "w"], M = ["male", "männlich"] }

[[clinical]]
column = "onset"
read_as = "date"

[[clinical]]
column = "lysis"
read_as = "boolean"

[severity]
column = "nihss"
"""


@dataclass(frozen=True)
class Messy:
    """A table, the options that it is imported with, and what must come of it.

    ``rows`` are lines of participants.tsv (or readings.tsv) with commas for tabs; None where nothing may be written.
    ``says`` are texts that must be printed.
    """

    name: str
    content: bytes | dict
    options: dict = field(default_factory=dict)
    rows: str | None = None
    says: tuple[str, ...] = ()
    exit_code: int = 0
    before: str = ""


def workbook(path, sheets):
    """Write sheets of rows; a cell may be (value, number format)."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for at, row in enumerate(rows, 1):
            for column, value in enumerate(row, 1):
                cell = sheet.cell(at, column, value[0] if isinstance(value, tuple) else value)
                if isinstance(value, tuple):
                    cell.number_format = value[1]
    book.save(path)


def _redcap():
    return (
        b"record_id,redcap_event_name,nihss,mrs,sex,lysis___1\n"
        b"1,baseline_arm_1,12,,2,1\n1,day90_arm_1,,3,,\n2,baseline_arm_1,4,,1,0\n2,day90_arm_1,,6,,\n"
    )


REDCAP_DICTIONARY = (
    b'"Variable / Field Name","Form Name","Section Header","Field Type","Field Label",'
    b'"Choices, Calculations, OR Slider Labels","Field Note","Text Validation Type OR Show Slider Number",'
    b'"Text Validation Min","Text Validation Max","Identifier?"\n'
    b"record_id,base,,text,Record,,,,,,\nnihss,base,,text,NIHSS,,,integer,0,42,\n"
    b'mrs,day90,,radio,mRS,"0, None | 1, Slight | 3, Moderate | 6, Dead",,,,,\n'
    b'sex,base,,radio,Sex,"1, Female | 2, Male",,,,,\nlysis,base,,checkbox,Lysis,"1, Given",,,,,\n'
    b"name,base,,text,Name,,,,,,y\n"
)

MAP = {"maps": ("Pat=participant_id",)}
ID = {"id": "Pat"}
D90 = "mRS 90d=mrs_90d"
TABLES = [
    Messy(
        "semicolons, decimal commas, BOM, Windows line ends and encoding of another kind",
        "\ufeffPat;NIHSS;Glukose\r\n001;12;6,5\r\n002;3;11,25\r\n".encode(),
        {"given": ID, "maps": ("NIHSS=nihss", "Glukose=glucose")},
        "participant_id,nihss,glucose\nsub-001,12,6.5\nsub-002,3,11.25\n",
        ("the decimal comma is a point", "cells are separated by semicolons"),
    ),
    Messy(
        "Windows-1252 with umlauts in a header and levels in German",
        "Pat;Größe;Geschlecht\n001;1;männlich\n002;2;Weiblich\n".encode("cp1252"),
        {"given": ID, "maps": ("Geschlecht=sex",)},
        "participant_id,sex\nsub-001,M\nsub-002,F\n",
        ("read as Windows-1252, such as Größe", "not imported: Größe"),
    ),
    Messy(
        "UTF-16 with tabs, as Excel's Unicode text",
        "Pat\tNIHSS\n001\t12\n".encode("utf-16"),
        {"given": ID, "maps": ("NIHSS=nihss",)},
        "participant_id,nihss\nsub-001,12\n",
        ("text is UTF-16", "cells are separated by tabs"),
    ),
    Messy(
        "every text in double quotes, a separator and a line end inside (case 23)",
        b'"Pat","NIHSS","Note"\n"001","12","a, b\nc"\n"002",NA,""\n',
        {"given": ID, "maps": ("NIHSS=nihss",)},
        "participant_id,nihss\nsub-001,12\nsub-002,n/a\n",
        ("NA means missing",),
    ),
    Messy(
        "remarks behind values",
        b"Pat,NIHSS\n001,12 (aphasia)\n002,3 [intubated]\n",
        {"given": ID, "maps": ("NIHSS=nihss",)},
        "participant_id,nihss\nsub-001,12\nsub-002,3\n",
        ("12 (aphasia) -> 12; the remark in brackets is left out",),
    ),
    Messy(
        "dates with two readings, undeclared",
        b"Pat,Onset\n001,03/04/2024\n002,31/05/2024\n",
        {"given": ID, "maps": ("Onset=onset",)},
        None,
        ("may be day/month or month/day. Give --dates",),
        3,
    ),
    Messy(
        "the same dates with their order declared, and one with a time",
        b"Pat,Onset\n001,03/04/2024\n002,31.5.24 14:05\n",
        {"given": {**ID, "dates": "dmy"}, "maps": ("Onset=onset",)},
        "participant_id,onset\nsub-001,2024-04-03\nsub-002,2024-05-31T14:05\n",
        ("03/04/2024 -> 2024-04-03", "its two-digit year completed"),
    ),
    Messy(
        "codes for missing, undeclared (case 24)",
        b"Pat,NIHSS,Glucose\n001,-999,5\n002,3,-999\n",
        {"given": ID, "maps": ("NIHSS=nihss", "Glucose=glucose")},
        None,
        ('column NIHSS: -999 must be >= 0. If it is a code for missing, give --missing "-999"',),
        3,
    ),
    Messy(
        "the same codes declared, however they are written",
        b"Pat,NIHSS,Glucose\n001,-999,5\n002,k.A.,-999.0\n",
        {"given": {**ID, "missing": ("-999", "k.A.")}, "maps": ("NIHSS=nihss", "Glucose=glucose")},
        "participant_id,nihss,glucose\nsub-001,n/a,5\nsub-002,n/a,n/a\n",
        ("-999.0 is declared as missing",),
    ),
    Messy(
        "ids that lost their zeros, undeclared (case 22)",
        b"Pat,NIHSS\n1,12\n2,3\n",
        {"given": ID, "maps": ("NIHSS=nihss",)},
        None,
        ("2 of 2 ids match after zero-padding (sub-1 is sub-001, sub-2 is sub-002). Give --id-digits 3",),
        3,
        "participant_id\nsub-001\nsub-002\n",
    ),
    Messy(
        "the same with their length declared",
        b"Pat,NIHSS\n1,12\n2.0,3\n",
        {"given": {**ID, "id_digits": 3}, "maps": ("NIHSS=nihss",)},
        "participant_id,nihss\nsub-001,12\nsub-002,3\n",
        ("1 -> 001; zeros are put in front",),
        0,
        "participant_id\nsub-001\nsub-002\n",
    ),
    Messy(
        "Excel: ids shown with zeros, dates as dates, a percentage of float noise, a number as text, an empty row",
        {
            "Data": [
                ["Pat", "Onset", "Glucose", "NIHSS"],
                [(1, "000"), (dt.datetime(2024, 4, 3), "dd.mm.yyyy"), 0.1 + 0.2, "12"],
                [],
                [(2, "000"), dt.datetime(2024, 5, 31, 14, 5), 11, 3.0],
            ]
        },
        {"given": ID, "maps": ("Onset=onset", "Glucose=glucose", "NIHSS=nihss")},
        "participant_id,nihss,glucose,onset\nsub-001,12,0.3,2024-04-03\nsub-002,3,11,2024-05-31T14:05\n",
    ),
    Messy(
        "Excel: two sheets with content, and a title above the header",
        {"Legend": [["a"], ["b"]], "Data": [["Registry 2024"], [], ["Pat", "NIHSS"], ["001", 12]]},
        {"given": ID, "maps": ("NIHSS=nihss",)},
        None,
        ("got Legend, Data. Give --sheet",),
        3,
    ),
    Messy(
        "the same with sheet and header row declared",
        {"Legend": [["a"], ["b"]], "Data": [["Registry 2024"], [], ["Pat", "NIHSS"], ["001", 12]]},
        {"given": {**ID, "sheet": "Data", "header_row": 3}, "maps": ("NIHSS=nihss",)},
        "participant_id,nihss\nsub-001,12\n",
    ),
    Messy(
        "Excel made a date of 3-4",
        {"Data": [["Pat", "NIHSS"], ["001", dt.datetime(2024, 4, 3)]]},
        {"given": ID, "maps": ("NIHSS=nihss",)},
        None,
        ("a spreadsheet made a date of it",),
        3,
    ),
    Messy(
        "a row twice, a participant in two rows that complete each other, two people with one id, a row of nobody",
        b"Pat,Name,Sex,NIHSS,mRS 90d\n001,A,f,12,\n001,A,f,12,\n002,B,m,3,\n002,B,m,,1\n003,C,f,4,2\n003,D,m,9,3\n"
        b",,,5.2,\n",
        {"given": ID, "maps": ("Sex=sex", "NIHSS=nihss", D90), "ignored": ("Name",)},
        "participant_id,nihss,mrs_90d,sex\nsub-001,12,n/a,F\nsub-002,3,1,M\n",
        ("two people have one id: rows 6 and 7 differ in Name, Sex, NIHSS, mRS 90d", "the row names no participant"),
        1,
    ),
    Messy(
        "bounds, ranges, another unit and a level misspelt",
        b"Pat,NIHSS,Glucose,Sex\n001,<5,117 mg/dl,femal\n002,12-14,6.5 mmol/L,M\n",
        {"given": ID, "maps": ("NIHSS=nihss", "Glucose=glucose", "Sex=sex")},
        None,
        ("not a bound or an estimate", "must be one number, not two", "must be a number in mmol/l", "sex:femal=F"),
        3,
    ),
    Messy(
        "the same with what they mean declared",
        b"Pat,NIHSS,Glucose,Sex\n001,<5,117 mg/dl,femal\n002,12-14,6.5 mmol/L,M\n",
        {
            "given": ID,
            "maps": ("NIHSS=nihss", "Glucose=glucose", "Sex=sex"),
            "values": ("nihss:<5=n/a", "nihss:12-14=13", "glucose:117 mg/dl=6.5", "sex:femal=F"),
        },
        "participant_id,nihss,glucose,sex\nsub-001,n/a,6.5,F\nsub-002,13,6.5,M\n",
        ("as declared in values", "the unit is left out"),
    ),
    Messy(
        "thousands and decimals in two habits at once",
        b"Pat;Glucose\n001;1.234,5\n002;1,234.5\n003;1,234\n",
        {"given": ID, "maps": ("Glucose=glucose",)},
        None,
        ("1,234 must have one reading, and may be 1234 or 1.234",),
        3,
    ),
    Messy(
        "REDCap: events, check boxes, codes of a dictionary with levels of ours",
        _redcap(),
        {
            "given": {"id": "record_id"},
            "maps": (
                "nihss@baseline_arm_1=nihss",
                "mrs@day90_arm_1=mrs_90d",
                "sex@baseline_arm_1=sex",
                "lysis___1@baseline_arm_1=lysis",
            ),
            "dictionary": REDCAP_DICTIONARY,
        },
        "participant_id,nihss,mrs_90d,sex,lysis\nsub-1,12,3,M,1\nsub-2,4,6,F,0\n",
        ("4 rows of events and instances are 2 records", "2 -> M; as declared in values"),
    ),
    Messy(
        "a newer file: a value changed, one filled in, one empty, somebody new, another sex, somebody no longer there",
        b"Pat,NIHSS,mRS 90d,Sex\n001,14,2,F\n002,,,M\n003,5,1,M\n005,7,0,F\n",
        {"given": ID, "maps": ("NIHSS=nihss", D90, "Sex=sex")},
        "participant_id,site,nihss,mrs_90d,sex\nsub-001,north,14,2,F\nsub-002,south,3,4,M\nsub-003,north,9,2,F\n"
        "sub-004,north,1,0,M\nsub-005,n/a,7,0,F\n",
        ("12 -> 14", "stays", "may be another person: sex", "Not in the file, and left as they are: 1 row of"),
        1,
        "participant_id,site,nihss,mrs_90d,sex\nsub-001,north,12,n/a,F\nsub-002,south,3,4,M\nsub-003,north,9,2,F\n"
        "sub-004,north,1,0,M\n",
    ),
    Messy(
        "readings, one column per reader",
        b"Pat,ASPECTS A,ASPECTS B\n001,8,7 (motion)\n002,10,\n",
        {"given": {**ID, "into": "readings"}, "maps": ("ASPECTS A=reader:A", "ASPECTS B=reader:B:2")},
        "participant_id,reader,session,side,score\nsub-001,A,n/a,n/a,8\nsub-001,B,2,n/a,7\nsub-002,A,n/a,n/a,10\n",
    ),
    Messy(
        "readings, one row each, with regions named in one cell",
        b'Pat,Leser,Seite,Regionen\n001,A,links,"M1, IC"\n001,B,L,none\n001,A,Links,"M1, IC"\n',
        {"given": {**ID, "into": "readings"}, "maps": ("Leser=reader", "Seite=side", "Regionen=regions")},
        "participant_id,reader,side,caudate,lentiform,internal_capsule,insula,m1,m2,m3,m4,m5,m6\n"
        "sub-001,A,left,0,0,1,0,1,0,0,0,0,0\nsub-001,B,left,0,0,0,0,0,0,0,0,0,0\n",
        ("rows 2 and 4 are the same",),
    ),
]
