"""The contenders, a module each, named on the command line by the module's name.

`build(workload)` returns a function that does one step and gives a result that `np.asarray` waits
for: of a training step (forward, loss, backward, Adam) the loss, without training the outputs.
`facts()` tells the versions and the threads. `LATER` names what the first step would import.
"""
