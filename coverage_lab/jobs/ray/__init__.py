"""The job on a Ray cluster: connecting, running jobs on actors, the bucket stage."""
