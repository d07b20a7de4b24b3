"""What trained weights say of every region of real plain CTs, beside ``ncct-ratio``: guards, for five decide nothing.

    python -m tests.benchmarks.guards_ncct DATA models/weights/ncct-radiomics.safetensors [WEIGHTS ...]

DATA is the folder of the shared real data. Three scans with readings, as scanned and aligned; two without an acute
infarct (one of AISD by eye, one thin with an old frontal defect), in which nothing should be called; and one more of
AISD, of which is known that next to nothing is bright on diffusion MR 92 minutes later. Of each region of either side:
the relative difference of its density from the other side in percent and, of all weights, the chance in percent; a star
where it is called (by ``ncct-ratio``; by the cuts that come with the weights; of a network that draws, where the mean
probability is a tenth). Then, over the regions of the scans with readings: the area under the ROC curve, in how many
the side with the higher mean is the read one, and calls.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cohorts.images.nifti import ImageProblemError, nifti_bytes
from cohorts.images.scan import ScanImage, read_scan
from flows.cases.native_scan import prepare, refined
from models.anatomy.template import load_label_map
from models.training.classifier_judging import area
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, SHORT_CODES
from tasks.density.rule import NCCT_RATIO
from tests.benchmarks.accuracy_baselines_ncct import SCANS, read_truth
from tests.benchmarks.boosted_tables import ASKED, densities_of, said_by
from tests.benchmarks.synthetic_beside_real import real_cts

MAP = "classic"
DRAWN = 0.1  # mean probability over a region that calls it, of a network that draws: METHODS A.3
RATIO = "ncct-ratio"
FORMS = ("im", "im_aligned")
Truth = tuple[str, tuple[str, ...]]


@dataclass
class Tally:
    """Scores and truth of the regions of scans with readings, of one judge and one form."""

    scores: list[float] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)
    sides: list[bool] = field(default_factory=list)
    n_found: int = 0
    n_false: int = 0

    def add(self, scores: np.ndarray, calls: np.ndarray, truth: Truth) -> None:
        """One scan: (2, 10) arrays, left and right."""
        side, regions = truth
        affected = np.array([[here == side and one in regions for one in ASPECTS_REGIONS] for here in HEMISPHERES])
        known = np.isfinite(scores)
        self.scores += scores[known].tolist()
        self.truth += affected[known].tolist()
        left, right = np.nanmean(scores, axis=1)
        self.sides.append(bool((left > right) == (side == "left")))
        self.n_found += int((calls & affected).sum())
        self.n_false += int((calls & ~affected).sum())

    def text(self) -> str:
        """One line."""
        truth = np.array(self.truth)
        return (
            f"AUC {area(truth, np.array(self.scores)):.3f} over {len(truth)} regions, {int(truth.sum())} affected; "
            f"side right {sum(self.sides)}/{len(self.sides)}; called {self.n_found} affected and {self.n_false} others"
        )


def scans(data: Path) -> Iterator[tuple[str, str, ScanImage, Truth | None]]:
    """Name, form, image and reading of every scan."""
    for name, values, affine in real_cts(data):
        image = read_scan(nifti_bytes(values, affine), f"{name}.nii.gz", "ncct", forms="sform")
        reading = data / "ncct-aspects" / name / "GroundTruth.txt"
        yield name, "im", image, _reading(reading) if name in SCANS else None
    for name in SCANS:
        path = data / "ncct-aspects" / name / "im_aligned.nii.gz"
        image = read_scan(path.read_bytes(), path.name, "ncct", forms="sform")
        yield name, "im_aligned", image, _reading(path.with_name("GroundTruth.txt"))


def _reading(path: Path) -> Truth:
    side, regions = read_truth(path)
    return side, tuple(regions)


def by_side(values: list[float | None]) -> np.ndarray:
    """(2, 10) array, left and right, of values in the order of the label table; NaN without."""
    found = dict(zip(((one.side, one.region) for one in load_label_map(MAP).table.labels), values, strict=True))
    rows = [[found[side, region] for region in ASPECTS_REGIONS] for side in HEMISPHERES]
    return np.array([[np.nan if one is None else one for one in row] for row in rows])


def row_text(judge: str, shown: np.ndarray, calls: np.ndarray) -> str:
    """One judge's regions of one scan."""
    lines = []
    for at, side in enumerate(HEMISPHERES):
        cells = (
            f"{SHORT_CODES[region]} " + ("-" if np.isnan(value) else f"{100 * value:.1f}") + ("*" if call else "")
            for region, value, call in zip(ASPECTS_REGIONS, shown[at], calls[at], strict=True)
        )
        lines.append(f"    {judge:16s} {side:5s} {int(calls[at].sum())} called: " + ", ".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Every scan, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, nargs="*")
    given = parser.parse_args()
    ASKED.label_map = MAP
    indices = tuple(label.index for label in load_label_map(MAP).table.labels)
    cards = {path.stem: json.loads(path.with_suffix(".json").read_text()) for path in given.weights}
    cuts = {}
    for name, card in cards.items():
        own = card["classifier"]["cuts"] if "classifier" in card else dict.fromkeys(ASPECTS_REGIONS, DRAWN)
        cuts[name] = np.array([own[one] for one in ASPECTS_REGIONS])
    tallies = {(judge, form): Tally() for judge in (RATIO, *cuts) for form in FORMS}
    for name, form, image, truth in scans(given.data):
        began = time.process_time()
        try:
            scan = refined(prepare(image, "ct"))
        except ImageProblemError as error:
            print(f"{name} {form}: {error.reason}")
            continue
        read = "not read" if truth is None else f"read {truth[0]} {' '.join(SHORT_CODES[one] for one in truth[1])}"
        if not scan.registration.is_usable:
            print(f"{name} {form}, {read}: {scan.registration.reason}")
            continue
        differences = by_side([row["relative_difference"] for row in densities_of(scan)])
        ratio_cuts = np.array([NCCT_RATIO.cuts[one] for one in ASPECTS_REGIONS])
        said = {RATIO: (-differences, 1 + differences < ratio_cuts, differences)}
        for path in given.weights:
            chances = by_side(said_by(path, scan, indices))
            said[path.stem] = (chances, chances >= cuts[path.stem], chances)
        print(f"{name} {form}, {read}, {time.process_time() - began:.0f} CPU s")
        for judge, (scores, calls, shown) in said.items():
            print(row_text(judge, shown, calls), flush=True)
            if truth is not None:
                tallies[judge, form].add(scores, calls, truth)
    for (judge, form), tally in tallies.items():
        print(f"** {judge}, {form}: {tally.text()}")


if __name__ == "__main__":
    main()
