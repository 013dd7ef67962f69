"""Exact programs as the weights of real recurrent networks."""
