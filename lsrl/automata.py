"""Machines given by tables as programs: finite automata and Lag systems.

    parity = lsrl.automata.program([[0, 1], [1, 0]], accepting=[1])

A finite automaton becomes a network of thresholds with a unit for each transition (Minsky, 1967, "Computation: Finite
and Infinite Machines", chapter 3): a transition is taken when its state was entered and its symbol is read, two facts
out of two.  Every step decides anew between 0 and 1, so errors do not add up.

A Lag system (Wang, 1963, "Tag systems and Lag systems") keeps a queue of symbols; a step reads the first N, drops one,
and appends the word that a rule gives for what was read.  With N = 2 they compute whatever can be computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product

from lsrl.ir.fault import Refusal
from lsrl.program import Program, parse

MOST_TRANSITIONS = 5000
"""Of an automaton or a Lag system; a program's text has its limits."""

AUTOMATON = '''\
"""A finite automaton with {states} states and {symbols} symbols, a unit for each transition (Minsky, 1967)."""

cell {name}():
    input symbol: [] int({symbols})
    # Of every transition; the first one is that into the start, which no symbol takes.
    const leaves: [{units}] int = {leaves}
    const reads: [{units}] int = {reads}
    const enters: [{units}] int = {enters}
    const accepting: [{states}] = {accepting}
    state taken: [{units}] = one_hot(0, {units})

    before = taken @ one_hot(enters, {states})
    facts = one_hot(leaves, {states}) @ before + one_hot(reads, {symbols}) @ one_hot(symbol, {symbols})
    taken' = float(facts > 3/2)
    after = taken' @ one_hot(enters, {states})

    output at = dot(after, float(iota({states}))), accepts = dot(after, accepting)
'''

LAG_SYSTEM = '''\
"""A Lag system (Wang, 1963) with {symbols} symbols that reads {read} of them; it halts when there are fewer."""

cell {name}():
    const words: [{rules}, {longest}] = {words}
    const lengths: [{rules}] = {lengths}
    state queue: [{capacity}] = {queue}  # the front first, then zeros
    state count: [] = {count}

    goes_on = count > {read} - 1/2 and count + lengths[{rule}] - 1 < {capacity} + 1/2
    shifted = concat(queue[1:{capacity}], [0])
    behind = float(iota({capacity})) - (count - 1)  # how far behind what stays each place is
    chosen = lengths[{rule}]
    word = words[{rule}]
    appended = float(outer(behind, full([{longest}], 1)) == outer(full([{capacity}], 1), float(iota({longest})))) @ word
    queue' = where(goes_on, shifted + appended, queue)
    count' = where(goes_on, count - 1 + chosen, count)

    output queue', count', runs = float(goes_on)
'''


class AutomatonError(Refusal):
    """A table that is none of a machine."""


def program(
    table: Sequence[Sequence[int]], accepting: Collection[int] = (), start: int = 0, name: str = "automaton"
) -> Program:
    """A finite automaton as a program.

    Its outputs are `at`, the state after each symbol, and `accepts`, whether that is an accepting one.

    Args:
        table: the next state, by state and symbol: [states, symbols].
        start: the state before the first symbol.

    Raises:
        AutomatonError: rows of the table differ in length, or a state is none of the table's.
    """
    return parse(text(table, accepting, start, name))


def text(
    table: Sequence[Sequence[int]], accepting: Collection[int] = (), start: int = 0, name: str = "automaton"
) -> str:
    """The text of a finite automaton's program; see `program`."""
    states, symbols = len(table), len(table[0]) if table else 0
    if not symbols or any(len(row) != symbols for row in table):
        raise AutomatonError("an automaton's table has a row for each state, and in each the same number of symbols")
    _check_states([*accepting, start, *(after for row in table for after in row)], states)
    _check_size(states * symbols)
    transitions = [(before, symbol, table[before][symbol]) for before, symbol in product(range(states), range(symbols))]
    leaves, reads, enters = (list(part) for part in zip((-1, -1, start), *transitions))
    return AUTOMATON.format(
        name=name,
        states=states,
        symbols=symbols,
        units=len(enters),
        leaves=leaves,
        reads=reads,
        enters=enters,
        accepting=[int(state in accepting) for state in range(states)],
    )


def lag_system(
    rules: Mapping[tuple[int, ...], Sequence[int]], queue: Sequence[int], capacity: int, name: str = "lag_system"
) -> Program:
    """A Lag system as a program without inputs.

    Its outputs are `queue` [capacity], the front first and zeros behind its end, `count`, the symbols in it, and
    `runs`, whether a step was made: none is where there are fewer symbols than a rule reads, or a word does not fit.

    Args:
        rules: the word that is appended, by what is read: all words of one length over the symbols 0, 1, ….
        queue: what is in it before the first step.
        capacity: the most symbols.

    Raises:
        AutomatonError: a rule is missing, or the queue does not fit.
    """
    read = len(next(iter(rules), ()))
    symbols = 1 + max((symbol for word in (*rules, *rules.values(), queue) for symbol in word), default=0)
    every = list(product(range(symbols), repeat=read))
    missing = [word for word in every if word not in rules]
    if not read or missing or len(rules) != len(every):
        said = f"; there is none for {missing[0]}" if missing else ""
        raise AutomatonError(f"a Lag system has a rule for every word of {read} symbols out of {symbols}{said}")
    if max(len(queue), read) > capacity:
        raise AutomatonError(f"a queue of {capacity} does not hold the {max(len(queue), read)} symbols that it has to")
    longest = max(1, *(len(word) for word in rules.values()))
    _check_size(len(every) * longest)
    powers = [symbols ** (read - 1 - place) for place in range(read)]
    rule = f"int({' + '.join(f'{power} * queue[{place}]' for place, power in enumerate(powers))})"
    padded = [[*rules[word], *[0] * (longest - len(rules[word]))] for word in every]
    return parse(
        LAG_SYSTEM.format(
            name=name,
            symbols=symbols,
            read=read,
            rules=len(every),
            longest=longest,
            words=padded,
            lengths=[len(rules[word]) for word in every],
            capacity=capacity,
            queue=[*queue, *[0] * (capacity - len(queue))],
            count=len(queue),
            rule=rule,
        )
    )


def _check_states(named: Collection[int], states: int) -> None:
    outside = sorted({state for state in named if not 0 <= state < states})
    if outside:
        raise AutomatonError(f"there is no state {outside[0]}: the table has the states 0 to {states - 1}")


def _check_size(transitions: int) -> None:
    if transitions > MOST_TRANSITIONS:
        raise AutomatonError(f"{transitions:,} entries are more than a program's text holds ({MOST_TRANSITIONS:,})")
