"""What is interpreted: a network of chainrule's or of PyTorch's, or bare probabilities."""

from chainrule.lens.interpret.subjects.subject import Subject, subject_of

__all__ = ["Subject", "subject_of"]
