"""Networks that contradict themselves before the first step, and healthy ones, for `diagnose`."""

from benchmarks.diagnosis_static.healthy import HEALTHY
from benchmarks.diagnosis_static.making import Example, Made, findings
from benchmarks.diagnosis_static.mismatches import MISMATCHES

__all__ = ["HEALTHY", "MISMATCHES", "Example", "Made", "findings"]
