"""How many text tokens reach HunyuanVideo: the pipelines' own prompt code, with stand-ins for text encoders.

The stand-in tokenizer lays a prompt out as the Llama 3 chat template does, one token for each word. What
comes out depends on its layout in two ways: the prompt starts at the template's crop_start, and the
image-to-video pipeline cuts four tokens, the last of which is the assistant's <|end_header_id|>.
"""

from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)

BOS, START_HEADER, ROLE, END_HEADER, BREAK, IMAGE, SYSTEM, WORD, EOT, PAD = range(10)
T2V_CROP, I2V_CROP = 95, 103  # where the pipelines' templates say that the prompt starts
IMAGE_TOKENS = 576


class Tokenizer:
    def __init__(self, crop_start, answers):
        header = [BOS, START_HEADER, ROLE, END_HEADER, BREAK]
        user = [EOT, START_HEADER, ROLE, END_HEADER, BREAK]
        image = [IMAGE] if answers else []  # the image template alone asks for an answer
        system = [SYSTEM] * (crop_start - len(header) - len(image) - len(user))
        self.before = header + image + system + user
        self.after = [EOT, START_HEADER, ROLE, END_HEADER, BREAK] if answers else [EOT]

    def convert_tokens_to_ids(self, token):
        return {"<|end_header_id|>": END_HEADER}[token]

    def __call__(self, texts, max_length, **_):
        ids = torch.full((len(texts), max_length), PAD)
        for row, text in zip(ids, texts, strict=True):
            words = text.split("user<|end_header_id|>\n\n")[1].split("<|eot_id|>")[0].split()
            filled = (self.before + [WORD] * len(words) + self.after)[:max_length]
            row[: len(filled)] = torch.tensor(filled)
        return SimpleNamespace(input_ids=ids, attention_mask=(ids != PAD).long())


class TextEncoder:
    """Gives each token its position and its id, and writes the layer's number beside them."""

    dtype = torch.float32
    config = SimpleNamespace(image_token_index=IMAGE, pad_token_id=PAD)
    layers = 32

    def __call__(self, input_ids, **_):
        positions = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        return SimpleNamespace(
            hidden_states=[
                torch.stack([positions, input_ids, torch.full_like(input_ids, layer)], dim=-1).float()
                for layer in range(self.layers + 1)
            ]
        )


class Clip:
    """CLIP's tokenizer and encoder in one: a pooled vector for each prompt."""

    dtype = torch.float32

    def __call__(self, prompts, **_):
        if torch.is_tensor(prompts):
            return SimpleNamespace(pooler_output=torch.zeros(len(prompts), 4))
        return SimpleNamespace(input_ids=torch.zeros(len(prompts), 77, dtype=torch.long))


def pipeline(image_condition_type=None, **changes):
    model = HunyuanVideoTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=0,
        num_refiner_layers=1,
        text_embed_dim=3,
        pooled_projection_dim=4,
        rope_axes_dim=(4, 6, 6),
        image_condition_type=image_condition_type,
        **changes,
    )
    vae = AutoencoderKLHunyuanVideo(
        block_out_channels=(4, 4, 4, 4), latent_channels=16, layers_per_block=1, norm_num_groups=2
    )
    parts = {
        "transformer": model.eval(),
        "vae": vae.eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "text_encoder": TextEncoder(),
        "tokenizer": Tokenizer(I2V_CROP if image_condition_type else T2V_CROP, bool(image_condition_type)),
        "text_encoder_2": Clip(),
        "tokenizer_2": Clip(),
    }
    if image_condition_type is None:
        pipe = HunyuanVideoPipeline(**parts)
    else:
        pixels = SimpleNamespace(pixel_values=torch.zeros(1, 3, 4, 4))
        pipe = HunyuanVideoImageToVideoPipeline(**parts, image_processor=lambda *_, **__: pixels)
    pipe.set_progress_bar_config(disable=True)
    return pipe


VARIANTS = {
    "latent_concat": {"in_channels": 33, "guidance_embeds": False},
    "token_replace": {},
}


def words(n):
    return " ".join(["word"] * n)


def encode(pipe, prompts, **kwargs):
    """(positions, ids, layers, mask) of the tokens that encode_prompt returns."""
    embeds, _, mask = pipe.encode_prompt(prompt=prompts, max_sequence_length=256, **kwargs)
    return *embeds.long().unbind(-1), mask


@pytest.mark.parametrize("n", [1, 30, 256, 400])
def test_t2v_cuts_the_template_and_leaves_256_tokens(n):
    positions, ids, layers, mask = encode(pipeline(), words(n))
    assert positions.tolist() == [list(range(T2V_CROP, T2V_CROP + 256))]
    assert (ids == WORD).sum() == min(n, 256)
    assert mask.sum() == min(n + 1, 256)  # the words and <|eot_id|>
    assert layers.unique().tolist() == [30]  # two layers short of the last of 32


@pytest.mark.parametrize(
    ("interleave", "image_tokens", "step"),
    [(1, 576, 1), (2, 288, 2), (4, 144, 4), (5, 116, 5), (6, 576, 1)],  # 6 and more are taken for 1
)
@pytest.mark.parametrize("n", [1, 30, 252, 400])
def test_i2v_puts_every_nth_image_token_before_252_of_text(n, interleave, image_tokens, step):
    pipe = pipeline("token_replace")
    positions, ids, layers, mask = encode(pipe, words(n), image=torch.zeros(1), image_embed_interleave=interleave)
    assert positions.shape == mask.shape == (1, image_tokens + 252)
    assert positions[0, :image_tokens].tolist() == list(range(5, 5 + IMAGE_TOKENS, step))
    assert (ids[0, :image_tokens] == IMAGE).all()
    assert (ids[0, image_tokens:] != IMAGE).all()
    # the first text token is the prompt's first: its place in the template, moved on by the image
    assert positions[0, image_tokens] == I2V_CROP + IMAGE_TOKENS - 1
    # of 934 positions a short prompt keeps the last; a long one, cut by the tokenizer, loses its last four
    assert positions[0, -1] == (933 if n < 252 else 929)
    assert (ids == WORD).sum() == min(n, 252)
    assert layers.unique().tolist() == [30]
    if n <= 252:
        # of the assistant's header only the break after it is left
        assert (ids == EOT).sum() == (ids == START_HEADER).sum() == (ids == END_HEADER).sum() == 0
        assert mask.sum() == image_tokens + min(n + 1, 252)


def test_i2v_cuts_nothing_but_the_header_from_prompts_of_different_length():
    _, ids, _, mask = encode(pipeline("latent_concat", **VARIANTS["latent_concat"]), [words(3), words(9)], image=None)
    assert ids.shape == (2, 540)  # encode_prompt's own default is every second image token
    assert (ids == WORD).sum(1).tolist() == [3, 9]
    assert mask.sum(1).tolist() == [288 + 4, 288 + 10]


@pytest.mark.parametrize(("lengths", "result"), [((400,), 540), ((400, 400), 545), ((400, 3), None)])
def test_i2v_handles_a_prompt_that_loses_its_header_only_in_a_batch_of_one(lengths, result):
    pipe, prompts = pipeline("token_replace"), [words(n) for n in lengths]
    if result is None:
        with pytest.raises(RuntimeError, match=r"shape '\[2, -1\]' is invalid for input of size 5"):
            encode(pipe, prompts, image=None)
    else:
        # of two, each takes the user's header for the assistant's: five tokens too many
        assert encode(pipe, prompts, image=None)[0].shape == (len(lengths), result)


@pytest.mark.parametrize(
    ("variant", "text", "negative_text"),
    [
        ("latent_concat", 540, 540),
        ("token_replace", 396, 540),  # the negative prompt is encoded with the default, not with 4
    ],
)
def test_text_tokens_the_i2v_transformer_sees(variant, text, negative_text, calls_of):
    pipe = pipeline(variant, **VARIANTS[variant])
    calls = calls_of(pipe.transformer)
    pipe(
        image=torch.rand(1, 3, 32, 32),
        prompt="a cat",
        negative_prompt="blurred",
        true_cfg_scale=2.0,
        height=32,
        width=32,
        num_frames=5,
        num_inference_steps=1,
        output_type="latent",
    )
    assert [c.kwargs["encoder_hidden_states"].shape for c in calls] == [(1, text, 3), (1, negative_text, 3)]
    assert [c.kwargs["encoder_attention_mask"].shape for c in calls] == [(1, text), (1, negative_text)]


def test_text_tokens_the_t2v_transformer_sees(calls_of):
    pipe = pipeline()
    calls = calls_of(pipe.transformer)
    pipe(prompt="a cat", height=32, width=32, num_frames=5, num_inference_steps=1, output_type="latent")
    assert calls[0].kwargs["encoder_hidden_states"].shape == (1, 256, 3)
    assert calls[0].kwargs["pooled_projections"].shape == (1, 4)
