"""Posteriors over the weights of networks: what the data leave open, by several methods.

p(w | D) = p(D | w) p(w) / p(D). Every method takes the same `Joint` (the numerator) and gives a
`Posterior`, whose `predict` gives a predictive distribution.
"""
