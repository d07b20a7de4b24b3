"""Pictures that steps wrote reach the page of their participant, each by the ending of its file."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd

from flows.run.pages import TABLES_OF_A_PATIENT, _views
from reports.figures.perfusion_picture import PERFUSION_SUFFIX


def test_a_perfusion_file_of_a_record_is_the_perfusion_of_its_modality(tmp_path):
    files = {f"sub-1_ctp{PERFUSION_SUFFIX}": {"scales": [], "base": {"planes": [1]}}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    record = SimpleNamespace(outputs=[{"path": name} for name in [*files, "sub-1_ctp_cbf.nii.gz"]])
    config = SimpleNamespace(measurements={"m": [SimpleNamespace(scans=("ctp",))]})
    plan = SimpleNamespace(cohort=SimpleNamespace(config=config), records={("sub-1", "m"): record})
    frames = {name: pd.DataFrame({"participant_id": []}) for name in TABLES_OF_A_PATIENT}
    frames["participants"] = pd.DataFrame({"participant_id": ["sub-1", "sub-2"]})
    with_files, without = _views(plan, frames, tmp_path)
    assert with_files.perfusion["ctp"]["scales"] == []
    assert with_files.pictures == {"ctp": {"planes": [1]}}
    assert without.perfusion == without.pictures == {}
