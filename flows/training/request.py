"""What was asked for on the command line of ``aspects train``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flows.run.request import RunRequest, UsageError
from models.training.methods import BY_LESION, METHODS, check_method


@dataclass(frozen=True)
class TrainRequest:
    """A training.

    Attributes
    ----------
    method : what is trained
    anatomies, lesions : folders of label maps and of masks; None without synthetic patients
    run : where it is written, and by which workers; its ``cohort`` is not read
    preset, profile : of the network and of the recipe
    n_steps, n_pool : steps, and synthetic patients to train on
    n_judged : synthetic patients each of validation and test
    seed : of everything that is drawn
    hold_out : anatomies that only test
    licences : kind -> licence as the user says; else the licence files of the folder
    cohort : folder of patients whose lesion is drawn on their scan; None without
    drawn_by : name of the source whose lesions are learned; empty where there is one only
    cohort_share : of the patients that a step sees, where there are synthetic ones besides
    start : trained weights to start from: a file, or the name of weights that ship; empty to start from nothing
    """

    method: str
    anatomies: Path | None
    lesions: Path | None
    run: RunRequest
    preset: str = "small"
    profile: str = "corrected"
    n_steps: int = 4000
    n_pool: int = 1500
    n_judged: int = 100
    seed: int = 0
    hold_out: tuple[str, ...] = ()
    licences: dict[str, str] = field(default_factory=dict)
    cohort: Path | None = None
    drawn_by: str = ""
    cohort_share: float = 0.5
    start: str = ""

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.run.out

    @property
    def work(self) -> Path:
        """Folder for what may be deleted between runs."""
        return self.run.work

    @property
    def is_synthetic(self) -> bool:
        """Whether it learns from synthetic patients, perhaps among others."""
        return self.anatomies is not None

    @property
    def share(self) -> float:
        """Share of patients that come from the cohort."""
        if self.cohort is None:
            return 0.0
        return self.cohort_share if self.is_synthetic else 1.0


def check_usage(request: TrainRequest) -> None:
    """Refuse options that do not go together.

    Raises
    ------
    UsageError
        They do not.
    ValueError
        The method is not known.
    """
    check_method(request.method)
    if request.start and request.method not in METHODS:
        raise UsageError(f"--start must be given with a network that segments, got {request.method}. Leave it out.")
    if (request.anatomies is None) != (request.lesions is None):
        given, missing = ("--lesions", "--anatomies") if request.anatomies is None else ("--anatomies", "--lesions")
        raise UsageError(f"--anatomies and --lesions must be given together, got {given} alone. Give {missing} too.")
    if request.cohort is None and not request.is_synthetic:
        raise UsageError(
            "something to learn from must be given, got none. Give --anatomies and --lesions for synthetic patients, "
            "--cohort for a site's own, or all three."
        )
    if request.cohort is None:
        for option, is_given in (("--cohort-licence", "patient" in request.licences), ("--drawn-by", request.drawn_by)):
            if is_given:
                raise UsageError(
                    f"{option} must be given with --cohort, got no cohort. Give --cohort, or leave it out."
                )
        return
    if request.method not in BY_LESION:
        of_regions = "it learns regions, and a cohort folder holds no regions drawn on a scan"
        is_lesion = request.method in METHODS and METHODS[request.method].is_lesion
        why = "a cohort's CT are not prepared for it" if is_lesion else of_regions
        raise UsageError(
            f"METHOD with --cohort must be one of {', '.join(BY_LESION)}, got {request.method}: {why}. Train it with "
            "--anatomies and --lesions alone."
        )
    if not request.licences.get("patient", "").strip():
        raise UsageError(
            "--cohort-licence must say what the patients' consent or the data's licence allows, got none. Give it: it "
            "is written on the card of the weights."
        )
    if not 0 < request.cohort_share < 1:
        raise UsageError(f"--cohort-share must be > 0 and < 1, got {request.cohort_share:g}. Give a share such as 0.5.")
    if request.hold_out and not request.is_synthetic:
        raise UsageError("--hold-out must be given with --anatomies, got none. Leave it out.")
