"""Reading, validating, quarantining and bucketing prompts."""

from coverage_lab.traffic.batch import TrafficBatch
from coverage_lab.traffic.buckets import (
    BucketWriter,
    bucket_of,
    bucket_path,
    default_buckets,
    drop_repeated_requests,
    read_bucket,
)
from coverage_lab.traffic.checks import check_sources, without_repeats
from coverage_lab.traffic.reading import read_pieces, read_traffic
from coverage_lab.traffic.records import validate_records
from coverage_lab.traffic.shares import Piece, cut_shares, ready_buckets
from coverage_lab.traffic.sources import Source, find_sources

__all__ = [
    "BucketWriter",
    "Piece",
    "Source",
    "TrafficBatch",
    "bucket_of",
    "bucket_path",
    "check_sources",
    "cut_shares",
    "default_buckets",
    "drop_repeated_requests",
    "find_sources",
    "read_bucket",
    "read_pieces",
    "read_traffic",
    "ready_buckets",
    "validate_records",
    "without_repeats",
]
