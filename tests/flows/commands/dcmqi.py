"""dcmqi (Herz et al., Cancer Res 2017;77:e87-e90), another program that reads segmentations and reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest


def asked(program, *arguments):
    """Run a program of dcmqi, which comes with the extra ``dev``."""
    path = Path(sys.executable).with_name(program)
    if not path.is_file():
        if os.environ.get("ASPECTS_REQUIRE_DCMQI") == "1":
            pytest.fail(f"ASPECTS_REQUIRE_DCMQI=1 but there is no {program}. Install the extra dev.")
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def segments(path, folder):
    """Label of every segment of an object -> the image that dcmqi makes of it."""
    folder.mkdir()
    asked("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nifti", "-p", "seg")
    listed = json.loads((folder / "seg-meta.json").read_text())["segmentAttributes"]
    every = (segment for group in listed for segment in group)
    return {one["SegmentLabel"]: nib.load(folder / f"seg-{one['labelID']}.nii.gz") for one in every}


def report(path, folder):
    """A structured report as dcmqi reads it."""
    asked("tid1500reader", "--inputDICOM", path, "--outputMetadata", folder / "sr.json")
    return json.loads((folder / "sr.json").read_text())
