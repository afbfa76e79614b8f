"""What in the input made the answer so: one method a file, found by its name."""

from chainrule.lens.interpret.attribution.attribute import (
    METHODS,
    Attribution,
    attribute,
    patches,
)
from chainrule.lens.interpret.attribution.sanity import Sanity

__all__ = ["METHODS", "Attribution", "Sanity", "attribute", "patches"]
