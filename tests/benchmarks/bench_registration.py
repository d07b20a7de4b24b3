"""Our registration beside elastix, ANTs and SimpleITK on real scans, in one run; this script installs the peers.

    python -m tests.benchmarks.bench_registration DATA WORK [--starts 100]

DATA is the folder of the shared real data. The peers get our brain masks for nothing and the template's T1 on the 2
mm grid; our seconds include block means and mask. Printed per method: CPU and wall seconds per scan (images in
memory, warm), peak memory of its process, mean pairwise Dice of the 20 region labels of the three CT patients after
nearest-neighbour warping to the template, and Dice of the warped brain masks with the template's. With ``--starts``:
our results from random head positions (up to 30 degrees, up to 40 mm, uniform), the mean displacement of the brain
between any two, and failures (more than 5 mm from the result of the scan as given).

The label order of the given segmentations is inconsistent between patients (caudate, insula, capsule, lentiform in the
first; caudate, capsule, lentiform, insula in the others) and is made equal here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map, load_template
from tasks.brain import Brain, ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.registration.affine import Registration, register
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import labels_to_template, refine
from tasks.space.resample import Grid, resample_labels
from tasks.space.working_grid import WorkingScan, to_native_grid, to_working_grid

PEER_PACKAGES = ("antspyx==0.6.3", "itk-elastix==0.25.4", "SimpleITK==2.5.7")
CT = {f"sub00{n}": f"ncct-aspects/sub00{n}/im_aligned.nii.gz" for n in (1, 2, 3)}
DWI = {
    "isles0009": "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_dwi.nii.gz",
    "isles0001": "dwi/isles22-case0001/dwi.nii.gz",
    "jhu02": "dwi/jhu-subject02/Subject02_DWI.nii.gz",
}
#: Stored label -> one of ASPECTS_REGIONS in our order (caudate, lentiform, capsule, insula, M1..M6), right side.
FIRST_ORDER = {1: 1, 2: 4, 3: 3, 4: 2}
OTHER_ORDER = {1: 1, 2: 3, 3: 2, 4: 4}


def region_labels(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The given segmentation in our label order."""
    image = nib.load(data / "ncct-aspects" / name / "im_aligned_stripped_seg.nii.gz")
    order = FIRST_ORDER if name == "sub001" else OTHER_ORDER
    table = np.arange(21, dtype=np.int16)
    for stored, ours in order.items():
        table[stored], table[10 + stored] = ours, 10 + ours
    return table[np.asarray(image.dataobj).astype(np.int16)], image.affine


def prepare(path: Path, modality: str) -> tuple[WorkingScan, Brain]:
    """Working grid and brain mask of a scan."""
    image = nib.load(path)
    values = np.asarray(image.dataobj)
    if modality == "ct":
        scan = ct_working_scan(values, image.affine)
        return scan, extract_ct_brain(scan)
    scan = mr_working_scan(values, image.affine)
    return scan, extract_mr_brain(scan)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks."""
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def template_grid() -> tuple[Grid, np.ndarray]:
    """The template's 2 mm grid and brain mask."""
    target = template_target("ct")
    return Grid(target.brain.shape, target.affine), target.brain


def pairwise_dice(data: Path, matrices: dict[str, np.ndarray]) -> float:
    """Mean over patient pairs and labels."""
    grid, _ = template_grid()
    warped = [resample_labels(*region_labels(data, name), grid, matrices[name]) for name in CT]
    return float(
        np.mean(
            [
                dice(one == label, other == label)
                for one, other in itertools.combinations(warped, 2)
                for label in range(1, 21)
            ]
        )
    )


def brain_dice(path: Path, modality: str, matrix: np.ndarray) -> float:
    """Our brain mask warped to the template beside the template's, over the whole grid."""
    scan, brain = prepare(path, modality)
    grid, template_brain = template_grid()
    return dice(resample_labels(brain.mask, scan.affine, grid, matrix), template_brain)


def run_ours(data: Path, work: Path) -> None:
    """Register every scan; called in a process of its own, so that its peak memory is its own."""
    template_target("ct"), template_target("dwi")
    rows = {}
    for modality, scans in (("ct", CT), ("dwi", DWI)):
        for _ in range(2):  # the first turn warms up
            for name, path in scans.items():
                image = nib.load(data / path)
                values = np.asarray(image.dataobj)
                cpu, wall = time.process_time(), time.perf_counter()
                if modality == "ct":
                    scan = ct_working_scan(values, image.affine)
                    brain = extract_ct_brain(scan)
                else:
                    scan = mr_working_scan(values, image.affine)
                    brain = extract_mr_brain(scan)
                mask_cpu = time.process_time()
                result = register(scan, brain, template_target("ct" if modality == "ct" else "dwi"))
                done = time.process_time()
                rows[f"moving_{modality}_{name}.nii.gz"] = {
                    "cpu_s": done - cpu,
                    "mask_cpu_s": mask_cpu - cpu,
                    "wall_s": time.perf_counter() - wall,
                    "fixed_to_moving": result.matrix.tolist(),
                    "reason": result.reason,
                }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (work / "ours.json").write_text(json.dumps({"scans": rows, "peak_mib": peak}))


def write_inputs(data: Path, work: Path) -> None:
    """The template and the brain-extracted scans for the peers."""
    template = load_template()
    fixed = to_working_grid(template.t1, template.affine, (0, float(template.t1.max())))
    nib.save(nib.Nifti1Image(fixed.values, fixed.affine), work / "fixed.nii.gz")
    for modality, scans in (("ct", CT), ("dwi", DWI)):
        for name, path in scans.items():
            image = nib.load(data / path)
            scan, brain = prepare(data / path, modality)
            values = np.asarray(image.dataobj, dtype=np.float32)
            if modality == "ct":
                values = np.clip(values, 0, 80)
            values = np.where(to_native_grid(brain.mask, scan), values, 0)
            nib.save(nib.Nifti1Image(values, image.affine), work / f"moving_{modality}_{name}.nii.gz")


def peer_python(work: Path) -> Path:
    """An environment of its own with the peers, made once."""
    folder = work / "peers"
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return python


def report(data: Path, work: Path, method: str) -> tuple[float, float]:
    """Print one method's line; returns its mean CPU seconds on CT and DWI."""
    done = json.loads((work / f"{method}.json").read_text())
    rows = done["scans"]
    ct = {name: rows[f"moving_ct_{name}.nii.gz"] for name in CT}
    dwi = {name: rows[f"moving_dwi_{name}.nii.gz"] for name in DWI}
    regions = pairwise_dice(data, {name: np.array(row["fixed_to_moving"]) for name, row in ct.items()})
    overlaps = {
        name: brain_dice(data / path, modality, np.array(group[name]["fixed_to_moving"]))
        for modality, scans, group in (("ct", CT, ct), ("dwi", DWI, dwi))
        for name, path in scans.items()
    }
    cpu_ct, cpu_dwi = (float(np.mean([row["cpu_s"] for row in group.values()])) for group in (ct, dwi))
    wall_ct = float(np.mean([row["wall_s"] for row in ct.values()]))
    print(
        f"{method:10s} CT {cpu_ct:6.3f} CPU s {wall_ct:6.3f} wall s, "
        f"DWI {cpu_dwi:6.3f} CPU s, "
        f"peak {done['peak_mib']:.0f} MiB, regions {regions:.4f}, "
        f"brain CT {np.mean([overlaps[name] for name in CT]):.4f} DWI "
        + " ".join(f"{name} {overlaps[name]:.4f}" for name in DWI),
        flush=True,
    )
    return cpu_ct, cpu_dwi


def random_pose(generator: np.random.Generator, centre: np.ndarray) -> np.ndarray:
    """A rotation of up to 30 degrees about the brain and a shift of up to 40 mm, directions uniform."""
    axis, shift = (direction / np.linalg.norm(direction) for direction in generator.normal(size=(2, 3)))
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.radians(generator.uniform(0, 30)) * axis).as_matrix()
    pose[:3, 3] = centre - pose[:3, :3] @ centre + generator.uniform(0, 40) * shift
    return pose


def report_starts(path: Path, modality: str, n_starts: int) -> None:
    """Print how far results from random poses lie from each other."""
    scan, brain = prepare(path, modality)
    target = template_target("ct" if modality == "ct" else "dwi")
    plain = register(scan, brain, target)
    points = np.argwhere(target.brain)[::200] @ target.affine[:3, :3].T + target.affine[:3, 3]
    centre = scan.affine[:3, :3] @ np.argwhere(brain.mask).mean(axis=0) + scan.affine[:3, 3]
    generator = np.random.default_rng(2026)
    ends, refused = [_moved(plain.matrix, points)], 0
    for _ in range(n_starts):
        pose = random_pose(generator, centre)
        turned = WorkingScan(scan.values, pose @ scan.affine, scan.factors, scan.native_shape)
        result: Registration = register(turned, brain, target)
        refused += bool(result.reason)
        ends.append(_moved(np.linalg.inv(pose) @ result.matrix, points))
    all_ends = np.array(ends)
    from_plain = np.linalg.norm(all_ends[1:] - all_ends[0], axis=2).mean(axis=1)
    apart = max(np.linalg.norm(all_ends - one, axis=2).mean(axis=1).max() for one in all_ends)
    print(
        f"{path.parent.name}/{path.name}: {n_starts} starts, {(from_plain > 5).sum()} failures, {refused} refused, "
        f"median {np.median(from_plain):.3f} mm, largest distance between two results {apart:.3f} mm",
        flush=True,
    )


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def report_regions(data: Path) -> None:
    """Print Dice of our maps, brought into each scan, against the given segmentation, affine and refined.

    Both sides are counted together. Below: mean pairwise Dice of the patients' regions on the template, which does not
    depend on how a map is drawn.
    """
    target, grid = template_target("ct"), template_grid()[0]
    label_maps = {name: load_label_map(name) for name in ("classic", "territory")}
    per_scan: dict[tuple[str, str], list[list[float]]] = {(m, h): [] for m in label_maps for h in ("affine", "refined")}
    warped: dict[str, list[np.ndarray]] = {"affine": [], "refined": []}
    cpu_s, lengths = [], []
    for name, path in CT.items():
        truth, affine = region_labels(data, name)
        scan, brain = prepare(data / path, "ct")
        plain = register(scan, brain, target)
        begun = time.process_time()
        refinement = refine(scan, brain, target, plain)
        cpu_s.append(time.process_time() - begun)
        lengths.append((refinement.mean_mm, refinement.largest_mm, refinement.smallest_volume_ratio))
        native = Grid(truth.shape, affine)
        for map_name, one in label_maps.items():
            both = {
                "affine": resample_labels(one.labels, one.affine, native, plain.moving_to_fixed),
                "refined": labels_to_scan(one.labels, one.affine, native, refinement),
            }
            for how, ours in both.items():
                per_scan[map_name, how].append([side_free_dice(ours, truth, label) for label in range(1, 11)])
        warped["affine"].append(resample_labels(truth, affine, grid, plain.matrix))
        warped["refined"].append(labels_to_template(truth, affine, grid, refinement))
    names = [label.region for label in label_maps["classic"].table.labels if label.side == "right"]
    print(" " * 18 + " ".join(f"{name[:9]:>9s}" for name in [*names, "mean"]))
    for (map_name, how), rows in per_scan.items():
        means = [*np.mean(rows, axis=0), np.mean(rows)]
        print(f"{map_name:9s} {how:8s}" + " ".join(f"{value:9.3f}" for value in means), np.mean(rows, axis=1).round(3))
    for how, maps in warped.items():
        pairs = [
            [np.mean([dice(one == side, other == side) for side in (label, label + 10)]) for label in range(1, 11)]
            for one, other in itertools.combinations(maps, 2)
        ]
        means = [*np.mean(pairs, axis=0), np.mean(pairs)]
        print(f"{'patients':9s} {how:8s}" + " ".join(f"{value:9.3f}" for value in means))
    mean_mm, largest_mm, ratio = np.transpose(lengths)
    print(
        f"refinement {np.mean(cpu_s):.2f} CPU s, mean {mean_mm.mean():.1f} mm, largest {largest_mm.max():.1f} mm, "
        f"smallest volume ratio {ratio.min():.2f}",
        flush=True,
    )


def side_free_dice(one: np.ndarray, other: np.ndarray, label: int) -> float:
    """Overlap of a region, both sides together."""
    return dice((one == label) | (one == label + 10), (other == label) | (other == label + 10))


def main() -> None:
    """Run every method, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--starts", type=int, default=0)
    parser.add_argument("--ours", action="store_true", help="register with our method only")
    arguments = parser.parse_args()
    data, work = arguments.data, arguments.work
    work.mkdir(parents=True, exist_ok=True)
    if arguments.ours:
        run_ours(data, work)
        return
    python = peer_python(work)
    write_inputs(data, work)
    subprocess.run([sys.executable, "-m", __spec__.name, str(data), str(work), "--ours"], check=True)
    ours = report(data, work, "ours")
    script = Path(__file__).with_name("registration_peers.py")
    seconds = []
    for peer in ("elastix", "ants", "simpleitk"):
        subprocess.run([python, script, peer, str(work)], check=True, stdout=subprocess.DEVNULL)
        seconds.append(report(data, work, peer))
    fastest = np.min(seconds, axis=0) / ours
    print(f"CPU of the fastest peer over ours: CT {fastest[0]:.1f}x, DWI {fastest[1]:.1f}x", flush=True)
    report_regions(data)
    if arguments.starts:
        for modality, scans in (("ct", CT), ("dwi", DWI)):
            for path in scans.values():
                report_starts(data / path, modality, arguments.starts)
                if modality == "ct":
                    report_starts(data / path.replace("im_aligned", "im"), modality, arguments.starts)


if __name__ == "__main__":
    main()
