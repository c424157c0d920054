"""Reading, validating, quarantining and bucketing prompts."""

from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.buckets import (
    BucketWriter,
    bucket_of,
    bucket_path,
    default_buckets,
    read_bucket,
    without_repeats,
)
from coverage_lab.traffic.checks import check_sources
from coverage_lab.traffic.reading import read_traffic
from coverage_lab.traffic.records import validate_records
from coverage_lab.traffic.sources import Source, find_sources

__all__ = [
    "BucketWriter",
    "Source",
    "TrafficBatch",
    "bucket_of",
    "bucket_path",
    "check_sources",
    "default_buckets",
    "find_sources",
    "read_bucket",
    "read_traffic",
    "validate_records",
    "without_repeats",
]
