"""The plots of the benchmark page: a module for each subject, and what they have in common."""
