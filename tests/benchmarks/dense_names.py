"""What the peers of dense recurrences are called in results, for what reads those without loading a framework."""

NN, YARDSTICK = "torch.nn", "torch.nn.LSTM, as a yardstick"
LAX, RECURRENT, FLASH = "lax.scan", "torchrecurrent", "flashrnn"
COMPILED = "torch.compile of the loop"
LSTM_PRODUCTS = 8
"""Matrix products of a step of an LSTM, those of its inputs too."""
