"""The Array API's constants."""

import math

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
newaxis = None
