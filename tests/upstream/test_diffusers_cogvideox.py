"""What the CogVideoX notes and error messages rely on, asked of diffusers' transformer with tiny weights."""

import pytest
import torch
import torch.nn.functional as F
from tiny_cogvideox import HEAD_DIM, INNER, TEXT, TEXT_DIM, TIME_DIM, VARIANTS, forward, pipeline, tiny

# ---- conditioning: the timestep and the "ofs" ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_time_proj_has_no_weights_and_gives_cos_then_sin_in_float32(dtype):
    time_proj = tiny("2b").to(dtype).time_proj
    assert not time_proj.state_dict()
    out = time_proj(torch.tensor([0, 7]))
    half = INNER // 2
    assert out.shape == (2, INNER)
    assert out.dtype == torch.float32
    assert torch.equal(out[0], torch.cat([torch.ones(half), torch.zeros(half)]))
    angle = 7 * 10000 ** (-torch.arange(half) / half)
    torch.testing.assert_close(out[1], torch.cat([angle.cos(), angle.sin()]))


def test_the_embedding_of_the_time_is_one_vector_for_each_sample(calls_of):
    model = tiny("2b")
    embedding, block = calls_of(model.time_embedding), calls_of(model.transformer_blocks[0])
    forward(model, B=3)
    assert embedding[0].output.shape == (3, TIME_DIM)
    assert block[0].kwargs["temb"] is embedding[0].output


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_ofs_embedding_exists_only_with_ofs_embed_dim(variant):
    model = tiny(variant)
    exists = variant == "1.5-I2V"
    assert (model.ofs_embedding is not None) == exists
    assert (model.ofs_proj is not None) == exists


def test_ofs_is_added_to_the_time_embedding_of_every_sample(calls_of):
    model = tiny("1.5-I2V")
    time, ofs = calls_of(model.time_embedding), calls_of(model.ofs_embedding)
    block = calls_of(model.transformer_blocks[0])
    forward(model, B=3, timestep=torch.tensor([10, 400, 900]))
    assert ofs[0].output.shape == (1, TIME_DIM)
    assert ofs[0].output.abs().max() > 0
    assert torch.equal(block[0].kwargs["temb"], time[0].output + ofs[0].output)


def test_an_ofs_model_without_ofs_fails():
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        forward(tiny("1.5-I2V"), ofs=None)


def test_frames_cannot_have_timesteps_of_their_own():
    with pytest.raises(AssertionError, match="Timesteps should be a 1d-array"):
        forward(tiny("2b"), B=2, frames=3, timestep=torch.zeros(2, 3))


# ---- latent sizes ----


@pytest.mark.parametrize("variant", ["2b", "5b"])
@pytest.mark.parametrize(("H", "W"), [(9, 8), (8, 9), (9, 9)])
def test_1_0_shrinks_an_odd_latent_without_a_word(variant, H, W):
    assert forward(tiny(variant), H=H, W=W).shape == (2, 3, 4, 8, 8)


@pytest.mark.parametrize("size", [{"H": 9}, {"W": 9}, {"frames": 3}], ids=["H", "W", "F"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_1_5_refuses_an_odd_latent(size, device):
    with (
        torch.device(device),
        pytest.raises(RuntimeError, match=r"shape '\[.*\]' is invalid for input of size \d+"),
    ):
        forward(tiny("1.5"), **size)


# ---- positions and the text's length ----


@pytest.mark.parametrize("variant", ["2b", "5b-I2V"])
@pytest.mark.parametrize("text", [TEXT - 1, TEXT + 1])
@pytest.mark.parametrize(
    # the same refusal is worded otherwise where tensors have shapes only
    ("device", "message"),
    [
        (
            "cpu",
            r"size of tensor a \({}\) must match the size of tensor b \({}\) at non-singleton dimension 1",
        ),
        ("meta", r"broadcast a dimension of length {1} at -2!.*broadcastable to \[2, {0}, "),
    ],
)
def test_models_with_a_position_table_take_one_text_length_only(variant, text, device, message):
    given, table = text + 3 * 4 * 4, TEXT + 3 * 4 * 4
    with torch.device(device), pytest.raises(RuntimeError, match=message.format(given, table)):
        forward(tiny(variant), text=text)


@pytest.mark.parametrize("variant", ["5b", "1.5", "1.5-I2V"])
@pytest.mark.parametrize("text", [1, TEXT - 1, TEXT + 3])
def test_rotary_models_take_any_text_length(variant, text):
    model = tiny(variant)
    frames = 4 if model.config.patch_size_t else 3
    tables = pipeline(model)._prepare_rotary_positional_embeddings(64, 64, frames, "cpu")
    assert forward(model, text=text, image_rotary_emb=tables).shape == (2, frames, 4, 8, 8)


@pytest.mark.parametrize(("H", "W"), [(8, 6), (6, 8), (10, 10)])
def test_5b_i2v_refuses_another_resolution(H, W):
    message = "It is currently not possible to generate videos at a different resolution that the defaults"
    with pytest.raises(ValueError, match=message):
        forward(tiny("5b-I2V"), H=H, W=W)


@pytest.mark.parametrize(("frames", "learned_table_used"), [(1, False), (2, False), (3, True), (4, False)])
def test_5b_i2v_drops_its_learned_table_in_silence_when_the_frames_differ(frames, learned_table_used):
    embed = tiny("5b-I2V").patch_embed
    inputs = torch.randn(2, TEXT, TEXT_DIM), torch.randn(2, frames, 8, 8, 8)
    before = embed(*inputs)
    embed.pos_embedding.fill_(100.0)
    assert torch.equal(before, embed(*inputs)) == (not learned_table_used)

    # what takes its place is the table that 2b computes
    computed = tiny("2b", in_channels=8).patch_embed
    computed.load_state_dict({k: v for k, v in embed.state_dict().items() if k != "pos_embedding"})
    assert torch.equal(embed(*inputs), computed(*inputs)) == (not learned_table_used)


def test_learned_positions_without_rotary_are_refused():
    message = "There are no CogVideoX checkpoints available with disable rotary embeddings and learned positional"
    with pytest.raises(ValueError, match=message):
        tiny("2b", use_learned_positional_embeddings=True)


# ---- the patch embedding ----


@pytest.mark.parametrize("patch_bias", [True, False])
def test_patch_bias_counts_in_1_0_only(patch_bias):
    conv = tiny("5b", patch_bias=patch_bias).patch_embed.proj
    linear = tiny("1.5", patch_bias=patch_bias).patch_embed.proj
    assert isinstance(conv, torch.nn.Conv2d)
    assert (conv.bias is not None) == patch_bias
    assert isinstance(linear, torch.nn.Linear)
    assert linear.bias is not None
    assert linear.weight.shape == (INNER, 4 * 2 * 2 * 2)


def test_1_0_hands_every_frame_to_its_convolution_as_a_picture(calls_of):
    model = tiny("5b")
    calls = calls_of(model.patch_embed.proj)
    forward(model, B=2, frames=3)
    assert calls[0].args[0].shape == (2 * 3, 4, 8, 8)


def test_1_5_hands_its_linear_layer_whole_patches_and_keeps_the_samples_apart(calls_of):
    model = tiny("1.5")
    calls = calls_of(model.patch_embed.proj)
    video = torch.randn(2, 4, 4, 8, 8)
    forward(model, hidden_states=video)
    patches = calls[0].args[0]
    assert patches.shape == (2, 2 * 4 * 4, 4 * 2 * 2 * 2)
    # the last token: last two frames, last rows and columns, in the order channel, time, height, width
    assert torch.equal(patches[1, -1], video[1, -2:, :, -2:, -2:].transpose(0, 1).flatten())


# ---- the blocks ----


def plant(linear):
    """Makes chunk k of a modulation equal k everywhere, whatever the conditioning."""
    chunks = linear.out_features // INNER
    linear.weight.zero_()
    linear.bias.copy_(torch.arange(1.0, chunks + 1).repeat_interleave(INNER))


@pytest.mark.parametrize("name", ["norm1", "norm2"])
def test_layer_norm_zero_chunks_are_shift_scale_gate_for_video_then_text(name):
    norm = getattr(tiny("2b").transformer_blocks[0], name)
    assert norm.linear.out_features == 6 * INNER
    plant(norm.linear)
    video, text = torch.randn(2, 5, INNER), torch.randn(2, 3, INNER)
    out_video, out_text, gate, enc_gate = norm(video, text, torch.randn(2, TIME_DIM))
    torch.testing.assert_close(out_video, F.layer_norm(video, (INNER,)) * (1 + 2) + 1)
    torch.testing.assert_close(out_text, F.layer_norm(text, (INNER,)) * (1 + 5) + 4)
    assert torch.equal(gate, torch.full((2, 1, INNER), 3.0))
    assert torch.equal(enc_gate, torch.full((2, 1, INNER), 6.0))


def test_norm_out_chunks_are_shift_then_scale():
    norm = tiny("2b").norm_out
    assert norm.linear.out_features == 2 * INNER
    plant(norm.linear)
    video = torch.randn(2, 5, INNER)
    out = norm(video, temb=torch.randn(2, TIME_DIM))
    torch.testing.assert_close(out, F.layer_norm(video, (INNER,)) * (1 + 2) + 1)


@pytest.mark.parametrize(
    ("norm", "gate", "stream_changed"),
    [("norm1", 2, "video"), ("norm1", 5, "text"), ("norm2", 2, "video"), ("norm2", 5, "text")],
)
def test_gates_weigh_what_a_block_adds(norm, gate, stream_changed):
    block = tiny("2b").transformer_blocks[0]
    for each in (block.norm1, block.norm2):
        each.linear.weight.zero_()
        each.linear.bias.zero_()
    video, text = torch.randn(2, 5, INNER), torch.randn(2, 3, INNER)
    out = block(video, text, torch.randn(2, TIME_DIM))
    assert torch.equal(out[0], video)  # closed gates: nothing is added
    assert torch.equal(out[1], text)
    getattr(block, norm).linear.bias.view(6, INNER)[gate] = 1.0
    out = block(video, text, torch.randn(2, TIME_DIM))
    assert torch.equal(out[0], video) == (stream_changed != "video")
    assert torch.equal(out[1], text) == (stream_changed != "text")


@pytest.mark.parametrize("variant", ["2b", "1.5"])
def test_one_feed_forward_serves_text_and_video_text_first(variant, calls_of):
    model = tiny(variant)
    block = model.transformer_blocks[0]
    assert [name for name, _ in block.named_children()] == ["norm1", "attn1", "norm2", "ff"]
    norm2, ff = calls_of(block.norm2), calls_of(block.ff)
    forward(model)
    assert len(ff) == 1
    video, text = norm2[0].output[:2]
    assert text.shape[1] == TEXT
    assert torch.equal(ff[0].args[0], torch.cat([text, video], dim=1))


def test_the_patch_embedding_puts_the_text_first(calls_of):
    embed = tiny("5b").patch_embed
    text = torch.randn(2, TEXT, TEXT_DIM)
    out = embed(text, torch.randn(2, 3, 4, 8, 8))
    assert out.shape == (2, TEXT + 3 * 4 * 4, INNER)
    assert torch.equal(out[:, :TEXT], embed.text_proj(text))


@pytest.mark.parametrize("variant", ["5b", "1.5"])
def test_only_video_queries_and_keys_are_rotated_and_no_mask_is_used(variant, attention_in):
    model = tiny(variant)
    rows = 3 * 16 if variant == "5b" else 2 * 16
    inputs = {
        "hidden_states": torch.randn(2, 3 if variant == "5b" else 4, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, TEXT, TEXT_DIM),
    }
    angles = torch.rand(rows, HEAD_DIM)
    plain = attention_in(lambda: forward(model, **inputs))
    turned = attention_in(lambda: forward(model, **inputs, image_rotary_emb=(angles.cos(), angles.sin())))
    assert len(plain) == len(turned) == 1
    assert plain[0].query.shape == (2, INNER // HEAD_DIM, TEXT + rows, HEAD_DIM)
    assert plain[0].attn_mask is None
    for name in ("query", "key"):
        a, b = getattr(plain[0], name), getattr(turned[0], name)
        assert torch.equal(a[:, :, :TEXT], b[:, :, :TEXT])
        assert (a[:, :, TEXT:] != b[:, :, TEXT:]).any(-1).all()
    assert torch.equal(plain[0].value, turned[0].value)


@pytest.mark.parametrize(("variant", "rows", "out"), [("2b", 3 * 16, 4 * 4), ("1.5", 2 * 16, 4 * 8)])
def test_only_the_video_half_reaches_the_last_norms(variant, rows, out, calls_of):
    model = tiny(variant)
    block = calls_of(model.transformer_blocks[-1])
    norm_final, norm_out, proj_out = (calls_of(m) for m in (model.norm_final, model.norm_out, model.proj_out))
    forward(model)
    video, text = block[0].output
    assert text.shape == (2, TEXT, INNER)
    assert norm_final[0].args[0] is video
    assert norm_out[0].args[0] is norm_final[0].output
    assert norm_out[0].output.shape == (2, rows, INNER)
    assert proj_out[0].output.shape == (2, rows, out)
