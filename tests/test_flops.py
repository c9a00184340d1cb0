"""FLOPs, told three ways: from the trace, by hand from the architecture, and by torch's own counter."""

import pytest
import torch
from tiny_models import tiny
from torch.utils.flop_counter import FlopCounterMode

from tracer import api
from tracer.build import build_inputs, build_model
from tracer.calls import Cost


def cogvideox(config, L, S, B):
    """Two for each multiply-add. Text and video share all weights but those of the modulation."""
    D = config["num_attention_heads"] * config["attention_head_dim"]
    T, N = config["time_embed_dim"], L + S
    squares = config["patch_size"] ** 2 * (config["patch_size_t"] or 1)
    block = (
        2 * N * 4 * D * D  # q, k, v, out
        + 4 * N * N * D  # scores and weighted sum
        + 2 * N * 2 * 4 * D * D  # feed-forward, four times as wide
        + 2 * 2 * T * 6 * D  # norm1, norm2: shift, scale, gate for both streams
    )
    once = (
        2 * (D * T + T * T)  # timestep
        + 2 * L * config["text_embed_dim"] * D
        + 2 * S * squares * config["in_channels"] * D
        + 2 * T * 2 * D  # norm_out: shift, scale
        + 2 * S * D * squares * config["out_channels"]
    )
    offset = 2 * 2 * (config["ofs_embed_dim"] or 0) ** 2  # one for the whole batch
    return B * (config["num_layers"] * block + once) + offset


def hunyuanvideo(config, L, S, B):
    D = config["num_attention_heads"] * config["attention_head_dim"]
    text, pooled, N, wide = (
        config["text_embed_dim"],
        config["pooled_projection_dim"],
        L + S,
        config["mlp_ratio"],
    )
    squares = config["patch_size"] ** 2 * config["patch_size_t"]
    moments = 2 if config["image_condition_type"] == "token_replace" else 1  # timestep 0 as well
    step = 2 * (256 * D + D * D)
    condition = step * (moments + config["guidance_embeds"]) + 2 * (pooled * D + D * D)
    refiner_block = 2 * L * (4 + 2 * wide) * D * D + 4 * L * L * D + 2 * D * 2 * D
    refiner = step + 2 * (text * D + D * D) + 2 * L * text * D + config["num_refiner_layers"] * refiner_block
    attention = 4 * N * N * D
    dual = 2 * N * (4 + 2 * wide) * D * D + attention + 2 * D * 6 * D * (moments + 1)
    single = 2 * N * (3 + wide + 1 + wide) * D * D + attention + 2 * D * 3 * D * moments
    ends = 2 * S * squares * (config["in_channels"] + config["out_channels"]) * D + 2 * D * 2 * D
    blocks = config["num_layers"] * dual + config["num_single_layers"] * single
    return B * (condition + refiner + blocks + ends)


BY_HAND = {"cogvideox": cogvideox, "hunyuanvideo": hunyuanvideo}


def test_by_hand(case, seen):
    hand = BY_HAND.get(case.family.name)
    assert hand, f"write the FLOPs of {case.family.name} down by hand, from its architecture"
    values = seen.values
    assert seen.root.cost.flops.size == hand(case.config, values["L"], values["S"], values["B"])


def test_published_sizes(traces):
    assert traces["cogvideox-5b"].root.cost.flops.size == 664_395_424_202_752
    assert traces["hunyuanvideo"].root.cost.flops.size == 12_068_592_207_003_648


def test_torch_counts_the_same(case, seen):
    """At full size on the meta device, where torch's counter sees attention as two products of matrices."""
    model = build_model(case.family.model, case.config, dtype=case.checkpoint.dtype)
    inputs = build_inputs(case.family.inputs(case.config), seen.values, dtype=case.checkpoint.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs, return_dict=False)
    assert counter.get_total_flops() == seen.root.cost.flops.size


def test_torch_counts_all_but_attention_the_same_in_a_real_run(case):
    """Torch's counter does not know the CPU's attention kernel: attention is what it misses, all of it."""
    config, values = tiny(case.family, case.checkpoint)
    trace = api.run(case.family, config, values, "float32")
    torch.manual_seed(0)
    model = build_model(case.family.model, config, device="cpu", dtype="float32")
    inputs = build_inputs(case.family.inputs(config), values, device="cpu", dtype="float32")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs, return_dict=False)
    kernels = trace.unfold().find(name="scaled_dot_product_attention")
    attention = sum(c.cost.flops.size for c in kernels)
    assert len(kernels) == sum(config[d] for d in case.family.depths)
    assert counter.get_total_flops() + attention == trace.root.cost.flops.size


def test_stages_sum_to_the_whole(seen):
    stages = seen.stage_costs()
    total = sum(stages.values(), Cost())
    for part in ("flops", "params", "bytes"):
        whole, added = getattr(seen.root.cost, part), getattr(total, part)
        assert added.size == whole.size
        assert added.expression() == whole.expression()
        assert all(getattr(cost, part).size >= 0 for cost in stages.values())


def test_formulas_give_the_numbers(case, seen):
    values = seen.values | {d: case.config[d] for d in case.family.depths}
    for part in ("flops", "params", "bytes"):
        dim = getattr(seen.root.cost, part)
        assert dim.formula is not None
        assert dim.formula.evaluate(values) == dim.size


def test_attention_grows_with_the_square_and_all_else_in_proportion(case, seen):
    """The claim of the attention notes, on the formula: all second differences come from attention."""
    values = seen.values | {d: case.config[d] for d in case.family.depths}
    kernels = [c for c in seen.unfold().walk() if c.name == "scaled_dot_product_attention"]

    def bend(formula, n):
        at = [formula.evaluate(values | {"F": values["F"] * i}) for i in (n, n + 1, n + 2)]
        return at[0] - 2 * at[1] + at[2]

    attention = sum(bend(c.cost.flops.expression(), 1) for c in kernels)
    assert attention > 0
    assert bend(seen.root.cost.flops.formula, 1) == attention
    assert bend(seen.root.cost.flops.formula, 5) == attention


@pytest.mark.parametrize("change", [{"batch": 3}, {"frames": 17}])
def test_by_hand_at_other_sizes(case, change):
    request = api.make_request(case.checkpoint.request, change)
    values = api.letters_of(case.family, case.config, request)
    config = case.config | {d: 2 + i for i, d in enumerate(case.family.depths)}
    trace = api.run(case.family, config, values, "bfloat16")
    tokens = values["F"] * values["H"] * values["W"] // values["p"] ** 2 // values.get("p_t", 1)
    hand = BY_HAND[case.family.name](config, values["L"], tokens, values["B"])
    assert trace.root.cost.flops.size == hand
