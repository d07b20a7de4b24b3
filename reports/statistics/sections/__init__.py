"""One module per section of the report; each adds its rows to ``reports.statistics.rows.Rows``."""
