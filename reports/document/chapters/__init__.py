"""One module per part of the document; each makes chapters out of ``reports.document.page.Material``."""
