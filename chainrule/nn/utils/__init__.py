"""What goes with layers: sequences of several lengths, and parameters computed from others."""

from chainrule.nn.utils import parametrizations as parametrizations
from chainrule.nn.utils import parametrize as parametrize
from chainrule.nn.utils import rnn as rnn
