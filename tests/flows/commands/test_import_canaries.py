"""``aspects import``: an identity in every place of DICOM, and none in any byte, name or word that comes out."""

from __future__ import annotations

import gzip
import io
import logging

from rich.console import Console

from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request
from tests.cohorts.dicom.canaries import write_export


def _contents(folder):
    """Every name and byte below a folder, compressed files opened, by file."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), str(path.relative_to(folder)).encode()
        if path.is_file():
            content = path.read_bytes()
            yield path.name, content
            if path.suffix == ".gz":
                yield path.name, gzip.decompress(content)


def _leaks(planted, contents):
    """Place of a canary and where it came out."""
    return [
        (place, where)
        for where, content in contents
        for place, needles in planted.needles.items()
        if any(needle in content.upper() for needle in needles)
    ]


def test_nothing_planted_in_dicom_comes_out_of_an_import(tmp_path, caplog, capfd, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    source, planted = write_export(tmp_path)
    assert len(planted.places) >= 60
    whole = (
        b"".join(path.read_bytes() for path in source.rglob("*") if path.is_file())
        + str(list(source.rglob("*"))).encode()
    )
    absent = {place.split()[0] for place, needles in planted.needles.items() if needles[0] not in whole.upper()}
    assert absent <= {"FD", "UL", "OD"}  # all others stand in the export as they are looked for
    out = io.StringIO()
    with caplog.at_level(logging.DEBUG):
        code = import_dicom(import_request(source, tmp_path / "cohort", None, ()), Console(file=out, width=200))
    assert code == 0
    report = (tmp_path / "cohort" / "import_report.tsv").read_text()
    assert {"converted", "burned_in_annotation", "unsupported_modality", "dose_page", "not_dicom"} <= set(
        report.split()
    )
    said = out.getvalue() + caplog.text + "".join(capfd.readouterr())
    printed = said.replace(str(tmp_path), "")  # where the coordinator put the cohort folder
    contents = [*_contents(tmp_path / "cohort"), *_contents(tmp_path / "tmp"), ("printed", printed.encode())]
    assert _leaks(planted, contents) == []
