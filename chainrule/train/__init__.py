"""Training: the loop, estimators, and from a table to a run folder."""

from chainrule.train.estimators import Classifier, Regressor
from chainrule.train.loop import Epoch, History, fit
from chainrule.train.runs import Run, read_run
from chainrule.train.settings import Settings
from chainrule.train.tables import fit_table
from chainrule.train.tabular import TableNetwork

__all__ = [
    "Classifier",
    "Epoch",
    "History",
    "Regressor",
    "Run",
    "Settings",
    "TableNetwork",
    "fit",
    "fit_table",
    "read_run",
]
