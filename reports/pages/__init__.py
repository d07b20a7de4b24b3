"""One page per patient, and the page of quality figures."""
