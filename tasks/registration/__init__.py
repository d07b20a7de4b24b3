"""From a scan to the template."""
