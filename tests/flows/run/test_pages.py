"""Pictures that steps wrote reach the page of their participant: every source on its own label map, none lost."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

from flows.run.pages import _drawings, _index
from reports.figures.perfusion_picture import PERFUSION_SUFFIX
from reports.figures.rendering_picture import RENDERING_SUFFIX
from reports.figures.scan_picture import PICTURE_SUFFIX, picture_files
from tests.reports.page_views import cohort_view


def _plan(tmp_path, measurements, files):
    """A plan whose sources are ``name@map``, with the files of each measurement of ``sub-1``."""
    config, records, maps = {}, {}, {}
    for measurement, (modality, sources) in measurements.items():
        named = [source.split("@") for source in sources]
        maps |= {name: SimpleNamespace(sha256=map_name) for name, map_name in named}
        config[measurement] = [SimpleNamespace(name=name, scans=(modality,), lies_on=modality) for name, _ in named]
        outputs = []
        for name, content in files.get(measurement, {}).items():
            path = f"{measurement}/{name}"
            (tmp_path / measurement).mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
            outputs.append({"path": path})
        records["sub-1", measurement] = SimpleNamespace(outputs=outputs)
    study = SimpleNamespace(config=SimpleNamespace(measurements=config))
    return SimpleNamespace(cohort=study, records=records, maps=maps)


def _found(plan, tmp_path, participant_id="sub-1"):
    return [
        (one.measurement, one.modality, one.sources, one.picture and one.picture["planes"], one.perfusion is not None)
        for one in _drawings(plan, participant_id, tmp_path)
    ]


def test_each_source_is_drawn_on_the_outlines_of_its_own_map(tmp_path):
    pictures = [{"label_map": name, "planes": [name]} for name in ("classic", "territory")]
    files = {"lesion": picture_files("sub-1_lesion", pictures)}
    assert list(files["lesion"]) == ["sub-1_lesion_keyslices.json", "sub-1_lesion_map-territor_keyslices.json"]
    plan = _plan(tmp_path, {"lesion": ("lesion", ["a@classic", "b@territory", "c@classic"])}, files)
    assert _found(plan, tmp_path) == [
        ("lesion", "lesion", ("a", "c"), ["classic"], False), ("lesion", "lesion", ("b",), ["territory"], False),
    ]  # fmt: skip
    assert _found(plan, tmp_path, "sub-2") == []


def test_a_source_whose_map_was_not_drawn_is_not_shown_on_another(tmp_path):
    files = {"ratio": {f"sub-1_ncct{PICTURE_SUFFIX}": {"planes": ["old"]}}}  # of before maps were named: the first
    plan = _plan(tmp_path, {"ratio": ("ncct", ["a@classic", "b@territory"])}, files)
    assert _found(plan, tmp_path) == [
        ("ratio", "ncct", ("a",), ["old"], False), ("ratio", "ncct", ("b",), None, False),
    ]  # fmt: skip


def test_two_measurements_of_one_scan_are_both_shown(tmp_path):
    files = {
        name: {f"sub-1_ctp{PERFUSION_SUFFIX}": {"base": {"label_map": "classic", "planes": [name]}}}
        for name in ("core-ctp", "core-ctp-strict")
    }
    measurements = {"core-ctp": ("ctp", ["wide@classic"]), "core-ctp-strict": ("ctp", ["strict@classic"])}
    plan = _plan(tmp_path, measurements, files)
    assert _found(plan, tmp_path) == [
        ("core-ctp", "ctp", ("wide",), ["core-ctp"], True),
        ("core-ctp-strict", "ctp", ("strict",), ["core-ctp-strict"], True),
    ]


def test_the_panel_of_a_series_is_of_its_first_map_and_other_maps_have_slices(tmp_path):
    files = {
        "core": {
            f"sub-1_ctp{PERFUSION_SUFFIX}": {"base": {"label_map": "classic", "planes": ["panel"]}},
            f"sub-1_ctp_map-territor{PICTURE_SUFFIX}": {"label_map": "territory", "planes": ["slices"]},
        }
    }
    plan = _plan(tmp_path, {"core": ("ctp", ["a@classic", "b@territory"])}, files)
    assert _found(plan, tmp_path) == [
        ("core", "ctp", ("a",), ["panel"], True), ("core", "ctp", ("b",), ["slices"], False),
    ]  # fmt: skip


def test_the_index_has_a_column_for_every_source():
    names = ["mask", "ncct-ratio", "dwi", "core", "reader:A", "reader:B"]
    scores = {"sub-1": [{"source": name, "score": float(place)} for place, name in enumerate(names)]}
    people = [{"participant_id": name, "status": "included"} for name in ("sub-1", "sub-2")]
    page = _index(people, scores, {}, cohort_view())
    assert re.findall(r"ASPECTS, ([^<]*)<", page) == names
    lines = [line for line in page.splitlines() if '<tr><th scope="row">' in line]
    cells = [re.findall(r'<td class="n">(.*?)</td>', line) for line in lines]
    assert cells == [["0", "1", "2", "3", "4", "5"], ["–"] * 6]


def test_the_rendering_of_a_lesion_is_shown_once_whatever_the_number_of_maps(tmp_path):
    pictures = [{"label_map": name, "planes": [name]} for name in ("classic", "territory")]
    rendered = {f"sub-1_dwi{RENDERING_SUFFIX}": {"views": ["three"]}}
    files = {"lesion": picture_files("sub-1_dwi", pictures) | rendered}
    plan = _plan(tmp_path, {"lesion": ("dwi", ["a@classic", "b@territory"])}, files)
    assert [one.rendering for one in _drawings(plan, "sub-1", tmp_path)] == [{"views": ["three"]}, None]
