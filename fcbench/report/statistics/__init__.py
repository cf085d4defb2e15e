"""Means over pictures that share people and prompts, and how sure they are; numpy only, one idea per file.

The people are the sample, not the pictures: what one face does to a score it does to every picture of that person.
``benchmarks/simulate_statistics.py`` shows by simulation how often 95 % intervals cover what they should, and how often
the test finds a difference where there is none.
"""

from fcbench.report.statistics.estimate import Difference, Estimate, difference, mean
from fcbench.report.statistics.holm import holm
from fcbench.report.statistics.table import Group
from fcbench.report.statistics.variance import LEAST_CLUSTERS

__all__ = ["LEAST_CLUSTERS", "Difference", "Estimate", "Group", "difference", "holm", "mean"]
