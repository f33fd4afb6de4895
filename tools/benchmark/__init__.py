"""The parts of tools/bench.py: what is run, how it is measured, how it is shown."""
