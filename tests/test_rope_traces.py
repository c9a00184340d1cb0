"""What the traces of all families turn, against what their ropes say: which tokens, how many, with which tables."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AllegroPipeline, CogVideoXPipeline
from tiny_models import tiny
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from tracer.build import build_model, full_config, ready
from tracer.families import all_families
from tracer.families.framepack import history
from tracer.notation import parse
from tracer.rope.rope3d import NoRope, Rope3D

BEHIND = ("L", "I", "G")  # tokens that stand in one sequence with the video's: text, pictures' embeddings, glyphs
HISTORY = "P"  # Framepack's packed history, whose tokens stand before the video's and are turned with them
ATTENTION = "scaled_dot_product_attention"

# ---- the range, from a trace at real size ----


def placement(family, config):
    return family.rope(config).placement


def own(call):
    """The calls of a module outside other modules, with functions other than rotations opened."""
    for child in call.children:
        if child.kind == "function" and "rotary_emb" not in child.name:
            yield from own(child)
        else:
            yield child


def numbers(spec):
    return tuple(d.size for d in spec.shape)


def attentions(trace):
    """Modules that attend: what they do themselves, one of each kind."""
    seen = {}
    for call in trace.walk():
        if call.kind == "module" and call.pattern not in seen:
            steps = list(own(call))
            if any(s.name == ATTENTION for s in steps):
                seen[call.pattern] = steps
    return seen


def tokens(shape, letters):
    """The size of a query that counts tokens: not its batch, which may be one sample, nor heads or numbers."""
    h, d = letters["h"], letters["d"]
    left = [n for n in shape if n not in (1, letters["B"], h, d, h * d)]
    assert len(left) == 1, shape
    return left[0]


def turned(steps, letters):
    """First and end index of the turned tokens, and tokens of the sequence that is attended to.

    What is turned is the whole sequence, or is written into a part of it, or is put together with others.
    """
    n, found, attended = None, set(), None
    for step in steps:
        if "rotary_emb" in step.name:
            n = tokens(numbers(step.output), letters)
        elif n and step.name == "setitem":
            at = next(s for s in step.attrs["1"] if s.start is not None)
            whole, part = (tokens(numbers(s), letters) for s in step.inputs.values())
            assert part == n
            assert whole == at.start.size + n
            found.add((at.start.size, at.start.size + n))
        elif n and step.name == "cat":
            parts = [tokens(numbers(s), letters) for s in step.inputs.values()]
            if n in parts:
                assert parts.count(n) == 1
                first = sum(parts[: parts.index(n)])
                found.add((first, first + n))
        elif step.name == ATTENTION:
            query, key, *_ = step.inputs.values()
            assert numbers(query) == numbers(key)
            attended = numbers(query)[-2]
            break
    assert len(found) <= 1, found
    first, end = found.pop() if found else (0, n)
    return (first, end), attended


def rotating(trace):
    return {p: steps for p, steps in attentions(trace).items() if any("rotary_emb" in s.name for s in steps)}


def expected(case, letters):
    """Tokens that count as the video's, and as the text's, from the letters alone."""
    video = parse(_video(case)).evaluate(letters) + letters.get(HISTORY, 0)
    return video, sum(letters.get(letter, 0) for letter in BEHIND)


def _video(case):
    """S as the family's legend has it."""
    return case.family.short(case.config)["S"][1]


def test_the_turned_range_is_what_the_rope_says(case, seen):
    where, letters = placement(case.family, case.config), seen.values
    found = rotating(seen)
    if where is None:
        assert not found
        assert not [c for c in seen.walk() if c.stage == "rope"]
        return
    assert found
    video, text = expected(case, letters)
    for pattern, steps in found.items():
        got, attended = turned(steps, letters)
        range_of_video, length = where.video(video, text), where.length(video, text)
        assert attended == length, pattern
        if where.turned == "video":
            assert got == range_of_video, pattern
        else:
            assert got == (0, length), pattern
            assert range_of_video == (text, length)


def test_queries_and_keys_are_turned_and_values_are_not(case, seen):
    for pattern, steps in rotating(seen).items():
        before = steps[: next(i for i, s in enumerate(steps) if s.name == ATTENTION)]
        assert sum("rotary_emb" in s.name for s in before) == 2, pattern


def test_attention_to_text_alone_turns_nothing(case, seen):
    """Neither cross-attention nor a token refiner has a rotation: every other attention of a turning model has one."""
    rest = attentions(seen).keys() - rotating(seen).keys()
    if placement(case.family, case.config) is None:
        assert rest
    else:
        assert all(p.endswith("attn2") or "refiner" in p or "pooler" in p for p in rest), rest


# ---- axes and table shapes ----


def test_axes_multiply_to_the_video_tokens(case, seen):
    r = case.family.rope(case.config)
    if isinstance(r, NoRope):
        assert r.reason
        return
    assert r.head_dim == case.config["attention_head_dim"]
    product = parse(" * ".join(f"({a})" for a in r.axes))
    video = parse(_video(case))
    for add in (0, 4, 12):  # formulas, not numbers alone
        moved = {k: v + add if k in ("F", "H", "W") else v for k, v in seen.values.items()}
        assert product.evaluate(moved) == video.evaluate(moved)


def test_tables_have_the_traced_shapes(case, seen):
    r = case.family.rope(case.config)
    if isinstance(r, NoRope):  # it turns nothing, or by tables that no split of a head makes
        assert bool(rotating(seen)) == (r.placement is not None)
        return
    letters = seen.values
    sizes = tuple(parse(a).evaluate(letters) for a in r.axes)
    rows = r.placement.length(*expected(case, letters)) if r.placement.turned == "all" else expected(case, letters)[0]
    for pattern, steps in rotating(seen).items():
        rotation = next(s for s in steps if "rotary_emb" in s.name)
        tables = [numbers(s) for name, s in rotation.inputs.items() if name.startswith("freqs")]
        if len(tables) == 6:  # a small table for each axis, and the places of all tokens in it
            assert tables == [(n, part) for n, part in zip(sizes, r.split, strict=True) for _ in "cs"], pattern
            places = [numbers(s) for name, s in rotation.inputs.items() if name.startswith("positions")]
            assert places == [(1, rows)] * 3
        else:
            assert [tuple(n for n in t if n > 1) for t in tables] == [(rows, r.head_dim)] * 2, pattern
    short = (2, 3, 4)
    assert [t.shape for t in r.tables(short)] == [(24, r.head_dim)] * 2


# ---- numbers: tiny real models, turned and not ----


class Queries(TorchFunctionMode):
    """Queries and keys that reach attention, with as many tokens as a sequence has."""

    def __init__(self, length):
        super().__init__()
        self.length, self.seen = length, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            q, k = given["query"], given["key"]
            if q.shape[-2] == k.shape[-2] == self.length:
                self.seen.append((q, k))
        return func(*args, **(kwargs or {}))


def hand_in(case, config, sizes):
    """Tables that the pipeline makes and hands to the model, for those families whose model makes none."""
    pipe = SimpleNamespace(transformer=SimpleNamespace(config=SimpleNamespace(**config)), vae_scale_factor_spatial=8)
    step, (frames, rows, columns), cpu = 8 * config["patch_size"], sizes, torch.device("cpu")
    if case.family.name == "cogvideox":
        frames *= config["patch_size_t"] or 1
        return CogVideoXPipeline._prepare_rotary_positional_embeddings(pipe, rows * step, columns * step, frames, cpu)
    if case.family.name == "allegro":
        return AllegroPipeline._prepare_rotary_positional_embeddings(pipe, 1, rows * step, columns * step, frames, cpu)
    return None


def still(tables):
    """Tables of the same shapes that turn nothing: cosines of one, sines of zero."""
    if isinstance(tables[0], tuple):  # a table for each axis, and places, which stay
        per_axis, places = tables
        return tuple((torch.ones_like(c), torch.zeros_like(s)) for c, s in per_axis), places
    cos, sin = tables
    return torch.ones_like(cos), torch.zeros_like(sin)


TURNING = {"hunyuanvideo", "hunyuanvideo15", "framepack", "gamecraft", "cogvideox", "wan", "flux", "allegro"}


@pytest.mark.parametrize("first", ["num_layers", "num_single_layers"])
def test_text_keeps_every_bit_and_video_is_turned_by_our_tables(case, first):
    config, letters = tiny(case.family, case.checkpoint)
    r = case.family.rope(config)
    if isinstance(r, NoRope):
        assert case.family.name not in TURNING or not config.get("use_rotary_positional_embeddings", True)
        return
    if first not in config:
        assert first == "num_single_layers"
        return
    # one block of the kind in question: what comes before the first rotation is then the same in both runs
    config |= {f: int(f == first) for f in ("num_layers", "num_single_layers") if f in config}
    sizes = tuple(parse(a).evaluate(letters) for a in r.axes)
    if HISTORY in letters:  # the letters of a tiny model are free of each other, and its history is not
        letters |= history(letters["H"] // 2, letters["W"] // 2)
    torch.manual_seed(0)
    model = build_model(case.family.model, config, device="cpu", dtype="float32")
    video, text = expected(case, letters)
    given = hand_in(case, config, sizes)
    (plain, moved), frames = both_runs(case, config, letters, model, given, r.placement.length(video, text))
    start, end = r.placement.video(video, text)
    start += letters.get(HISTORY, 0)
    r = replace(r, name=case.name)
    tables = r.tables(sizes) if frames is None else r.laid_out(r.at(frames))
    for before, after in zip(plain, moved, strict=True):
        words = torch.ones(before.shape[-2], dtype=torch.bool)
        words[:end] = False
        words[: 0 if r.placement.text != "before" else start] = True
        assert words.sum() == (text if r.placement.text != "none" else 0)
        assert torch.equal(before[..., words, :], after[..., words, :])
        ours = r.apply(before[..., start:end, :].double(), tables)
        assert end - start == len(tables[0])
        size = before.abs().max()
        assert (ours - after[..., start:end, :]).abs().max() <= 1e-5 * max(1.0, size)
        assert (before[..., start:end, :] - after[..., start:end, :]).abs().max() > 1e-3 * size  # something turned


def both_runs(case, config, letters, model, given, length):
    """Queries and keys of the first attention, without and with rotation; coordinates where the inputs give frames."""
    hook, frames, out = None, None, []
    for quiet in (True, False):
        torch.manual_seed(1)
        with ready(case.family.inputs(config), letters, device="cpu", dtype="float32") as inputs:
            if given is not None:
                inputs["image_rotary_emb"] = still(given) if quiet else given
            else:
                ropes = [m for m in model.modules() if type(m).__name__.endswith("PosEmbed")]
                assert len(ropes) == 1
                hook = ropes[0].register_forward_hook(lambda _m, _a, tables: still(tables)) if quiet else None
            if "indices_latents" in inputs:
                grid = inputs["indices_latents"].flatten().tolist(), range(letters["H"] // 2), range(letters["W"] // 2)
                frames = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3)
            if "img_ids" in inspect.signature(model.forward).parameters:
                inputs |= ids(letters)
            with Queries(length) as watch:
                model(**inputs, return_dict=False)
            if hook:
                hook.remove()
        out.append(watch.seen[0])
    return out, frames


def ids(letters):
    """FLUX's, as its pipeline makes them: text at zero, the picture's rows and columns."""
    rows, columns = letters["H"] // 2, letters["W"] // 2
    places = [(0, r, c) for r in range(rows) for c in range(columns)]
    return {"img_ids": torch.tensor(places, dtype=torch.float32), "txt_ids": torch.zeros(letters["L"], 3)}


def test_every_turning_family_is_named_above():
    made = {f.name: [f.rope(full_config(f.model, c.config)) for c in f.checkpoints] for f in all_families()}
    assert {name for name, some in made.items() if any(isinstance(r, Rope3D) for r in some)} == TURNING
