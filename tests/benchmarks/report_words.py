"""What the page of measurements says whatever was measured."""

INTRODUCTION = """# Performance

What programs cost beside the libraries and loops that people use instead, forward and with all gradients, and beside
what the machine allows.

Every way of a row is compared with ours before anything is measured, values and all gradients. Then all ways run in
turns in one process, so that a busy machine slows them alike; a number is the median of its rounds in milliseconds,
behind it the quartiles. A way that takes longer than 3 s ran once. Times are wall times; on a CPU every way may use
all its cores. They are those of one machine: look at ratios. *peer : ours* is how many times as fast ours is as the
fastest peer. Grids and graphs have [a page of their own](performance-grids.md).

*Ours* is the module that `lsrl compile` writes for the target named with the table, called as a user calls it, its
schedule chosen by `auto` for this batch and length.

The *floor* is the time below which no implementation gets: every array read and written once at the measured rate of
memory (of caches, where they hold them all), the operations of matrix products at the measured rate of one large
product, or one addition after the other for each position, whichever is longest. The rates are measured in the run
they are used in. A floor leaves out what has no such rate (exponentials, calls), so that small rows stay far above it
on any machine.
"""

FAMILIES = {
    "diagonal": """## Diagonal linear recurrences

`h' = a * h + x`, gates as inputs. A step is a multiplication and an addition for each number that is read, so that
memory bounds long and wide sequences: forward three arrays, with gradients eight. `lax.associative_scan` and other
trees pass over the data once for each level. Loops of PyTorch pay for a call at each position; where a position holds
many numbers that call is cheap, and what remains is that each result goes through memory. Loops of JAX and PyTorch are
given the time as first axis, the faster layout for them; ours have the batch first.""",
    "dense": """## Dense recurrences

LSTM and GRU as `torch.nn` has them; cells that it lacks, beside torchrecurrent and beside an LSTM of the same size per
matrix product of a step; LSTM and sLSTM in heads, whose gate inputs come projected, beside FlashRNN. Each step waits
for a product of the state with all recurrent weights. The products of the inputs, and those of the gradients of
weights, are over all positions at once and run at the machine's full rate; the recurrent ones hold as many rows as the
batch and do not. `torch.nn` on a CPU is oneDNN's, which packs the weights once for all steps.""",
    "diagonal_gru": """## A GRU without coupling between units

The diagonal GRU of ParaRNN, its input parts given: three exponentials for each unit and position, one position after
the other, so that a loop is bound by them and by how many units run side by side. `auto` weighs it against Newton's
method, which solves all positions together in several passes and wins where little else is parallel.""",
    "chunks": """## Matrix memories

A K x K memory for each head, updated position by position or in chunks, which trade more arithmetic for products of
matrices; `auto` weighs the two. Beside them are the plain PyTorch forms of flash-linear-attention and mlstm_kernels,
chunks of 64. The floor counts the reads and writes of the memory alone: chunks do several times that, and a loop does
it at the rate of small products, which is far from that of one large product.""",
    "exact": """## Exact programs

Programs that hold an algorithm exactly: token matching, parity, addition, brackets. The original interpreter runs its
own program of the same map, one sequence at a time, so that its time for a batch is that of one sequence times the
batch. A single sequence is a chain of small steps, and the fixed cost of a call counts.""",
}

COSTS = """## Before the first result

What a user waits for besides the run. Compiling is processor time in one process and loads no framework.
"""

GPU = """## On a GPU

Not measured here. `make bench-gpu` measures the same families on a CUDA device, in 16-bit numbers, beside the kernels
of flash-linear-attention, mlstm_kernels, FlashRNN and accelerated-scan and beside cuDNN, and this page then has them.
The modules are written where the compiler is installed (`make bench-modules`); the device needs PyTorch and Triton
alone, and of the peers those that are there.
"""

RUN = """```sh
make bench                                        # every family on this CPU, and this page
make bench-gpu                                    # on a CUDA device
python tests/benchmarks/dense.py --quick          # small rows of one family, seconds
python tests/benchmarks/goals.py                  # what is reached, as a table
python tests/benchmarks/regression.py             # small rows beside the results above, in units of the machine's speed
python tests/benchmarks/report.py                 # this page
```

With a clone of [the original interpreter](https://github.com/AleksandarPetrov/LSRL) and a Python that has sympy 1.12
and parameterized, `make bench ORIGINAL=… ORIGINAL_PYTHON=…` runs that too."""
