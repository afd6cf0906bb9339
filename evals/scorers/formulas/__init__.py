"""Formulas: read from LaTeX, from calculator text and from sympy's own output, and compared by value.

    typography.py  one spelling for signs
    numerals.py    numbers as people write them, exactly
    names.py       the functions, constants and words that a formula may hold
    lexer.py       text to tokens
    cursor.py      a place in the tokens
    atoms.py       numbers, names, functions, brackets
    reader.py      tokens to a tree; whatever is not understood in full is refused
    structures.py  matrices, cases and the constructors that sympy prints
    tree.py        the nodes of that tree
    arithmetic.py  exact fractions and numbers of many digits, within bounds
    values.py      a tree's value for given symbols
    answers.py     what an answer is: a value, a collection, an assignment, a region
    sampling.py    whether two formulas agree at many points
    equality.py    whether two answers are the same
    worker.py      the process in which all of this runs
    process.py     its client

Two things are kept out on purpose. Text is never evaluated as code: a formula can name only what `names.py` lists. And
no algebra system decides: two formulas are equal when they have the same value at many points, in exact fractions or
with hundreds of digits, so that nothing is simplified away, and no decimal passes for the root that it rounds.

The package imports itself by relative names only, because the worker loads it from its folder, without the project.
"""
