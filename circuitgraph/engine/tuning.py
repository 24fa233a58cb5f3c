"""Tuned constants of the engine: they change what results cost, and results by rounding at most.

Each comment says the unit, what the constant trades, and which benchmark shows its effect. Measure
a change on an idle machine, and compare ratios of one run only.
"""

# Bytes of slots. Up to this every schedule has slots for all nodes: a few more bytes to clear in
# each launch, but one compiled program for the whole search.
# python tools/bench/search.py --only A,D --cases gpt2
CHEAP_SLOT_BYTES = 2**24

# Share of a graph's edges. If a change of one reader's input takes more sums than that, masked runs
# are faster than the frontier: they do the sums as matrix products.
# python tools/bench/search.py --only A --cases gpt2
DENSE_SHARE = 0.1

# Share of a graph's edges. Circuits up to this size are evaluated by the frontier, which runs the
# parts that matter; bigger ones by a masked run of the whole model.
# python tools/bench/search.py --only C --cases gpt2
SPARSE_SHARE = 0.05

# Operations that a computer does while it compiles the frontier's programs. If masked runs for all
# edges take fewer operations, the frontier is not compiled.
# python tools/bench/search.py --only D --cases gpt2
COMPILE_OPERATIONS = 2**39

# Groups of lanes in one launch of the frontier, one after the other: more groups save launches, and
# waste rows where a guess of the search is wrong.
# python tools/bench/search.py --only A --cases gpt2 (columns of rows)
FRONTIER_GROUPS = 16

# Operations of one launch of the frontier, about, on a CPU and on an accelerator: more save
# launches, of some milliseconds each, and waste rows where a guess of the search is wrong. In
# SmolLM2-135M, one of 40 edges kept, launches of 64 rows wasted a quarter of them, of 8 a tenth.
# python tools/bench/real_model.py (rows that counted)
CPU_LAUNCH_OPERATIONS = 2**35
GPU_LAUNCH_OPERATIONS = 2**43

# Numbers that one node's value has over all lanes of the frontier, on a CPU and on an accelerator:
# fewer leave the device idle, more waste rows where a guess of the search is wrong. On two cores
# 2**20 makes a small model (4 layers of 8 heads) twice as slow as 2**18.
# python tools/bench/search.py --only A --cases gpt2,4x8
CPU_LANE_NUMBERS = 2**18
GPU_LANE_NUMBERS = 2**25

# Units that the frontier adds to an input in one product: fewer read and write the input more
# often, more compute more of what fills the last portion up.
# python tools/bench/units.py
UNITS_AT_ONCE = 16

# Lanes of the frontier on a device, at least, where memory allows: on two cores four lanes make
# GPT-2's shape a fifth faster than two, and SmolLM2-135M a seventh.
# python tools/bench/search.py --only A --cases gpt2; python tools/bench/real_model.py
FEWEST_LANES = 4

# Lanes of the frontier on a device, at most: a wrong guess of the search wastes the others.
# python tools/bench/search.py --only A --cases induction-2l (columns of rows)
MOST_LANES = 64

# Bytes of one masked launch on a CPU: a bigger launch gains nothing once its work outgrows the
# caches. What is kept by default (`memory_limit`) is a multiple of it.
# python tools/bench/search.py --only A,C --cases gpt2 (column of masked runs)
CPU_LAUNCH_BYTES = 2**30

# Prompts in one launch of the tree's programs, at most: fewer leave the device idle, more make
# nothing faster.
# python tools/bench/scrubbing.py
CPU_LAUNCH_PROMPTS = 256
GPU_LAUNCH_PROMPTS = 2048

# Prompts in one launch of `FixedShapeRuns`; activations of prompts and donors have twice as many.
# More prompts save launches, and waste rows where a property asks for few.
# python tools/bench/properties.py
FIXED_SHAPE_ROWS = 32

# Tokens. `FixedShapeRuns` rounds lengths up to a multiple of this: longer steps waste positions,
# shorter ones compile again for more of the longest prompts.
# python tools/bench/properties.py (columns of compilations)
LENGTH_STEP = 8

# Prompts with masks of their own whose writers' values are alive at a time: more need more memory.
# No benchmark runs them.
PATCHED_AT_ONCE = 8

# Units with an input of their own whose inputs are alive at a time: fewer read all writers' values
# more often, more need more memory.
# python tools/bench/units.py
OWN_INPUTS_AT_ONCE = 8
