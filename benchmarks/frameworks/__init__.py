"""The contenders, a module each, named on the command line by the module's name.

`build(workload)` returns a function that does one training step (forward, loss, backward, Adam) and
gives the loss as something that `float` waits for. `facts()` tells the versions and the threads.
"""
