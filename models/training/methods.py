"""What can be trained: method -> its task, and the plan of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.networks.da_net import DANET_PRESETS, DanetPreset
from models.networks.overlap import OVERLAP_PRESETS, OverlapPreset
from models.networks.recurrent import DICHOTOMY_PRESETS, DichotomyPreset
from models.networks.unet import PRESETS, UNetPreset
from models.training import asymmetry, dichotomy
from models.training.classifiers import CLASSIFIERS
from models.training.dwi import DWI_TASK
from models.training.ncct import NCCT_TASK
from models.training.regions import REGION_TASK
from models.training.trainer import Plan, Task

#: What a lesion drawn on a scan teaches; regions need a map drawn on it, which no kind of source reads.
BY_LESION = ("dwi-unet",)
METHODS: Mapping[str, Task] = {
    "dwi-unet": DWI_TASK,
    "region-net": REGION_TASK,
    "ncct-overlap": NCCT_TASK,
}
#: What a method may be trained as; the recipe of a paper is that of its own system.
PROFILES_OF: Mapping[str, tuple[str, ...]] = {
    "dwi-unet": ("corrected", "as-paper"),
    "region-net": ("corrected",),
    "ncct-overlap": ("corrected", "as-paper"),
    dichotomy.METHOD: ("corrected", "as-paper"),
    asymmetry.ASYMMETRY: ("corrected", "as-paper", "as-code"),
}
#: The networks of a method; of a profile the first is ``small``.
PRESETS_OF: Mapping[str, Mapping[str, UNetPreset | OverlapPreset | DichotomyPreset | DanetPreset]] = {
    "dwi-unet": PRESETS,
    "region-net": PRESETS,
    "ncct-overlap": OVERLAP_PRESETS,
    dichotomy.METHOD: DICHOTOMY_PRESETS,
    asymmetry.ASYMMETRY: DANET_PRESETS,
}
#: As we train, where that differs from ``Plan``: misses cost more than false voxels where an infarct is hard to see, as
#: Salehi et al. (MLMI 2017:379-387) found best for small lesions.
CORRECTED: Mapping[str, Mapping[str, Any]] = {
    "ncct-overlap": {"false_positive": 0.3, "false_negative": 0.7, "batch": 2, "by_region": 1.0},
    dichotomy.METHOD: {"batch": 8, "learning_rate": 1e-3, "average": 0.99},
    asymmetry.ASYMMETRY: {"batch": 32, "learning_rate": 2e-3, "average": 0.99},
}
#: simonsf/ct-aspects, 76899f5, config.py; the paper names neither optimiser nor batch.
_DANET = {"batch": 30, "learning_rate": 6e-5, "weight_decay": 0.0, "average": 0.0}
AS_PAPER: Mapping[str, Mapping[str, Any]] = {
    # paper 4 (Wei et al., Brain Communications fcag053): Adam at 1e-2, batches of 32, loss not named: Dice. On a CPU a
    # batch is 4, the least that batch normalisation can use
    "dwi-unet": {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "batch": 4,
        "false_positive": 0.5,
        "false_negative": 0.5,
    },
    # paper 2 (Deep-ASPECTS), section 4: SGD, a cyclic rate of 5e-3, the loss; a batch is the slices of a window
    "ncct-overlap": {
        "learning_rate": 5e-3,
        "weight_decay": 0.0,
        "loss": "paper-2",
        "optimiser": "sgd",
        "schedule": "cyclic",
    },
    # paper 5 (RRCNN), section 2.4: Adam at 1e-6, batches of 32
    dichotomy.METHOD: {"batch": 32, "learning_rate": 1e-6, "weight_decay": 0.0},
    asymmetry.ASYMMETRY: _DANET,
}
SETTINGS = {"corrected": CORRECTED, "as-paper": AS_PAPER, "as-code": {asymmetry.ASYMMETRY: _DANET}}


#: Of the learning rate where training starts from trained weights: chosen here.
START_RATE = 0.25


def task_of(method: str) -> Task:
    """What a method learns.

    Raises
    ------
    ValueError
        There is no such method.
    """
    check_method(method)
    return METHODS[method]


def check_method(method: str) -> None:
    """Whether it is one that can be trained, network or classifier.

    Raises
    ------
    ValueError
        It is not.
    """
    known = (*METHODS, *CLASSIFIERS, asymmetry.ASYMMETRY, dichotomy.METHOD)
    if method not in known:
        raise ValueError(f"METHOD must be one of {', '.join(known)}, got {method!r}. Choose one of them.")


def plan_for(profile: str, preset: str, method: str = "dwi-unet", **settings: Any) -> Plan:
    """The plan of a profile: ``corrected`` as we train, ``as-paper`` as the paper says, ``as-code`` as its code does.

    Parameters
    ----------
    profile : as below
    preset : of the network, such as ``small``; the profile's own is found by it
    method : of ``METHODS``
    settings : of ``Plan``

    Raises
    ------
    ValueError
        The profile is not known, not one of the method, or has no such preset.
    """
    if profile not in (known := PROFILES_OF.get(method, ("corrected",))):
        raise ValueError(f"--profile must be one of {', '.join(known)}, got {profile!r}.")
    if method in CLASSIFIERS:  # no network and no steps: all patients at once
        n = int(settings["pool"])
        return Plan(preset="", n_steps=0, pool=n, pool_at_start=n, pool_per_step=0.0, seed=int(settings["seed"]))
    presets = PRESETS_OF[method]
    sizes = [name for name, one in presets.items() if one.profile == profile]
    own = [name for name in (preset, f"{profile}-{preset}") if name in sizes] or (sizes if preset == "small" else [])
    if not own:
        shown = ", ".join(name.removeprefix(f"{profile}-") for name in sizes)
        raise ValueError(f"--preset must be one of {shown} with profile {profile}, got {preset!r}.")
    chosen = presets[own[0]]
    if isinstance(chosen, OverlapPreset):
        settings = {"patch": chosen.window, **settings}
    plan = Plan(preset=own[0], **settings)
    return replace(plan, **SETTINGS[profile].get(method, {}))


def with_start(plan: Plan, sha256: str) -> Plan:
    """The plan of a training that starts from trained weights: at a lower rate, so that they are not thrown away.

    Parameters
    ----------
    plan : as from nothing
    sha256 : of the weights
    """
    return replace(plan, start_sha256=sha256, learning_rate=plan.learning_rate * START_RATE)


def with_cohort(plan: Plan, share: float) -> Plan:
    """The plan of a training whose patients are a cohort's by a share; the pool of one without others is empty."""
    if share >= 1:
        plan = replace(plan, pool=0, pool_at_start=0, pool_per_step=0.0)
    return replace(plan, cohort_share=share)


def patients_needed(plan: Plan) -> int:
    """How many patients of the pool a training draws from before it ends."""
    return min(plan.pool, int(plan.pool_at_start + plan.pool_per_step * max(0, plan.n_steps - 1)))
