"""Logic: conditions and codes in fewer nodes are the same for all that they are made of."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

FLAGS = np.array([*itertools.product([False, True], repeat=3)]).T
"""All values of three conditions."""
NUMBERS = np.array([-1, 0, 1, 2, 3, 5, 6, 9], np.int32)
CONSTANTS = (
    "<bool const_yes = {1}, bool const_no = {0}, int32 zero = {0}, int32 one = {1}, int32 two = {2}, int32 six = {6}, "
    "int32[4] count = {0, 1, 2, 3}, int32[4] odd = {0, 1, 3, 2}>"
)
CASES = {
    "a condition and itself": ("y = And(p, p)", {"And": 0}),
    "a condition or itself": ("y = Or(p, p)", {"Or": 0}),
    "absorbed by and": ("a = Or(q, p) y = And(p, a)", {"And": 0, "Or": 0}),
    "absorbed by or": ("a = And(p, q) y = Or(a, p)", {"And": 0, "Or": 0}),
    "absorbed, and read": ("a = Or(q, p) t = And(p, a) y = Xor(a, t)", {"And": 0, "Or": 1}),
    "implied by a contrary": ("n = Not(p) a = And(n, q) t = Not(a) y = And(t, p)", {"And": 0, "Not": 0}),
    "implied by a part": ("a = And(p, q) t = Or(r, q) y = And(t, a)", {"And": 1, "Or": 0}),
    "implied by parts": ("a = And(p, q) t = And(q, p) c = Or(t, r) y = And(a, c)", {"And": 1, "Or": 0}),
    "not implied": ("a = And(p, q) t = Or(r, q) y = Or(t, a)", {"Or": 1}),
    "contraries": ("m = Not(p) n = Not(q) y = And(m, n)", {"Not": 1, "Or": 1, "And": 0}),
    "contraries, read": ("m = Not(p) n = Not(q) a = Or(m, n) y = Xor(a, m)", {"Not": 2, "Or": 1}),
    "the contrary of a contrary": ("m = Not(p) y = Not(m)", {"Not": 0}),
    "the contrary of an implication": ("m = Not(p) a = Or(q, m) y = Not(a)", {"Not": 1, "And": 1, "Or": 0}),
    "chosen by a constant": (
        "i = Add(k, one) c = Where(const_yes, i, k) d = Where(const_no, k, c) y = Equal(d, one)",
        {"Where": 0},
    ),
    "one code or another": ("i = Where(p, two, zero) y = Equal(i, two)", {"Where": 0, "Equal": 0, "Not": 0}),
    "the other code": ("i = Where(p, two, zero) y = Equal(zero, i)", {"Where": 0, "Equal": 0, "Not": 1}),
    "no code": ("i = Where(p, two, zero) y = Equal(i, six)", {"Where": 1, "Equal": 1}),
    "a code or a number": ("i = Where(p, two, k) y = Equal(i, two)", {"Where": 0, "Or": 1, "Equal": 1}),
    "a code, not a number": ("i = Where(p, two, k) y = Equal(i, zero)", {"Where": 0, "And": 1, "Not": 1}),
    "a number or a code": ("i = Where(p, k, two) y = Equal(i, two)", {"Where": 0, "Or": 1, "Not": 1}),
    "a number, not a code": ("i = Where(p, k, two) y = Equal(i, zero)", {"Where": 0, "And": 1, "Not": 0}),
    "codes that imply each other": (
        (
            "i = Where(p, two, zero) s = Equal(i, two) a = And(s, q) j = Where(a, six, i) found = Where(r, j, one) "
            "y = Equal(found, zero)"
        ),
        {"Where": 0, "Equal": 0, "And": 1, "Not": 1},
    ),
    "a code that stays": ("e = Equal(k, two) i = Where(e, two, k) y = Equal(i, one)", {"Where": 0, "Equal": 1}),
    "a code that changes": ("e = Equal(k, two) i = Where(e, one, k) y = Equal(i, one)", {"Equal": 2, "Or": 1}),
    "looked up in a count": (
        "i = Where(p, two, zero) j = Where(q, i, one) found = Gather(count, j) m = Add(found, found) y = Equal(m, two)",
        {"Gather": 0},
    ),
    "looked up in another table": (
        "i = Where(p, two, zero) found = Gather(odd, i) m = Add(found, found) y = Equal(m, six)",
        {"Gather": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_logic(name: str, graphs) -> None:
    """Fewer nodes return the same for all values of conditions, and for codes and other numbers."""
    body, expected = CASES[name]
    before = graphs.parse(f"(bool[8] p, bool[8] q, bool[8] r, int32[8] k) => (bool[8] y) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, expected)
    for turn in range(8):
        feeds = dict(zip("pqr", FLAGS, strict=True)) | {"k": np.roll(NUMBERS, turn)}
        graphs.same_bits(before, after, {i.name: feeds[i.name] for i in before.graph.input})


@pytest.mark.parametrize("seed", range(60))
def test_random_logic(seed: int, graphs) -> None:
    """Whatever is combined, the result is the same, with no more nodes."""
    generator = np.random.default_rng(seed)
    values, lines = ["p", "q", "r"], []
    for number in range(12):
        kind = generator.choice(["And", "Or", "Not", "Or", "And", "code"])
        one, other = generator.choice(values[-5:], 2)
        name = f"v{number}"
        if kind == "code":
            codes = generator.choice(["zero", "one", "two", "k"], 3)
            lines.append(f"c{number} = Where({one}, {codes[0]}, {codes[1]}) {name} = Equal(c{number}, {codes[2]})")
        else:
            lines.append(f"{name} = {kind}({one})" if kind == "Not" else f"{name} = {kind}({one}, {other})")
        values.append(name)
    lines.append(f"y = Or({values[-1]}, {values[-2]})")
    head = f"(bool[8] p, bool[8] q, bool[8] r, int32[8] k) => (bool[8] y) {CONSTANTS}"
    before = graphs.parse(f"{head} {{ {' '.join(lines)} }}")
    after = graphs.tidied(before)
    for turn in range(8):
        feeds = dict(zip("pqr", FLAGS, strict=True)) | {"k": np.roll(NUMBERS, turn)}
        graphs.same_bits(before, after, feeds)


@pytest.mark.parametrize("start", [0, 2])
def test_codes_that_a_loop_carries_are_known(start: int, graphs) -> None:
    """What a loop begins with and what an iteration makes of it are all that it carries: no table is read."""
    text = f"""(bool[4] flags, bool go) => (int32 y)
    <int64 most = {{4}}, int32 start = {{{start}}}, int32 one = {{1}}, int32[4] count = {{0, 1, 2, 3}}>
    {{
        y = Loop(most, go, start) <body = step (int64 i, bool c, int32 code) => (bool d, int32 next)
            {{
                d = Identity(c)
                flag = Gather(flags, i)
                chosen = Where(flag, one, code)
                next = Gather(count, chosen)
            }}>
    }}"""
    before = graphs.parse(text)
    after = graphs.tidied(before)
    graphs.has(after, {"Gather": 1})
    for flags in ([0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1]):
        graphs.same_bits(before, after, {"flags": np.array(flags, bool), "go": np.asarray(a=True)})
