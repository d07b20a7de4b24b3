"""What to do about a reason for leaving a patient out, in plain words; the detail beside it has the measured values."""

from __future__ import annotations

_EXPORT = (
    "The file itself is damaged or not what its row says. Export or copy this one file again from the archive, put it "
    "in the same place, and run again."
)
_UNIT = (
    "The values are not in a unit that can be recognised. Export the series again with its rescale slope, intercept "
    "and unit, and without display processing such as windowing."
)
_VIEW = (
    "Not all of the brain is on the scan. If the archive has a series of the whole head from the same examination, "
    "name that one in scans.tsv. If the study can do with a part, set a wider limit of the figure that the detail "
    "names ([[gate]] in cohort.toml)."
)
_REGISTRATION = (
    "The template does not fit this head. Look at the registration check below, where there is one: if the orange "
    "outline does not follow the brain, the scan may be in the wrong orientation, cut, or of another modality than "
    "scans.tsv says. If the outline does follow the brain, the anatomy is far from normal and the pose right: set a "
    "wider limit of the figure that the detail names ([[gate]] in cohort.toml)."
)
_VOXEL_SIZE = (
    "A head of this size does not exist among adults. Check the voxel size that the export wrote, and export the "
    "series again; for small or large heads set wider limits of the figure that the detail names ([[gate]] in "
    "cohort.toml)."
)
_NOISE = (
    "The image is too poor to see an early infarct. If the archive has another reconstruction or series of the same "
    "examination, smoother or without the artefact, name that one in scans.tsv; otherwise leave the patient out."
)
_MODALITY = (
    "The scan is not what its row of scans.tsv says. Correct the modality there, or put the right file in its place."
)
_BOLUS = (
    "The passage of the contrast agent was not recorded whole, and nobody can add what is missing. Check that all "
    "frames were exported; if they were, this patient cannot be scored from perfusion."
)
_FRAMES = (
    "The times of the frames are missing or wrong. Export the series again with its acquisition times, or correct them "
    "in the file beside the scan."
)
_FLOW_MAP = (
    "The map does not hold flow in a known unit. Export the numbers of the map, not its colours, together with the "
    "unit, or give the perfusion series itself."
)
_SPACE = (
    "The mask does not lie where the brain is. It is most likely in the scan's own space or on another grid: warp it "
    "to the template and write it with the template's affine."
)
_PLACING = (
    "A region came to lie in fluid, as in a brain with wide ventricles, so that there is no score. On plain CT and "
    'diffusion scans with the classic regions let the network draw them (registration = "network" of this source); '
    "otherwise look at the page of the scan, and allow more fluid (most_fluid) where the regions lie well."
)
_VENDOR = (
    "The software reports that it failed on this patient, in the words of the detail. That is a result of a "
    "validation: leave it, unless the scan that it was given was the wrong one."
)
_PATH = "Put the file as an ordinary NIfTI file inside the cohort folder, correct its path in scans.tsv, and run again."
_TABLE = "Correct the line of the table that the detail names, and run again: only this patient is redone."

REMEDIES = {
    **dict.fromkeys(
        ("truncated_file", "unreadable_file", "file_unreadable", "file_empty", "not_nifti", "constant_image",
         "scan_not_finite", "mask_not_finite", "wrong_dimensions", "pixels_unreadable", "conversion_differs",
         "image_too_large"),
        _EXPORT,
    ),
    **dict.fromkeys(("hounsfield_unknown", "not_hounsfield", "adc_unit_unknown", "unit_unknown", "rescale_missing",
         "values_clipped"), _UNIT),
    **dict.fromkeys(("brain_cut_at_side", "brain_cut_at_end", "field_of_view_too_small", "ganglionic_level_not_covered",
         "supraganglionic_level_not_covered"), _VIEW),
    **dict.fromkeys(("registration_diverged", "registration_overlap_too_low", "registration_tissue_mismatch"),
                    _REGISTRATION),
    "region_not_tissue": _PLACING,
    "region_not_found": "The network drew no voxel of a region that the atlas has on this scan, so that there is no "
    "score. Look at the page of the scan; where the outlines of the atlas lie well, let it place the regions "
    '(registration = "refined" of this source).',
    **dict.fromkeys(("brain_too_small", "brain_too_large", "brain_volume_out_of_range",
         "registration_scale_out_of_range"), _VOXEL_SIZE),
    **dict.fromkeys(("noise_too_high", "streak_artefact", "metal_in_scan", "signal_too_low"), _NOISE),
    **dict.fromkeys(("label_image", "signal_negative", "contrast_present", "contrast_missing"), _MODALITY),
    **dict.fromkeys(("bolus_before_start", "bolus_truncated", "two_bolus_peaks", "too_few_frames", "no_contrast",
         "no_arterial_input", "bolus_undersampled"), _BOLUS),
    **dict.fromkeys(("frame_times_missing", "frame_times_not_increasing", "frame_interval_implausible",
         "frame_gap", "frames_out_of_order"), _FRAMES),
    **dict.fromkeys(("cbf_unit_unknown", "cbf_implausible", "colour_map", "map_empty"), _FLOW_MAP),
    **dict.fromkeys(("path_escapes_cohort", "path_with_backslash", "path_is_folder", "not_a_file", "missing_path"),
                    _PATH),
    **dict.fromkeys(("missing_modality", "duplicate_scan", "same_file_twice", "invalid_participant_id"), _TABLE),
    **dict.fromkeys(("wrong_grid", "lesion_outside_brain", "unlike_template"), _SPACE),
    "no_brain_found": "No head was found on this scan. Check that the row of scans.tsv names the right series and "
    "modality: scouts, dose pages and scans of other body parts end here.",
    "head_tilt_too_large": "The head lies at an angle at which nobody is scanned. Check the orientation that the "
    "export wrote; a volume turned by a viewer and saved again is the usual cause. If the head did lie so, set a "
    "larger maximum of tilt_deg ([[gate]] in cohort.toml).",
    "wrong_affine": "The file does not say properly where its voxels lie. Convert it again from DICOM; a series with "
    "gantry tilt goes through 'aspects import', which corrects it.",
    "forms_disagree": "The file holds two positions in space (qform and sform) that contradict each other. Find out "
    "which program wrote it and which of the two it meant, or convert it again from DICOM.",
    "empty_mask": "The mask has no lesion voxel. If there is no lesion, say so in the study's tables; if there is one, "
    "segment it again.",
    "mask_values_not_binary": "The mask holds more than two values. Save the lesion alone, 0 outside and 1 inside.",
    "slices_too_thick": "Slices this thick mix an infarct with healthy tissue. If the archive has thinner slices of "
    "the same examination, name that series in scans.tsv; if the whole cohort was scanned so, set a larger maximum of "
    "slice_step_mm ([[gate]] in cohort.toml).",
    "slice_count_out_of_range": "The scan has more or fewer slices than this study allows. Check that all slices of "
    "one series, and only those, were exported.",
    "hemispheres_differ": "One half of the brain is brighter than the other as a whole. Check for shading and that the "
    "registration below follows the mid-line; with a whole hemisphere infarcted, widen the limit in cohort.toml.",
    **dict.fromkeys(("chronic_suspected", "haemorrhage_suspected"), "This study leaves out scans on which an old "
    "infarct or a haemorrhage is suspected from the density. Look at the scan: where there is none, set a larger "
    "maximum of the figure that the detail names ([[gate]] in cohort.toml)."),
    "no_reference_tissue": "There is no healthy tissue on the other side to compare with, by disease or because it is "
    "out of view. This patient cannot be scored from perfusion.",
    "normal_tissue_not_found": "Too little of the brain looks like healthy tissue to compare a lesion with. Check that "
    "scan and ADC belong together, and that the scan is the diffusion image of b >= 800 and no map.",
    **dict.fromkeys(("too_many_frames_rejected", "head_moved"), "The head moved too much during the perfusion scan. "
    "Look at the motion trace and the slices below; if the study can do with what is left, widen the limit in "
    "cohort.toml."),
    **dict.fromkeys(("frame_count_out_of_range", "frame_interval_out_of_range"), "This perfusion scan was not acquired "
    "by the study's protocol. Check that the whole series, and only it, was exported."),
    **dict.fromkeys(("arterial_input_poor", "vof_scaling_out_of_range"), "Artery or vein may be chosen wrongly. Look "
    "at their curves and positions below; give better voxels in the sidecar (ArterialInputVoxels, "
    "VenousOutputVoxels)."),
    **dict.fromkeys(("ct_missing", "map_outside_ct"), "A workstation's map needs a CT in the same space to find the "
    "brain on. Export the average or baseline CT together with the map, and list both in scans.tsv."),
    "tmax_missing": "The study asks for Tmax as well as CBF. Add the Tmax map of this patient, or leave core_tmax_s "
    "out of the source.",
    **dict.fromkeys(("sidecar_unreadable", "sidecar_not_used"), "The JSON file beside the scan is damaged or out of "
    "reach. Write it again, or delete it if the header of the scan says everything."),
    "scan_of_mask_missing": "A lesion drawn on a scan is read together with that scan. List the scan of this patient "
    "in scans.tsv, under the modality that the source names as scan.",
    "mask_not_on_scan": "The mask has other voxels than the scan on which it was drawn. Open both in the program in "
    "which it was drawn and save the mask with the scan as its reference, or name the right scan in scans.tsv.",
    "lesion_outside_scan": "The lesion does not lie in the brain of its scan. It is most likely that of another scan "
    "or patient, or was saved with its axes exchanged: look at the picture below, and put the right file in its place.",
    "labels_not_whole": "The file of drawn regions holds other than whole numbers: it was smoothed, or resampled like "
    "an image. Save the labels again as they were drawn; resample labels by nearest neighbour.",
    "label_without_row": "The file of drawn regions holds a number that the label table does not name. Add its row to "
    "the table, or give the table by which these regions were drawn (labels of [[drawn_regions]] in cohort.toml).",
    "labels_not_on_scan": "The drawn regions have other voxels than the scan. Open both in the program in which they "
    "were drawn and save the labels with the scan as their reference, or name the right scan in scans.tsv.",
    "labels_outside_scan": "The drawn regions do not lie in the brain of this scan. They are most likely those of "
    "another scan or patient: put the right file in its place.",
    "labels_turned_round": "The drawn regions come in the opposite order of the atlas, as left for right. Either the "
    "file was saved with an axis turned round, or the label table gives the numbers other names: open scan and labels "
    "together, and correct the one that is wrong.",
    "modality_not_used": "No source of this study reads scans of this kind. Declare one in cohort.toml, or leave it.",
    "no_scan_of_this_modality": "None of this patient's scans is of a kind that a source of this study reads. Correct "
    "the modality in scans.tsv, or add the scan.",
    "timed_out": "The computation did not come to an end on this scan. Check the file's size and that it is one head; "
    "if both are right, send its shape to whoever maintains the program.",
    "file_missing": "The file that scans.tsv names is not there. Put it in its place or correct the path.",
    "weights_unusable": "The trained weights of this source are damaged or of another network. Copy them again with "
    "their card, or train them again; the scan is not at fault.",
    "input_changed": "The file changed while it was being read. Let the copying finish, and run again.",
    "worker_died": "The computation broke off on this scan, mostly for want of memory. Run again with fewer workers or "
    "more memory; if it happens again, send the file's shape and size to whoever maintains the program.",
    "unexpected_error": "This is a fault of the program, not of the data. Send the detail to whoever maintains it; the "
    "other patients are not affected.",
    "scan_not_readable": "The reader looked at the scan and could not read it. Nothing has to be fixed; if another "
    "scan of the same examination can be read, list that one in scans.tsv, and have it read.",
    "scan_of_command_missing": "This program needs several scans of a patient, and one of them is not listed. List it "
    "in scans.tsv, under the modality that the source names in inputs.",
    "command_not_started": "The program could not be started where the workers are. Install it there, or correct its "
    "path in cohort.toml; it is tried again in the next run.",
    "command_version_differs": "The program on the machine of this worker has another version than the one with which "
    "the run began. Install one version on all machines; it is tried again in the next run.",
    "command_failed": "The program ended with an error; its last words are in the detail. It is tried again in the "
    "next run. If it cannot do this scan, that is a result of a validation.",
    "command_timed_out": "The program took longer than the study allows. Allow more (wall_limit_s of the source): only "
    "the patients that reached the limit are run again.",
    "command_stopped": "The run was stopped while the program was at work. Run again.",
    "command_output_missing": "The program ended without an error and did not write the one file that was expected; "
    "its last words are in the detail. Look at its manual for the name of the file, and correct it in cohort.toml.",
    "not_in_results": "The table of this software has no row of this patient. Ask whoever ran it: run the software on "
    "this patient, or add the row in which it says why it could not.",
    "results_differ": "The table of this software has several rows of this patient that do not say the same. Keep the "
    "one that counts, and say in the study's notes why.",
    "result_empty": "The software has a row of this patient without any result, and does not say why. Ask whoever ran "
    "it, and write the reason into the column of failures.",
    "result_unreadable": "A cell of this patient cannot be read as what its column is. Correct it in the table, or say "
    "what it means (values of this source in cohort.toml).",
    "region_not_given": "The software says nothing of some regions, as where it scores one side alone. Nothing has to "
    "be fixed where that is how it works.",
    "no_volume_given": "The software gives no volume of this patient. Nothing has to be fixed where that is how it "
    "works.",
    "not_measured": "Nothing was measured. Run again; finished patients are not redone.",
}  # fmt: skip

BY_STAGE = {
    "screening": _TABLE,
    "intake": "Do what the last sentence of the detail says, and run again: only this patient is redone.",
    "scoring": "Run again. If the same reason comes back, do what the last sentence of the detail says.",
    "eligibility": "Nothing has to be fixed: a criterion of the study leaves this patient out. Only if the value in "
    "the detail is wrong, correct it and run again.",
}


def remedy(stage: str, reason: str) -> str:
    """Plain words for a reason; by its stage where the reason speaks for itself.

    >>> remedy("eligibility", "lacunar")[:24]
    'Nothing has to be fixed:'
    """
    if reason.startswith("vendor_"):
        return _VENDOR
    return REMEDIES.get(reason, BY_STAGE.get(stage, BY_STAGE["intake"]))
