"""The link table: outside the cohort, for its owner alone, complete, and only where the study may re-identify."""

from __future__ import annotations

import stat

import pytest

from cohorts.dicom.link_table import NO_VOLUME, LinkTableError, read_links
from flows.commands.import_request import import_request
from flows.run.request import UsageError
from tests.cohorts.dicom.made import IDENTITY, uid, write_ct
from tests.cohorts.dicom.originals import imported


def test_every_volume_leads_to_its_patient_series_and_files_and_a_second_import_adds_to_it(tmp_path):
    write_ct(tmp_path / "in" / "a", IssuerOfPatientID="SITE 1")
    imported(tmp_path)
    write_ct(tmp_path / "in" / "b", series="b", patient={"PatientID": "0099"}, AcquisitionTime="120000")
    links, _ = imported(tmp_path)
    found = {link.patient_id: link for link in links}
    assert set(found) == {IDENTITY["PatientID"], "0099"}  # with its zeros
    first = found[IDENTITY["PatientID"]]
    assert first.issuer_of_patient_id == "SITE 1"
    assert first.series_instance_uid == uid(IDENTITY["PatientID"] + "a")
    assert first.study_instance_uid == uid(IDENTITY["PatientID"] + "study")
    assert first.files == tuple(f"a/QUIXOTE_a_{number:03d}.dcm" for number in range(5))
    assert stat.S_IMODE((tmp_path / "links.tsv").stat().st_mode) == 0o600
    assert not list((tmp_path / "cohort").rglob("*links*"))


def test_a_patient_without_a_volume_is_known_by_every_number_and_gains_one_later(tmp_path):
    write_ct(tmp_path / "in" / "a", (0, 5, 10, 20))  # a slice is missing
    write_ct(tmp_path / "in" / "b", (0, 5, 10, 20), series="b")
    (link,), _ = imported(tmp_path)
    assert (link.path, link.patient_id) == (NO_VOLUME, IDENTITY["PatientID"])
    write_ct(tmp_path / "in" / "c", series="c")
    links, _ = imported(tmp_path)
    assert {one.participant_id for one in links} == {link.participant_id}
    assert sorted(one.path == NO_VOLUME for one in links) == [False, True]


def test_it_is_refused_inside_the_cohort_where_others_may_read_it_and_where_the_study_does_not_allow_it(tmp_path):
    write_ct(tmp_path / "in")
    inside = tmp_path / "cohort" / "links.tsv"
    with pytest.raises(UsageError, match="must lie outside the cohort folder"):
        import_request(tmp_path / "in", tmp_path / "cohort", None, (), inside)
    imported(tmp_path)
    (tmp_path / "links.tsv").chmod(0o640)
    with pytest.raises(LinkTableError, match=r"readable by its owner alone \(mode 600\), got mode 640"):
        read_links(tmp_path / "links.tsv", tmp_path / "cohort")
    (tmp_path / "links.tsv").chmod(0o600)
    for study in ('[study]\nname = "x"\n', '[study]\nmay_reidentify = "true"\n', "damaged"):
        (tmp_path / "cohort" / "cohort.toml").write_text(study)
        with pytest.raises(UsageError, match="only where the study may re-identify"):
            import_request(tmp_path / "in", tmp_path / "cohort", None, (), tmp_path / "links.tsv")
    (tmp_path / "cohort" / "cohort.toml").write_text("[study]\nmay_reidentify = true\n")
    import_request(tmp_path / "in", tmp_path / "cohort", None, (), tmp_path / "links.tsv")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"participant_id\tpath\nsub-1\tx\n", b"a\tb\n1\t2\n"])
def test_one_that_no_import_wrote_is_refused_without_quoting_it(tmp_path, content):
    path = tmp_path / "links.tsv"
    path.write_bytes(content)
    path.chmod(0o600)
    if content == b"":
        assert read_links(path, tmp_path / "cohort") == {}
        return
    with pytest.raises(LinkTableError, match=r"must be as the import wrote it .*Restore it, or import again\.$"):
        read_links(path, tmp_path / "cohort")
