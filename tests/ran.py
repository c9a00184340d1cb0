"""Functions of which it is known how often each line runs, and models of which the margin is known.

`# 3` at the end of a line: its statement began three times; `# 0`: it did not run. Lines without a number have none
(`else:`, parameters). `# 1: 2 4` says what stands in the margin, too.
"""

# ruff: noqa: B007, C408, RET504, SIM117, UP028 (the lines are what is tested)

import contextlib
import functools

import torch
from torch import nn


def branches(x=3):
    """Not a line that runs."""
    if x > 5:  # 1
        y = "large"  # 0
    elif x > 2:  # 1
        y = "middle"  # 1
    else:
        y = "small"  # 0
    # a comment
    return y  # 1


def loops(n=3):
    total = 0  # 1
    for i in range(n):  # 1
        if i % 2:  # 3
            continue  # 1
        total += i  # 2
    else:
        total += 100  # 1
    while total > 90:  # 1
        total -= 5  # 3
    for i in range(2):  # 1
        for j in range(2):  # 2
            total += i * j  # 4
    for _ in ():  # 1
        total = 0  # 0
    while True:
        total += 1  # 5
        if total > 92:  # 5
            break  # 1
    return total  # 1


def several_lines(
    a=1,
    b=2,
):
    x = max(  # 1
        a,  # 1
        b,  # 1
    )
    y = (
        a  # 0
        if x > 5  # 1
        else b  # 1
    )
    z = [  # 1
        min(a, v)  # 1
        for v in (x, y)  # 1
    ]
    if (
        a > 5  # 1
        or b > 1  # 1
    ):
        z = sum(z)  # 1
    return dict(  # 1
        z=z,  # 1
        y=y,  # 1
    )


def failures(bad=True):
    try:  # 1
        if bad:  # 1
            raise ValueError("no")  # 1
        x = 1  # 0
    except TypeError:  # 1
        x = 2  # 0
    except ValueError as error:  # 1
        x = len(str(error))  # 1
    else:
        x = 3  # 0
    finally:
        x = x + 1  # 1
    for i in range(2):  # 1
        with contextlib.suppress(ValueError):  # 2
            x += i  # 2
            raise ValueError  # 2
    with contextlib.nullcontext():  # 1
        with contextlib.nullcontext():  # 1
            return x  # 1
    return 0  # 0


def inside(n=2):
    def twice(x):  # 1
        """Text."""
        y = x  # 2
        for _ in range(3):  # 2
            y = y + x  # 6
        return y  # 2

    def never(x):  # 1
        return x  # 0

    shout = lambda x: x * 2  # noqa: E731  # 2
    total = sum(twice(i) for i in range(n))  # 1
    return [shout(v) for v in (total, n)]  # 1


def returns_early(x=1):
    for i in range(5):  # 1
        if i == x:  # 2
            return i  # 1
    return -1  # 0


def matches(x=(1, 2)):
    match x:  # 1
        case [a]:
            y = a  # 0
        case [a, b] if a > b:
            y = b  # 0
        case [a, b]:
            y = a + b  # 1
        case _:
            y = 0  # 0
    return y  # 1


def _plain(f):
    @functools.wraps(f)
    def wrapper(*args):
        before = len(args)
        out = f(*args)
        assert before == len(args)
        return out

    return wrapper


@_plain
def decorated(x=2):
    y = x  # 1
    return y  # 1


def yields(n=3):
    def steps():  # 1
        for i in range(n):  # 1
            yield i  # 1

    return list(steps())  # 1


FUNCTIONS = [branches, loops, several_lines, failures, inside, returns_early, matches, decorated, yields]


def scale(x, factor=2):  # : x 2 4
    if factor == 1:  # 1
        return x  # 0
    return x * factor  # 1: 2 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    @_plain
    def forward(self, x):  # : 2 4
        # what a block does
        hidden = self.linear(x)  # 1: 2 4
        if hidden.ndim == 3:  # 1
            hidden = hidden.mean(1)  # 0
        return scale(hidden) + x  # 1: 2 4


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.wide = nn.Linear(4, 8)

    def forward(
        self,
        x,  # : 2 4
        mask=None,
        pair=(),  # : 2 1 | 2 3
    ):
        def halves(y):  # 1: 6 8
            first, second = y.chunk(2, dim=-1)  # 1: 6 4 ×2
            return first + second  # 1: 6 4

        for i, block in enumerate(self.blocks):  # 1: ×3
            x = block(x)  # 3: 2 4
            if i == 1:  # 3
                x = x.clone()  # 1: ×1 | 2 4
        if mask is not None:  # 1
            x = x * mask  # 0
        try:  # 1
            x.view(3, 3)  # 1
        except RuntimeError:  # 1
            x = torch.cat(  # 1: 4 4
                [
                    x,  # 1
                    x.neg(),  # 1: 2 4
                ],
                dim=0,  # 1
            )
        tall = [row.unsqueeze(0) for row in x]  # 1: 1 4
        wide, tall = self.wide(x), torch.stack(tall)  # 1: 4 8 | 4 1 4
        for n in range(2):  # 1: ×2
            wide = torch.cat([wide, wide[:1]])  # 2: 5 8 | 6 8
        return halves(wide), pair[0]  # 1: 6 4 | 2 1
