"""Every checkpoint with small sizes: the same kind of model, the same path through the code."""

from itertools import cycle

from tracer.api import letters_of
from tracer.build import full_config
from tracer.families.base import with_fields

LAYERS = 2


def tiny(family, checkpoint):
    """Config and values of all letters. Sizes that the config keeps below eight are small enough already."""
    config = full_config(family.model, checkpoint.config)
    real = letters_of(family, config, checkpoint.request)
    letters = family.letters(config)
    small = cycle((2, 3, 5, 7))
    values = {x.symbol: real[x.symbol] if real[x.symbol] < 8 else x.multiple * next(small) for x in letters}
    values |= {x.symbol: sum(values[part] for part in x.total) for x in letters if x.total}
    limited = {s: some[0] for s, some in family.limited(config).items() if some}
    values |= limited
    family.fit(values, real)
    p, p_t = values.get("p", 2), values.get("p_t", 1)  # where no letter says so, 2 will do
    grid = {"B": 2, "F": 3 * p_t, "H": 3 * p, "W": 4 * p, "L": 5}
    values |= {s: size for s, size in grid.items() if s not in limited}
    if {"H", "W"} <= family.fixed(config).keys() and real["H"] == real["W"]:  # a square table stays one
        values["W"] = values["H"]
    fields = config | dict.fromkeys(family.depths, LAYERS)
    for letter in letters:
        fields = with_fields(fields, letter, values[letter.symbol])
    return fields | family.probe_config(config, real, values), values
