"""The faults that benchmarks/faults.py produces, a module for each thing that they befall."""
