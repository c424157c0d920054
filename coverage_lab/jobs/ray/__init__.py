"""The job's bucket stage on a Ray cluster."""
