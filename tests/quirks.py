"""Ten-line models, each named for what is odd about it. `ALL` pairs each with its input."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Output:
    sample: torch.Tensor
    extra: torch.Tensor | None = None


class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + F.silu(self.linear(x))


class Blocks(nn.Module):
    def __init__(self, count=4):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(count))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class SharedUnderTwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = self.one

    def forward(self, x):
        return self.two(F.relu(self.one(x)))


class SharedByParents(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        for block in self.blocks[1:]:
            block.linear = self.blocks[0].linear

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class SharedFromOutside(nn.Module):
    class Borrower(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.borrowed = [norm]

        def forward(self, x):
            return self.borrowed[0](x) * 2

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.blocks = nn.ModuleList(self.Borrower(self.norm) for _ in range(3))

    def forward(self, x):
        x = self.norm(x)
        for block in self.blocks:
            x = block(x)
        return x


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


class SameTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        for _ in range(2):
            x = self.linear(x)
        return x


class SameBlockTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), nn.LayerNorm(4, elementwise_affine=False)])

    def forward(self, x):
        for _ in range(2):
            x = self.blocks[1](x)
        return x


class BackwardsBlocks(Blocks):
    def forward(self, x):
        for block in reversed(self.blocks):
            x = block(x)
        return x


class TupleOut(nn.Module):
    def forward(self, x):
        return x + 1, (x * 2, x)


class ReturnsTuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = TupleOut()

    def forward(self, x):
        first, second = self.inner(x)
        return first + second[0]


class ReturnsDict(nn.Module):
    def forward(self, x):
        return {"sample": x + 1, "states": [x, x * 2], "count": 3}


class ReturnsDataclass(nn.Module):
    def forward(self, x):
        return Output(sample=x + 1)


class ReturnsNamedTuple(nn.Module):
    def forward(self, x):
        return Pair(x + 1, x * 2)


class ReturnsNothing(nn.Module):
    class Watcher(nn.Module):
        def forward(self, x):
            x.mean()

    def __init__(self):
        super().__init__()
        self.watcher = self.Watcher()

    def forward(self, x):
        self.watcher(x)
        return x * 2


class FallsBackInHandler(nn.Module):
    """A module that gives nothing, called while an exception is handled, is no failure."""

    class Recover(nn.Module):
        def forward(self, x):
            x.mean()

    def __init__(self):
        super().__init__()
        self.recover = self.Recover()

    def forward(self, x):
        try:
            raise KeyError("no cache")
        except KeyError:
            self.recover(x)
        return x + 1


class KwargsOnly(nn.Module):
    class Inner(nn.Module):
        def forward(self, *, states, scale=1.0, mask=None):
            return states * scale

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        return self.inner(states=x, scale=2.0)


class NestedTuplesIn(nn.Module):
    class Inner(nn.Module):
        def forward(self, pairs, *rest, **named):
            return pairs[0][1] + rest[0] + named["more"]["x"]

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        return self.inner(((x, x + 1), [x]), x, more={"x": x})


class RaisesInBlock3(Blocks):
    class Faulty(Block):
        def forward(self, x):
            return torch.cat([super().forward(x), x.new_zeros(3, 5)])

    def __init__(self):
        super().__init__(6)
        self.blocks[3] = self.Faulty()


class RaisesByItself(Blocks):
    class Refuses(nn.Module):
        def forward(self, x):
            raise ValueError("not today")

    def __init__(self):
        super().__init__(2)
        self.blocks.append(self.Refuses())


class CatchesItsOwn(nn.Module):
    def __init__(self):
        super().__init__()
        self.faulty = RaisesInBlock3.Faulty()
        self.good = Block()

    def forward(self, x):
        try:
            return self.faulty(x)
        except RuntimeError:
            return self.good(x)


class Interrupted(Blocks):
    class Interrupts(Block):
        def forward(self, x):
            self.linear(x)
            raise KeyboardInterrupt

    def __init__(self):
        super().__init__(2)
        self.blocks[1] = self.Interrupts()


def scale(x, by):
    size = x.shape[-1]
    return x * (by / size)


def outer(x):
    y = scale(x, 2) + 1
    return scale(y, 3)


class HelperTwice(nn.Module):
    def forward(self, x):
        for _ in range(2):
            x = scale(x, 2)
        return outer(x)


def swap(x, y):
    first = x + 1
    second = y * 2
    return second, first


class FunctionReturnsInOtherOrder(nn.Module):
    def forward(self, x):
        a, b = swap(x, x)
        return b + a


def gated(x, flag):
    with torch.no_grad():
        y = x * 2
        try:
            z = y + 1
            return {"z": z, "y": y}
        finally:
            z.mean()


def remember(store, x):
    store.append(x + 1)


def only_asks(x):
    return x.shape[0] * x.dim()


class FunctionReturnsOddly(nn.Module):
    def forward(self, x):
        store = []
        both = gated(x, True)
        remember(store, x)
        return both["z"] * only_asks(x) + store[0]


def halve(x, times):
    x = x / 2
    return halve(x, times - 1) if times > 1 else x


class Recursive(nn.Module):
    def forward(self, x, times=3):
        x = halve(x, times)
        return x if times == 1 else self.forward(x, 1)


def through(module, x):
    x = module(x)
    return x * 2


class FunctionCallsModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return through(self.linear, x)


class OtherMethod(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def split_heads(self, states):
        heads = states.unflatten(-1, (2, 2))
        return heads.transpose(0, 1)

    def forward(self, x):
        heads = self.split_heads(self.linear(x))
        return heads.flatten(1)


class ComprehensionsAndLambdas(nn.Module):
    def numbers(self, x):
        for i in range(2):
            yield x + i

    def forward(self, x):
        double = lambda t: t * 2  # noqa: E731
        parts = [double(t) for t in self.numbers(x)]
        return sum(t.mean() for t in parts)


class InPlace(nn.Module):
    def forward(self, x):
        x = x.clone()
        x[:, 1:] = 0.0
        x += 1
        x.unsqueeze_(0)
        torch.mul(x, 2, out=x)
        return F.silu(x, inplace=True)


class Chunks(nn.Module):
    def forward(self, x):
        shift, scale = x.chunk(2, dim=-1)
        y = shift.reshape(-1)
        longer = (
            shift.unsqueeze(0)
            .expand(2, -1, -1)
            .contiguous()
        )  # fmt: skip
        return y, longer, scale


class OtherWidth(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.blocks[1] = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class OtherHiddenWidth(nn.Module):
    class Wide(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.up, self.down = nn.Linear(4, width), nn.Linear(width, 4)

        def forward(self, x):
            return self.down(self.up(x))

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Wide(w) for w in (8, 8, 6, 8))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class OtherDtype(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))

    def forward(self, x):
        for block, dtype in zip(self.blocks, (torch.float32, torch.float64, torch.float32), strict=True):
            x = block.to(dtype)(x.to(dtype)).float()
        return x


class OtherBranch(nn.Module):
    class Switch(nn.Module):
        def __init__(self, on):
            super().__init__()
            self.on = on

        def forward(self, x):
            if self.on:
                x = x * 2
            return x + 1

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Switch(i == 2) for i in range(5))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class OtherExpert(nn.Module):
    """Every block calls another one of its own two children."""

    class Chooses(nn.Module):
        def __init__(self, choice):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.choice = choice

        def forward(self, x):
            return self.experts[self.choice](x)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Chooses(i % 2) for i in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class NoParameters(nn.Module):
    def forward(self, x):
        return x.float().softmax(-1)


class OptionalNone(nn.Module):
    class Inner(nn.Module):
        def forward(self, x, mask=None, cache=None, size=None):
            return x if mask is None else x * mask

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        return self.inner(x, None, cache=None, size=(2, 3)) + 1


class NeverCalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 100)

    def forward(self, x):
        return self.used(x)


class ParameterIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(1, 4))
        self.norm = nn.Identity()

    def forward(self, x):
        return self.norm(self.table) + x


class MadeOnTheFly(nn.Module):
    def helper(self, x):
        y = x + 1
        y = nn.LayerNorm(4, elementwise_affine=False)(y)
        return y * 2

    def forward(self, x):
        return self.helper(x)


class Monkeypatched(nn.Module):
    """As accelerate does it: the instance's forward is replaced by one that calls the old one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        old = self.forward

        def new_forward(*args, **kwargs):
            args = tuple(a.contiguous() for a in args)
            return old(*args, **kwargs)

        self.forward = new_forward

    def forward(self, x):
        return scale(self.linear(x), 2)


class Replaced(nn.Module):
    """The instance's forward is replaced by one that does not call the old one."""

    def __init__(self):
        super().__init__()
        self.forward = lambda x: scale(x, 2) + 1


class Checkpointed(Blocks):
    def __init__(self, use_reentrant):
        super().__init__(3)
        self.use_reentrant = use_reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.use_reentrant)
        return x


class CheckpointedReentrant(Checkpointed):
    def __init__(self):
        super().__init__(True)


class CheckpointedPlain(Checkpointed):
    def __init__(self):
        super().__init__(False)


class Branching(nn.Module):
    def forward(self, x):
        head, *tail = x.unbind(0)
        first, (second, third) = head + 1, (tail[0], tail[1] * 2)
        return torch.stack([first, second, third], dim=0)


def ones():
    return torch.ones(3, 4)


ALL = [
    Block, Blocks, SharedUnderTwoNames, SharedByParents, SharedFromOutside, TiedWeights, SameTwice,
    SameBlockTwice, BackwardsBlocks, ReturnsTuple, ReturnsDict, ReturnsDataclass, ReturnsNamedTuple,
    ReturnsNothing, FallsBackInHandler, KwargsOnly, NestedTuplesIn, CatchesItsOwn, HelperTwice,
    FunctionReturnsInOtherOrder, FunctionReturnsOddly, Recursive, FunctionCallsModules, OtherMethod,
    ComprehensionsAndLambdas, InPlace, Chunks, OtherWidth, OtherHiddenWidth, OtherDtype, OtherBranch,
    OtherExpert, NoParameters, OptionalNone, NeverCalled, ParameterIn, MadeOnTheFly, Monkeypatched, Replaced,
    CheckpointedReentrant, CheckpointedPlain, Branching,
]  # fmt: skip
