"""``aspects import`` on series that contradict themselves: what is listed, what is said, and the rules of a site."""

from __future__ import annotations

import csv
import io

import numpy as np
import pydicom
import pytest
from rich.console import Console

from cohorts.dicom.clocks import frame_times
from cohorts.dicom.headers import find_files, read_headers
from cohorts.dicom.stacks import group_stacks
from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request
from flows.run.request import PreflightError
from tests.cohorts.dicom.made import head_hu, write_ct, write_slice


def _run(folder, rules=None, exit_code=0):
    """Rows of the report by path or reason, modalities listed, and what was printed."""
    cohort = folder / "cohort"
    if rules is not None:
        cohort.mkdir(exist_ok=True)
        (cohort / "import.toml").write_text(rules)
    out = io.StringIO()
    assert import_dicom(import_request(folder / "in", cohort, None, ()), Console(file=out, width=200)) == exit_code
    with (cohort / "import_report.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return rows, {row["detected_as"]: row for row in rows if row["in_scans_tsv"] == "true"}, out.getvalue()


def _time_points(folder, n_series, start=0, **attributes):
    """A dynamic scan with one series for every time point."""
    for point in range(start, start + n_series):
        seconds = f"1015{2 * point:02d}"
        for place in range(3):
            pixels = head_hu(place) + 1024
            pixels[6:9, 13:15] += 10 * point
            own = {"AcquisitionTime": seconds, "SeriesDescription": "Head", **attributes}
            write_slice(folder / f"p{point}", place, pixels, (-20, -15, 5.0 * place), series=f"p{point}", **own)


def test_perfusion_with_one_series_per_time_point_is_one_perfusion_scan(tmp_path):
    _time_points(tmp_path / "in", 10)
    write_ct(tmp_path / "in" / "plain", series="n", SeriesDescription="Head native", AcquisitionTime="111500")
    rows, listed, _ = _run(tmp_path)
    assert len(rows) == 2
    assert listed["ctp"]["evidence"] == "10 volumes at one place in 10 series"
    assert (listed["ctp"]["n_files"], listed["ncct"]["evidence"]) == ("30", "SeriesDescription")
    again, _, _ = _run(tmp_path)
    assert again == rows


@pytest.mark.parametrize(("n_series", "description"), [(5, "Head"), (3, "Brain Perfusion"), (1, "Perfuze mozku")])
def test_parts_that_make_no_whole_are_no_plain_scans(tmp_path, n_series, description):
    _time_points(tmp_path / "in", n_series, SeriesDescription=description)
    rows, listed, printed = _run(tmp_path, exit_code=1)  # nothing came in
    assert {(row["detected_as"], row["reason"]) for row in rows} == {("ctp", "perfusion_in_parts")}
    assert listed == {}
    assert f"perfusion_in_parts: {n_series}" in printed


def _grouped(folder):
    headers, _ = read_headers(find_files(folder))
    return [(stack.recognition.kind, stack.recognition.refusal) for stack in group_stacks(headers)]


def test_reconstructions_of_one_scan_and_phases_of_an_angiography_are_no_perfusion(tmp_path):
    for number in range(6):
        write_ct(tmp_path / f"r{number}", (0, 5), series=f"r{number}", SeriesDescription="native")
    for phase in range(3):
        own = {"SeriesDescription": "CTA", "AcquisitionTime": f"1115{10 * phase:02d}"}
        write_ct(tmp_path / f"c{phase}", (0, 5), series=f"c{phase}", **own)
    assert _grouped(tmp_path) == [("ncct", None)] * 6 + [("cta", None)] * 3


@pytest.mark.parametrize("clock", ["TriggerTime", "ContentTime"])
def test_time_points_whose_acquisition_time_stands_still(tmp_path, clock):
    for point in range(12):
        own = {clock: 2000 * point if clock == "TriggerTime" else f"1015{2 * point:02d}", "ContentDate": "20240302"}
        write_ct(tmp_path / f"p{point}", (0, 5), series=f"p{point}", SeriesDescription="Head", **own)
    assert _grouped(tmp_path) == [("ctp", None)]
    for path in tmp_path.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        delattr(dataset, clock)
        dataset.save_as(path)
    assert _grouped(tmp_path) == [("ctp", "perfusion_in_parts")] * 12


def test_time_points_over_midnight_whose_date_stood_still(tmp_path):
    for point in range(12):
        seconds = 23 * 3600 + 59 * 60 + 50 + 2 * point
        time = f"{seconds // 3600 % 24:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
        write_ct(tmp_path / f"p{point}", (0, 5), series=f"p{point}", SeriesDescription="Head", AcquisitionTime=time)
    (stack,) = group_stacks(read_headers(find_files(tmp_path))[0])
    found = frame_times(stack.places)
    assert found.seconds[0].tolist() == (2.0 * np.arange(12)).tolist()
    assert found.faults[0].reason == "clock_wrapped"


def test_the_soft_kernel_is_listed_and_the_sharp_one_alone_is_not(tmp_path):
    write_ct(tmp_path / "in" / "b", range(0, 22, 2), series="b", SeriesDescription="native", ConvolutionKernel="H60s")
    _, listed, printed = _run(tmp_path)
    assert listed == {}
    assert "Participants without ncct, as what they have is unfit (sharp_kernel): 1" in printed
    write_ct(tmp_path / "in" / "s", series="s", SeriesDescription="native", ConvolutionKernel="H31s")
    rows, listed, _ = _run(tmp_path)
    assert listed["ncct"]["n_slices"] == "5"
    assert [row["choice"] for row in rows if row["in_scans_tsv"] == "false"] == ["unfit: sharp_kernel"]


def test_rules_of_a_site_say_what_a_series_is(tmp_path):
    write_ct(tmp_path / "in" / "m", series="m", SeriesDescription="MPR Hirn 5mm", ContrastBolusAgent="Omnipaque")
    write_ct(tmp_path / "in" / "n", series="n", SeriesDescription="Head native", ConvolutionKernel="H31s")
    _, listed, _ = _run(tmp_path)
    assert listed["ncct"]["evidence"] == "SeriesDescription"
    (tmp_path / "cohort" / "scans.tsv").unlink()
    rules = '[[choose]]\ndescription = "mpr hirn*"\nmodality = "ncct"\nthickness_mm = [4, 6]\n'
    _, listed, _ = _run(tmp_path, rules)
    assert listed["ncct"]["evidence"] == "rule 1 of import.toml"
    assert listed["ncct"]["choice"].startswith("before ")
    (tmp_path / "cohort" / "scans.tsv").unlink()
    rows, listed, _ = _run(tmp_path, rules + '[[choose]]\nkernel = "h3?s"\nmodality = "never"\n')
    assert [row["choice"] for row in rows if row is not listed["ncct"]] == ["unfit: never_by_rule_2"]


def test_every_broken_rule_of_import_toml_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "cohort").mkdir()
    text = (
        '[[choose]]\nmodality = "ncct"\n[[choose]]\nkernal = "x"\nmodality = "ct"\n'
        "[[declare]]\ndescription = 'x'\n[[choose]]\nmodality='ncct'\nthickness_mm = [5, 2]\n"
    )
    (tmp_path / "cohort" / "import.toml").write_text(text)
    with pytest.raises(PreflightError) as caught:
        import_request(tmp_path / "in", tmp_path / "cohort", None, ())
    told = str(caught.value)
    for part in (
        "choose 1: must have description, kernel or thickness_mm",
        "choose 2 modality: Input should be",
        "Did you mean kernel",
        "thickness_mm must be from, to in mm, got [5.0, 2.0]",
        "declare 1: must have b_values_s_per_mm2 or frame_interval_s",
    ):
        assert part in told
    (tmp_path / "cohort" / "import.toml").write_text("[[choose]\n")
    with pytest.raises(PreflightError, match="must be TOML that can be read"):
        import_request(tmp_path / "in", tmp_path / "cohort", None, ())


def _head_with_vessels(vessel_hu):
    rows, columns = np.indices((96, 96))
    radius = np.hypot(rows - 48, columns - 48)
    values = np.where(radius < 44, 33.0, -1000.0)
    values[(radius >= 38) & (radius < 44)] = 1100
    for row, column in ((40, 40), (40, 56), (60, 48), (50, 36)):
        values[np.hypot(rows - row, columns - column) < 2.5] = vessel_hu
    return values


def test_a_protocol_that_fills_the_contrast_attribute_makes_no_angiography(tmp_path):
    for series, told, vessel_hu in (("n", "Head native 5.0", 35), ("c", "CTA head", 250)):
        for place in range(5):
            write_slice(
                tmp_path / "in" / series,
                place,
                _head_with_vessels(vessel_hu) + 1024,
                (0, 0, 5.0 * place),
                series=series,
                PixelSpacing=[1.8, 1.8],
                SeriesDescription=told,
                ContrastBolusAgent="Omnipaque",
                AcquisitionTime="101000" if series == "n" else "102000",
            )
    _, listed, printed = _run(tmp_path)
    assert listed["ncct"]["evidence"] == "SeriesDescription and voxels, against ContrastBolusAgent"
    assert listed["cta"]["evidence"] == "SeriesDescription and voxels"
    assert "in doubt" not in printed


def test_scans_of_other_days_are_said_to_be(tmp_path):
    write_ct(tmp_path / "in" / "n", series="n", SeriesDescription="native")
    write_ct(tmp_path / "in" / "c", series="c", SeriesDescription="CTA", AcquisitionDate="20240304")
    _, listed, printed = _run(tmp_path)
    assert "Listed from another examination than the participant's others: 1" in printed
    assert '"hours_from_examination": 48.0' in listed["cta"]["numbers"]
