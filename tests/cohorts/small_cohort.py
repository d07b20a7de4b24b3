"""A cohort folder of three participants without any problem, to be spoilt one cell at a time."""

STUDY = """\
outcome = "mrs"
clinical_side = "affected"

[study]
name = "Small"

[[source]]
name = "lesion"
kind = "mask"

[[source]]
kind = "readings"

[[clinical]]
column = "nihss"
read_as = "integer"
unit = "points"
minimum = 0
maximum = 42

[[clinical]]
column = "mrs"
read_as = "integer"
levels = { 0 = "none", 6 = "dead" }

[[clinical]]
column = "bmi"
read_as = "number"
minimum = 10

[[clinical]]
column = "affected"
read_as = "category"
levels = { left = "left", right = "right" }

[[clinical]]
column = "smoker"
read_as = "boolean"

[[clinical]]
column = "age"
read_as = "integer"
top_code = "89+"

[[clinical]]
column = "onset"
read_as = "date"

[[clinical]]
column = "scan"
read_as = "date"
not_before = "onset"

[[clinical]]
column = "note"
read_as = "text"
"""

PARTICIPANTS = """\
participant_id site nihss mrs bmi affected smoker age onset scan note
sub-10 n 4 0 25.5 left 1 60 2024-05-30 2024-05-31 n/a
9 n 18.0 6.0 n/a right 0.0 71 2024-05-31T10:30 2024-05-31 a-b
sub-2 s n/a n/a 31 left yes 55 n/a n/a n/a
"""

SCANS = """\
participant_id modality space path
sub-10 lesion MNI152 lesions/10.nii.gz
sub-9 lesion n/a lesions//9.nii.gz
sub-2 lesion MNI152 lesions/2.nii
"""

REGIONS = "caudate lentiform internal_capsule insula m1 m2 m3 m4 m5 m6"
READINGS = f"""\
participant_id reader session template_assisted side score low {REGIONS}
sub-10 A 1 0 left 8 n/a 1 0 0 0 0 1 0 0 0 0
sub-10 B n/a 1 n/a 7 n/a n/a n/a n/a n/a n/a n/a n/a n/a n/a n/a
sub-9 B n/a 1 n/a n/a 1 n/a n/a n/a n/a n/a n/a n/a n/a n/a n/a
"""


def as_tsv(text):
    """Tables are written with blanks here so that they can be read; a file has tabs."""
    return text.replace(" ", "\t")


def write_small_cohort(folder):
    """Write the folder; the images are never opened by the code under test."""
    (folder / "lesions").mkdir(parents=True)
    for name in ("10.nii.gz", "9.nii.gz", "2.nii"):
        (folder / "lesions" / name).write_bytes(b"never opened")
    (folder / "cohort.toml").write_text(STUDY)
    for name, text in (("participants", PARTICIPANTS), ("scans", SCANS), ("readings", READINGS)):
        (folder / f"{name}.tsv").write_text(as_tsv(text))
    return folder


def change(folder, name, old, new):
    """Replace one passage of a file."""
    text = (folder / name).read_text()
    if name.endswith(".tsv"):
        old, new = as_tsv(old), as_tsv(new)
    assert text.count(old) == 1, f"{old!r} must occur once in {name}"
    (folder / name).write_text(text.replace(old, new))


def found(cohort):
    """Every problem as (participant, reason, text)."""
    return [(problem.participant_id, problem.reason, problem.text) for problem in cohort.problems]
