"""`python -m coverage_lab.cli` is the same as `coverage-lab`."""

from coverage_lab.cli import main

if __name__ == "__main__":
    main()
