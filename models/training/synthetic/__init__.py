"""Synthetic patients to learn from: a real anatomy, deformed, an infarct of real shape, and what scanners make of it.

One *patient* is drawn from a `Recipe`: an anatomy (``models.training.anatomies``) in a random pose under a smooth
deformation with an asymmetric part, its cortex thinned or its sulci filled (``anatomy``); disease of the white matter,
old lesions, an acute infarct from a mask in template space, or grown, with its age and swelling, sometimes a bleeding
(``disease``); arteries and veins (``vessels``). Its scans follow by forward contrast: of diffusion MR the signal
``density exp(-TE/T2) exp(-b ADC)`` at b = 0 and at b-high (``diffusion``), of CT the sum of HU, plain and with contrast
agent (``ct``); then scanner, slices, noise and the brain mask as they are in practice. All numbers are drawn widely, so
that a real scan is one more variation. Each scan has a random generator of its own.

Everything lies on one grid of 2 mm (``grid.GRID_SHAPE``), slices along the third axis. Nothing here needs SimpleITK.
"""

from __future__ import annotations

from models.training.synthetic.patient import SyntheticPatient, draw_patient
from models.training.synthetic.recipe import Recipe, with_settings

__all__ = ["Recipe", "SyntheticPatient", "draw_patient", "with_settings"]
