"""DICOM intake: headers to series, series to volumes, volumes to NIfTI, without any identity on the way out."""
