"""Architecture advice: what a wider, deeper, narrower or otherwise changed network gains, tried."""

from chainrule.lens.diagnose.advice.advice import Advice, Choice, WidthCurve
from chainrule.lens.diagnose.advice.advise import advise

__all__ = ["Advice", "Choice", "WidthCurve", "advise"]
