"""The layers, in files by idea; all of them are names of `chainrule.nn`."""
