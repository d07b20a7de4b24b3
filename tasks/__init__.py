"""The science of each per-patient step as plain functions on arrays: no files, no Prefect, no Dask."""
