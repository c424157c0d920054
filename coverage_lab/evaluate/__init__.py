"""The benchmark: accounts whose truth is known, from written generators and from corpora."""
