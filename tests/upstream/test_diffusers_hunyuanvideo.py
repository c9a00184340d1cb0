"""What the HunyuanVideo notes and error messages rely on, asked of diffusers with tiny random parts."""

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)

HEADS, HEAD_DIM, TEXT, TEXT_DIM, POOLED_DIM = 2, 16, 5, 12, 8
INNER = HEADS * HEAD_DIM
TINY = {
    "num_attention_heads": HEADS,
    "attention_head_dim": HEAD_DIM,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": TEXT_DIM,
    "pooled_projection_dim": POOLED_DIM,
    "rope_axes_dim": (4, 6, 6),
}
VARIANTS = {
    "T2V": {},
    "latent_concat": {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
    "token_replace": {"image_condition_type": "token_replace"},
}
DUAL_ONLY, SINGLE_ONLY = {"num_single_layers": 0}, {"num_layers": 0}


def tiny(variant="T2V", **changes):
    return HunyuanVideoTransformer3DModel(**{**TINY, **VARIANTS[variant], **changes}).eval()


def inputs_for(model, *, B=2, F=3, H=8, W=8, **changes):
    return {
        "hidden_states": torch.randn(B, model.config.in_channels, F, H, W),
        "timestep": torch.full((B,), 500.0),
        "encoder_hidden_states": torch.randn(B, TEXT, TEXT_DIM),
        "encoder_attention_mask": torch.ones(B, TEXT),
        "pooled_projections": torch.randn(B, POOLED_DIM),
        "guidance": torch.full((B,), 6000.0),
        **changes,
    }


def tiny_vae():
    return AutoencoderKLHunyuanVideo(
        block_out_channels=(4, 4, 4, 4), latent_channels=16, layers_per_block=1, norm_num_groups=2
    ).eval()


def pipeline(model, **parts):
    image_to_video = model.config.image_condition_type is not None
    names = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"] + ["image_processor"] * image_to_video
    pipe = (HunyuanVideoImageToVideoPipeline if image_to_video else HunyuanVideoPipeline)(
        transformer=model,
        vae=tiny_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        **{name: parts.get(name) for name in names},
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(model, *, B=1, H=32, W=32, steps=1, num_frames=9, **kwargs):
    """One run of the whole pipeline on ready-made prompt embeddings."""
    if model.config.image_condition_type:
        kwargs["image"] = torch.rand(B, 3, H, W)
    return pipeline(model)(
        height=H,
        width=W,
        num_frames=num_frames,
        num_inference_steps=steps,
        prompt_embeds=torch.randn(B, TEXT, TEXT_DIM),
        prompt_attention_mask=torch.ones(B, TEXT),
        pooled_prompt_embeds=torch.randn(B, POOLED_DIM),
        **{"output_type": "latent", **kwargs},
    ).frames


# ---- guidance ----


@pytest.mark.parametrize("guidance_embeds", [True, False])
def test_the_guidance_embedder_exists_only_with_guidance_embeds(guidance_embeds):
    embedder = tiny(guidance_embeds=guidance_embeds).time_text_embed.guidance_embedder
    assert (embedder is not None) == guidance_embeds


def test_a_model_with_guidance_embedder_needs_guidance():
    model = tiny()
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        model(**inputs_for(model, guidance=None))


@pytest.mark.parametrize("guidance_embeds", [True, False])
def test_guidance_is_ignored_without_the_embedder(guidance_embeds):
    model = tiny(guidance_embeds=guidance_embeds)
    inputs = inputs_for(model)
    weak = model(**inputs).sample
    strong = model(**{**inputs, "guidance": torch.full((2,), 1000.0)}).sample
    assert torch.equal(weak, strong) == (not guidance_embeds)
    if not guidance_embeds:
        assert torch.equal(weak, model(**{**inputs, "guidance": None}).sample)


@pytest.mark.parametrize(
    ("variant", "guidance_embeds", "fed"),
    [
        ("T2V", True, 6500.0),
        ("T2V", False, 6500.0),  # fed even where nothing reads it
        ("token_replace", True, 6500.0),
        ("latent_concat", False, None),
    ],
)
def test_the_pipeline_feeds_a_thousand_times_the_guidance_scale(variant, guidance_embeds, fed, calls_of):
    model = tiny(variant, guidance_embeds=guidance_embeds)
    calls = calls_of(model)
    generate(model, B=2, guidance_scale=6.5)
    assert len(calls) == 1  # guidance_scale alone does not make a second pass
    guidance = calls[0].kwargs["guidance"]
    assert guidance is None if fed is None else torch.equal(guidance, torch.full((2,), fed))


@pytest.mark.parametrize(("variant", "fed"), [("T2V", 6000.0), ("token_replace", 1000.0)])
def test_guidance_scale_by_default_is_6_for_text_and_1_for_image(variant, fed, calls_of):
    model = tiny(variant)
    calls = calls_of(model)
    generate(model)
    assert calls[0].kwargs["guidance"].tolist() == [fed]


@pytest.mark.parametrize("variant", VARIANTS)
def test_true_cfg_needs_a_negative_prompt_and_makes_two_passes_negative_second(variant, calls_of):
    model = tiny(variant)
    calls = calls_of(model)
    generate(model, true_cfg_scale=2.0)
    assert len(calls) == 1
    negative = torch.randn(1, TEXT, TEXT_DIM)
    generate(
        model,
        true_cfg_scale=2.0,
        negative_prompt_embeds=negative,
        negative_prompt_attention_mask=torch.ones(1, TEXT),
        negative_pooled_prompt_embeds=torch.randn(1, POOLED_DIM),
    )
    assert [torch.equal(c.kwargs["encoder_hidden_states"], negative) for c in calls] == [False, False, True]


# ---- sizes ----


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("H", "W"), [(9, 8), (8, 9), (9, 9)])
def test_an_odd_latent_shrinks_without_a_word(variant, H, W):
    model = tiny(variant)
    assert model(**inputs_for(model, H=H, W=W)).sample.shape == (2, 16, 3, 8, 8)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("H", "W"), [(40, 32), (32, 24)])
def test_the_pipelines_want_pixels_in_sixteens(variant, H, W):
    message = f"`height` and `width` have to be divisible by 16 but are {H} and {W}."
    with pytest.raises(ValueError, match=message):
        generate(tiny(variant), H=H, W=W)


@pytest.mark.parametrize(
    ("num_frames", "seen", "out"), [(1, 1, 1), (4, 1, 1), (5, 2, 5), (8, 2, 5), (9, 3, 9), (16, 4, 13)]
)
@pytest.mark.parametrize(
    # latent_concat throws the frames of the image's latent away: of 4 or fewer asked none is left
    ("variant", "lost"),
    [("T2V", 0), ("latent_concat", 4), ("token_replace", 0)],
)
def test_frames_asked_seen_and_given_back(variant, lost, num_frames, seen, out, calls_of):
    model = tiny(variant)
    calls = calls_of(model)
    video = generate(model, num_frames=num_frames, output_type="pt")
    assert calls[0].kwargs["hidden_states"].shape == (1, model.config.in_channels, seen, 4, 4)
    assert video.shape == (1, max(out - lost, 0), 3, 32, 32)


# ---- the image as a condition ----


def test_latent_concat_feeds_16_of_noise_16_of_image_and_1_of_mask(calls_of):
    model = tiny("latent_concat")
    calls = calls_of(model)
    generate(model, steps=2)
    first, second = (c.kwargs["hidden_states"] for c in calls)
    assert first.shape == (1, 33, 3, 4, 4)
    noise, image, mask = first.split([16, 16, 1], dim=1)
    assert (noise.abs().amax((0, 1, 3, 4)) > 0).all()
    assert (image.abs().amax((0, 1, 3, 4)) > 0).tolist() == [True, False, False]
    assert torch.equal(mask, torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3, 1, 1).expand_as(mask))
    assert not torch.equal(noise, second[:, :16])
    assert torch.equal(first[:, 16:], second[:, 16:])  # the condition stays


def test_token_replace_keeps_16_channels_and_puts_the_image_in_the_first_frame(calls_of):
    model = tiny("token_replace")
    calls = calls_of(model)
    latents = generate(model, steps=2)
    first, second = (c.kwargs["hidden_states"] for c in calls)
    assert first.shape == (1, 16, 3, 4, 4)
    for frame in range(3):
        assert torch.equal(first[:, :, frame], second[:, :, frame]) == (frame == 0)
    assert torch.equal(latents[:, :, 0], first[:, :, 0])  # and the scheduler leaves it alone


@pytest.mark.parametrize("stream", ["transformer_blocks", "single_transformer_blocks"])
def test_token_replace_gives_the_first_frame_the_embedding_of_timestep_0(stream, calls_of):
    model = tiny("token_replace")
    block = getattr(model, stream)[0]
    norm = block.norm1 if stream == "transformer_blocks" else block.norm
    calls, norm_calls = calls_of(block), calls_of(norm)
    inputs = inputs_for(model, F=3, H=8, W=6)
    model(**inputs)
    _, _, temb, _, _, token_replace_emb, num_tokens = calls[0].args
    assert num_tokens == (8 // 2) * (6 // 2)
    assert norm_calls[0].args[2] is token_replace_emb
    assert norm_calls[0].args[3] == num_tokens

    embed = model.time_text_embed
    at_zero = embed.timestep_embedder(embed.time_proj(torch.zeros(2)))
    torch.testing.assert_close(token_replace_emb, at_zero + embed.text_embedder(inputs["pooled_projections"]))

    # the norm modulates just those tokens with it: another timestep leaves them as they are
    tokens = torch.randn(2, 3 * 12, INNER)
    before = norm(tokens, temb, token_replace_emb, num_tokens)[0]
    after = norm(tokens, temb + 1, token_replace_emb, num_tokens)[0]
    assert (before == after).all(-1).tolist() == [[True] * 12 + [False] * 24] * 2


@pytest.mark.parametrize("variant", ["T2V", "latent_concat"])
def test_other_variants_have_no_embedding_of_timestep_0(variant, calls_of):
    model = tiny(variant)
    calls = calls_of(model.time_text_embed)
    model(**inputs_for(model))
    assert calls[0].output[1] is None


# ---- tokens, positions, masks ----


@pytest.mark.parametrize("streams", [DUAL_ONLY, SINGLE_ONLY], ids=["dual", "single"])
def test_video_tokens_come_first_then_text(streams, attention_in):
    model = tiny(**streams)
    inputs = inputs_for(model)
    S = 3 * 4 * 4

    def attention(**changes):
        return attention_in(lambda: model(**{**inputs, **changes}))[-1]

    base = attention()
    other_text = attention(encoder_hidden_states=torch.randn(2, TEXT, TEXT_DIM))
    other_video = attention(hidden_states=torch.randn(2, 16, 3, 8, 8))
    assert base.query.shape == (2, HEADS, S + TEXT, HEAD_DIM)
    for name in ("query", "key", "value"):
        same_video = (getattr(base, name) == getattr(other_text, name)).all(-1)
        same_text = (getattr(base, name) == getattr(other_video, name)).all(-1)
        assert same_video[0, 0].tolist() == [True] * S + [False] * TEXT
        assert same_text[0, 0].tolist() == [False] * S + [True] * TEXT


@pytest.mark.parametrize("streams", [DUAL_ONLY, SINGLE_ONLY], ids=["dual", "single"])
def test_text_is_never_rotated(streams, attention_in):
    model = tiny(**streams)
    inputs = inputs_for(model)
    S = 3 * 4 * 4
    refiner, base = attention_in(lambda: model(**inputs))
    angles = torch.rand(S, HEAD_DIM)
    model.rope.forward = lambda _: (angles.cos(), angles.sin())
    refiner_turned, turned = attention_in(lambda: model(**inputs))
    for name in ("query", "key"):
        same = (getattr(base, name) == getattr(turned, name)).all(-1)
        assert same[0, 0].tolist() == [False] * S + [True] * TEXT
        assert torch.equal(getattr(refiner, name), getattr(refiner_turned, name))
    assert torch.equal(base.value, turned.value)


def test_attention_gets_boolean_masks_the_refiners_repeated_for_each_head(calls_of, attention_in):
    model = tiny()
    refiner_block = calls_of(model.context_embedder.token_refiner.refiner_blocks[0])
    text = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    refiner, *blocks = attention_in(lambda: model(**inputs_for(model, encoder_attention_mask=text)))
    real, S = text.bool(), 3 * 4 * 4

    pairs = real[:, None, :, None] & real[:, None, None, :]
    pairs[..., 0] = True  # every token may look at the first, so no row is empty
    assert refiner_block[0].args[2].dtype == torch.bool
    assert torch.equal(refiner_block[0].args[2], pairs)
    assert torch.equal(refiner.attn_mask, pairs.expand(2, HEADS, TEXT, TEXT))

    assert len(blocks) == 2
    for block in blocks:
        assert block.attn_mask.shape == (2, 1, 1, S + TEXT)
        assert block.attn_mask.dtype == torch.bool
        assert torch.equal(block.attn_mask[:, 0, 0], torch.cat([torch.ones(2, S, dtype=torch.bool), real], 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rope_tables_of_the_published_model(dtype):
    with torch.device("meta"):
        rope = HunyuanVideoTransformer3DModel(num_layers=0, num_single_layers=0).rope
    F, H, W = 3, 4, 5
    tables = rope(torch.zeros(1, 16, F, 2 * H, 2 * W, dtype=dtype))
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in (F, H, W)), indexing="ij")
    angles = torch.cat(
        [
            axis.reshape(-1, 1) * (256 ** -(torch.arange(0, width, 2) / width)).repeat_interleave(2)
            for axis, width in zip(axes, (16, 56, 56), strict=True)
        ],
        dim=1,
    )
    for table, expected in zip(tables, (angles.cos(), angles.sin()), strict=True):
        assert table.shape == (F * H * W, 128)
        assert table.dtype == torch.float32
        torch.testing.assert_close(table, expected)
