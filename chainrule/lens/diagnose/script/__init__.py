"""A training script that is run unchanged, watched, and diagnosed."""

from chainrule.lens.diagnose.script.running import run_script

__all__ = ["run_script"]
