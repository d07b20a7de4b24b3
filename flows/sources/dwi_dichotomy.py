"""``dwi_dichotomy``: the chance of a low ASPECTS from diffusion MR, and nothing else.

The system of paper 5 (RRCNN): twenty slices of the brain seen one after the other by a convolutional network and an
LSTM; a low score is 6 or less. It needs no registration to the template, draws nothing and says nothing of regions. The
weights that ship know synthetic patients alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.folder.source import FormsName, Gives, Source
from cohorts.store.findings import Findings
from flows.cases.case import OpenCase, Outcome
from flows.cases.native_scan import begun, drawn, prepared, refused
from flows.sources.interface import Method
from models.classifier import card_facts, chance_of
from models.weights import Weights, find_weights, has_patient_images, load_weights
from tasks.diffusion.slab import slab_of
from tasks.modality import ScanContrast
from tasks.space.network_grid import network_grid, to_network_grid


class DichotomyFindings(Findings):
    """The chance of a low score."""

    low_score_probability: float | None = None


class DwiDichotomySource(Source):
    """The chance of a low score by a recurrent residual network."""

    about: ClassVar[str] = "chance of an ASPECTS of 6 or less on diffusion MR by a recurrent network"
    findings: ClassVar[type[Findings]] = DichotomyFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"low_score_probability"})

    kind: Literal["dwi_dichotomy"]
    modality: str = Field("dwi", description="Which rows of scans.tsv hold the image of b >= 800 s/mm2")
    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")
    network: str = Field("dwi-dichotomy", description="Name of the trained weights")

    @property
    def scans(self) -> tuple[str, ...]:
        """The image of high b-value."""
        return (self.modality,)

    @property
    def gated_as(self) -> ScanContrast:
        """Diffusion MR."""
        return "dwi"

    @property
    def weights(self) -> Mapping[str, str]:
        """One network."""
        return {self.network: "dwi-dichotomy"}

    @property
    def rule_name(self) -> str:
        """No region is judged; any rule does."""
        return "any"

    @property
    def phrase(self) -> str:
        """What is asked, and what it learned from."""
        behind = "patients' scans" if has_patient_images(self.network) else "synthetic patients"
        return (
            f"the chance of a score of 6 or less by a recurrent network ({self.network}, trained on {behind}) on "
            f"twenty slices of {self.modality}"
        )

    def low_score_probability(self, found: DichotomyFindings) -> float | None:
        """As measured."""
        return found.low_score_probability

    def measure(self, case: OpenCase) -> Outcome:
        """The chance of a low score; a scan whose brain or place is not found is refused as of any other source."""
        from models.networks.recurrent import logits_of  # PyTorch is loaded when a network is first asked

        scan = prepared(case, case.first, "dwi", self.forms)
        findings, files = begun(case, scan, DichotomyFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        affine = scan.image.affine
        grid = network_grid(scan.brain_mask, affine)
        b_high = to_network_grid(scan.image.values, affine, grid)
        brain = to_network_grid(scan.brain_mask.astype(np.float32), affine, grid) > 0.5
        network, curve = _loaded(find_weights(self.network))
        chance = float(chance_of(logits_of(network, slab_of(b_high, brain)[None]), curve)[0])
        files |= drawn(case, scan)
        return Outcome("ok", findings=findings.adding(low_score_probability=chance), files=files)


@lru_cache(maxsize=2)
def _loaded(weights: Weights) -> tuple[Any, tuple[float, float]]:
    """The network, ready to be asked, and its curve from logit to probability; once per process."""
    from models.networks.recurrent import build_dichotomy

    facts = card_facts(weights)
    network = build_dichotomy(facts["preset"])
    network.load_state_dict(load_weights(weights))
    network.eval()
    slope, intercept = facts["calibration"]
    return network, (float(slope), float(intercept))


METHOD = Method(DwiDichotomySource, memory_mib=1200)
