"""Reading tables and arrays, encoding columns, splitting and batching. Depends on NumPy alone;
polars is imported where a file is read.
"""

from chainrule.data.arrays import check_arrays, check_features
from chainrule.data.batches import Batches
from chainrule.data.cells import Column
from chainrule.data.columns import ColumnEncoder
from chainrule.data.reading import read_table
from chainrule.data.splits import Split, split
from chainrule.data.tables import Table
from chainrule.data.targets import TargetEncoder

__all__ = [
    "Batches",
    "Column",
    "ColumnEncoder",
    "Split",
    "Table",
    "TargetEncoder",
    "check_arrays",
    "check_features",
    "read_table",
    "split",
]
