"""Whether probabilities mean what they say, and making them mean it.

The functions take bare arrays, of whatever framework: probabilities and labels of rows that nothing
was learnt from.
"""

from chainrule.probability.calibration.temperature import fit_temperature

__all__ = ["fit_temperature"]
