"""FLOPs, told three ways: from the trace, by hand from the architecture, and by torch's own counter."""

import math

import pytest
import torch
from tiny_models import tiny
from torch.utils.flop_counter import FlopCounterMode

from tracer import api
from tracer.build import build_model, ready
from tracer.calls import Cost
from tracer.notation import parse

# Mochi turns autocast off for its angles, on the CPU in a way that torch warns of
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


def cogvideox(config, L, S, B, **_):
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


def hunyuanvideo(config, L, S, B, **_):
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


def wan(config, L, S, B, I=0, **_):  # noqa: E741
    """The text is read by cross-attention; one linear layer modulates all blocks."""
    D = config["num_attention_heads"] * config["attention_head_dim"]
    patch = config["patch_size"][0] * config["patch_size"][1] ** 2
    picture = config["image_dim"] or 0
    block = (
        2 * S * 4 * D * D + 4 * S * S * D  # self-attention: q, k, v, out; scores and weighted sum
        + 2 * S * 2 * D * D + 2 * L * 2 * D * D + 4 * S * L * D  # the text: q and out, k and v, attention
        + 2 * I * 2 * D * D + 4 * S * I * D  # the picture: k and v, attention
        + 2 * S * 2 * D * config["ffn_dim"]
    )  # fmt: skip
    once = (
        2 * (config["freq_dim"] * D + D * D) + 2 * D * 6 * D  # timestep, modulation
        + 2 * L * (config["text_dim"] * D + D * D)
        + 2 * I * (picture * picture + picture * D)
        + 2 * S * patch * (config["in_channels"] + config["out_channels"]) * D
    )  # fmt: skip
    return B * (config["num_layers"] * block + once)


def gamecraft(config, L, S, B, F, **_):
    """HunyuanVideo's, and the camera: the poses of the action, and empty ones for the latents before it."""
    D = config["num_attention_heads"] * config["attention_head_dim"]
    squares, latent = config["patch_size"] ** 2, config["out_channels"]
    wide = config["camera_in_channels"] * config["camera_down_coef"] ** 2
    action = (config["clip_frames"] - 1) // 4 + 1
    before = {action: 0, action + 1: 4, 2 * action: config["clip_frames"]}[F]
    camera = 2 * S * squares * latent * D
    for poses in (config["clip_frames"], before):
        half = (poses + 1) // 2  # the first of an odd number is kept
        quarter = (half + 1) // 2
        places = S // F * squares
        camera += 2 * places * (poses * wide * wide // 2 + half * wide * wide // 8 + quarter * wide // 4 * latent)
    video = {"patch_size_t": 1, "guidance_embeds": False, "image_condition_type": None}
    return hunyuanvideo(config | video, L, S, B) + B * camera


def framepack(config, L, S, B, H, W, I, **_):  # noqa: E741
    """HunyuanVideo's blocks, with the history beside the video and the picture beside the text."""
    D = config["num_attention_heads"] * config["attention_head_dim"]
    text, latent = config["text_embed_dim"], config["in_channels"]
    frames, sizes = (2, 1, 4), (2, 4, 8)  # of the history in layers of patches, and rows of a patch
    layers = [n * math.ceil(H / size) * math.ceil(W / size) for n, size in zip(frames, sizes, strict=True)]
    kernels = (1 * 2 * 2, 2 * 4 * 4, 4 * 8 * 8)
    history = 2 * latent * D * sum(n * places for n, places in zip(layers, kernels, strict=True))
    picture = 2 * I * (config["image_proj_dim"] * 3 * D + 3 * D * D)
    ends = 2 * S * config["patch_size"] ** 2 * (latent + config["out_channels"]) * D
    shallow = config | {"image_condition_type": None, "num_layers": 0, "num_single_layers": 0}
    blocks = config | {"image_condition_type": None, "num_refiner_layers": 0}
    around = 2 * (L + I) * text * D + hunyuanvideo(shallow | {"num_refiner_layers": 0}, 0, 0, 1)
    video = hunyuanvideo(blocks, L + I, S + sum(layers), 1) - around
    video -= 2 * (S + sum(layers)) * config["patch_size"] ** 2 * (latent + config["out_channels"]) * D
    return B * (video + hunyuanvideo(shallow, L, 0, 1) + history + picture + ends)


def hunyuanvideo15(config, L, S, B, I, G, **_):  # noqa: E741
    """Dual blocks over video and three kinds of text."""
    D = config["num_attention_heads"] * config["attention_head_dim"]
    text, glyph, picture = (config[f] for f in ("text_embed_dim", "text_embed_2_dim", "image_embed_dim"))
    N, wide = L + I + G + S, config["mlp_ratio"]
    squares = config["patch_size"] ** 2 * config["patch_size_t"]
    step = 2 * (256 * D + D * D)
    refiner_block = 2 * L * (4 + 2 * wide) * D * D + 4 * L * L * D + 2 * D * 2 * D
    refiner = step + 2 * (text * D + D * D) + 2 * L * text * D + config["num_refiner_layers"] * refiner_block
    texts = 2 * G * (glyph * 2048 + 2048 * 2048 + 2048 * D) + 2 * I * (picture * picture + picture * D)
    dual = 2 * N * (4 + 2 * wide) * D * D + 4 * N * N * D + 2 * D * 6 * D * 2
    ends = 2 * S * squares * (config["in_channels"] + config["out_channels"]) * D + 2 * D * 2 * D
    return B * (step + refiner + texts + config["num_layers"] * dual + ends)


BY_HAND = {
    "framepack": framepack,
    "hunyuanvideo15": hunyuanvideo15,
    "gamecraft": gamecraft,
    "cogvideox": cogvideox,
    "hunyuanvideo": hunyuanvideo,
    "wan": wan,
}


def test_by_hand(case, seen):
    if case.family.notes is None:
        pytest.skip("the default notes ask for no count by hand")
    hand = BY_HAND.get(case.family.name)
    assert hand, f"write the FLOPs of {case.family.name} down by hand, from its architecture"
    assert seen.root.cost.flops.size == hand(case.config, **seen.values)


def test_published_sizes(traces):
    assert traces["cogvideox-5b"].root.cost.flops.size == 664_395_424_202_752
    assert traces["hunyuanvideo"].root.cost.flops.size == 12_068_592_207_003_648


def test_torch_counts_the_same(case, seen):
    """At full size on the meta device, where torch's counter sees attention as two products of matrices."""
    model = build_model(case.family.model, case.config, dtype=case.checkpoint.dtype)
    run = ready(case.family.inputs(case.config), seen.values, dtype=case.checkpoint.dtype)
    with run as inputs, FlopCounterMode(display=False) as counter:
        model(**inputs, return_dict=False)
    assert counter.get_total_flops() == seen.root.cost.flops.size


def test_torch_counts_all_but_attention_the_same_in_a_real_run(case):
    """Torch's counter does not know the CPU's attention kernel: attention is what it misses, all of it."""
    config, values = tiny(case.family, case.checkpoint)
    trace = api.run(case.family, config, values, "float32")
    torch.manual_seed(0)
    model = build_model(case.family.model, config, device="cpu", dtype="float32")
    run = ready(case.family.inputs(config), values, device="cpu", dtype="float32")
    with run as inputs, FlopCounterMode(display=False) as counter:
        model(**inputs, return_dict=False)
    kernels = trace.unfold().find(name="scaled_dot_product_attention")
    attention = sum(c.cost.flops.size for c in kernels)
    assert len(kernels) >= sum(config[d] for d in case.family.depths)
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
        if part == "bytes" and case.family.name == "flux":
            continue  # at B = 1 the cut sequence is contiguous already, and is not written anew
        assert dim.formula is not None
        assert dim.formula.evaluate(values) == dim.size


def test_attention_grows_with_the_square_and_all_else_in_proportion(case, seen):
    """The claim of the attention notes, on the formula: all second differences come from attention."""
    if not case.family.video:
        pytest.skip("an image model has no frames")
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
    if case.family.notes is None:
        pytest.skip("the default notes ask for no count by hand")
    if "frames" in change and "F" in case.family.fixed(case.config):
        change = {"height": 320}
    request = api.make_request(case.checkpoint.request, change)
    values = api.letters_of(case.family, case.config, request)
    config = case.config | {d: 2 + i for i, d in enumerate(case.family.depths)}
    trace = api.run(case.family, config, values, "bfloat16")
    tokens = parse(case.family.short(config)["S"][1]).evaluate(values)
    assert trace.root.cost.flops.size == BY_HAND[case.family.name](config, **values, S=tokens)
