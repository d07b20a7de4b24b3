"""What a run stands on: the Prefect server, the Dask cluster, the lock, progress."""
