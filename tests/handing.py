"""Which operation made each input of each operation, told by the tensors themselves while a model runs."""

import torch
from torch.overrides import TorchFunctionMode

from tracer import recorder
from tracer.diagrams.handed import Follower


class Log(TorchFunctionMode):
    """Lies below the recorder and keeps every tensor, so that an id stands for one tensor only.

    calls: (name, for each tensor given the numbers of the calls that made it or gave it back, or none).
    """

    def __init__(self, monkeypatch):
        super().__init__()
        self.calls, self.kept, self.makers, self.on = [], [], {}, False
        enter, leave = recorder.Recorder.__enter__, recorder.Recorder.__exit__

        def entered(rec):
            self.on = True
            return enter(rec)

        def left(rec, *error):
            self.on = False
            return leave(rec, *error)

        monkeypatch.setattr(recorder.Recorder, "__enter__", entered)
        monkeypatch.setattr(recorder.Recorder, "__exit__", left)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.on:
            return result
        made = list(tensors(result))
        name = (getattr(func, "__name__", None) or str(func)).strip("_")
        if made or name == "setitem":
            given = list(tensors((args, kwargs)))
            number = len(self.calls)
            self.calls.append((name, [tuple(self.makers.get(id(t), (None,))) for t in given]))
            for tensor in made or given[:1]:
                back = any(tensor is t for t in given) and name != "setitem"  # a cast to what it is already
                self.makers[id(tensor)] = [*(self.makers.get(id(tensor), [None]) if back else []), number]
            self.kept += [*made, *given]
        return result


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from tensors(inner)
    elif isinstance(value, slice):
        yield from tensors((value.start, value.stop, value.step))


class Told(Follower):
    """What is said of a trace: for each operation its stage, and the operations that made its inputs."""

    def __init__(self):
        self.calls, self.numbers, self.around = [], {}, []

    def enter(self, call, given):
        self.around.append(call)
        return given

    def leave(self, call, results):
        self.around.pop()
        return results

    def operation(self, call, given, results):
        names = [given.get(key) for key in call.inputs]
        stage = next((c.stage for c in (call, *reversed(self.around)) if c.stage not in (None, "block")), None)
        self.calls.append((call, stage, [None if v is None else self.numbers.get(v.tensor) for v in names]))
        self.numbers |= dict.fromkeys((v.tensor for v in results.values()), len(self.calls) - 1)


def compared(trace, log):
    """For each tensor that an operation is given: the operation, who made it by the trace, who in truth, as stages.

    Makers are (stage, number of the call in the log); None is a tensor that comes from outside.
    """
    told = Told()
    told.walk(trace.unfold().root)
    out, at, place, stages = [], 0, {}, {None: None}
    for number, (call, stage, makers) in enumerate(told.calls):
        at = next((i for i in range(at, len(log.calls)) if log.calls[i][0] == call.name), None)
        assert at is not None, f"the log lacks {call.name} of {call.path}"
        place[number], stages[at] = at, stage
        for said, true in zip(makers, log.calls[at][1], strict=False):  # indices that are tensors are no inputs
            said = None if said is None else place[said]
            out.append((call, (stages[said], said), [(stages.get(t), t) for t in true]))
        at += 1
    return out
