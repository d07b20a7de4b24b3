"""The run: steps (read, call, write), flows, settings, clusters and the command."""
