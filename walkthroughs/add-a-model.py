# %% [markdown]
# # Add a model
#
# You have a transformer of your own, or one that has no page here. What does it take to see it the way CogVideoX is
# seen, with formulas, reasons and a frame plan?
#
# To look at it: nothing. Any `nn.Module` can be recorded as it is. To ask it questions (other lengths, other sizes,
# what moves which number): one file. This page does both.

# %%
import math
from importlib.metadata import version

import torch
from torch import nn

import tracer

print("torch", torch.__version__.partition("+")[0], "· diffusers", version("diffusers"))

# %% [markdown]
# ## A model of your own
#
# A small video DiT, written here. The block is the usual one: the time vector becomes shift, scale and gate, twice;
# one attention, one feed-forward.


# %%
class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, time):
        shift, scale, gate, shift_ff, scale_ff, gate_ff = self.modulation(time)[:, None].chunk(6, dim=-1)
        qkv = self.qkv(self.norm(x) * (1 + scale) + shift).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + gate * self.to_out(attended.transpose(1, 2).flatten(2))
        return x + gate_ff * self.ff(self.norm(x) * (1 + scale_ff) + shift_ff)


# %% [markdown]
# Around it: squares of latents become tokens, text is put in front, and at the end the text is dropped and the squares
# are put back.


# %%
class SmallDiT(nn.Module):
    def __init__(self, channels=16, width=1024, heads=16, depth=12, text_width=768):
        super().__init__()
        self.patch = nn.Conv3d(channels, width, (1, 2, 2), stride=(1, 2, 2))
        self.text_proj = nn.Linear(text_width, width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.proj_out = nn.Linear(width, 4 * channels)

    def forward(self, latents, text, timestep):
        _, channels, frames, height, width = latents.shape
        angles = timestep[:, None] * torch.exp(torch.arange(128).to(timestep) * -math.log(1e4) / 128)
        time = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        x = torch.cat([self.text_proj(text), self.patch(latents).flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x, time)
        video = self.proj_out(x[:, text.shape[1] :]).unflatten(1, (frames, height // 2, width // 2))
        video = video.unflatten(-1, (channels, 2, 2)).permute(0, 4, 1, 2, 5, 3, 6)
        return video.flatten(5, 6).flatten(3, 4)


# %% [markdown]
# ## Record it
#
# The meta device makes tensors that have a shape and no memory, so a forward at full size costs nothing.
# `tracer.record` watches it. Nothing in the model changes, and after the block every hook is gone.
#
# <details markdown="1"><summary>13 latent frames of 60×90 and 77 text tokens: how long is the sequence?</summary>
#
# $77 + 13 \cdot \frac{60}{2} \cdot \frac{90}{2}$. The next cell compares.
#
# </details>

# %%
with torch.device("meta"):
    model = SmallDiT().eval()
    latents, text, timestep = torch.empty(2, 16, 13, 60, 90), torch.empty(2, 77, 768), torch.empty(2)

with tracer.record(model) as rec, torch.no_grad():
    model(latents, text, timestep)

_, sequence = rec.trace.find("", "cat")  # the first one joins cosines and sines of the timestep
assert sequence.output.sizes == (2, 77 + 13 * (60 // 2) * (90 // 2), 1024)
assert rec.trace.header.params == sum(p.numel() for p in model.parameters())
print(f"{rec.trace.header.params:,} parameters; {sequence.name}: {sequence.output}")

# %% [markdown]
# `annotate_by_code` then names what it recognises, by what the code does and not by what things are called: a
# convolution whose stride is its kernel cuts patches, attention is where queries meet keys, results called shift, scale
# and gate modulate. What it does not recognise stays unnamed: here, the cosines and sines of the timestep, which this
# model writes out in its own forward.

# %%
seen = tracer.annotate_by_code(rec.trace)
seen

# %% [markdown]
# The numbers are as good as on every other page. Attention, for example, from its shapes and by hand:

# %%
attention = seen.one("blocks.*", "scaled_dot_product_attention")
blocks, (batch, length, width) = seen.one("blocks.*", "Block").repeat, sequence.output.sizes

by_hand = 2 * (2 * batch * length**2 * width)  # queries · keys, weights · values; a multiply-add is two
assert attention.cost.flops.size == by_hand
assert blocks == len(model.blocks)
print(f"{blocks} equal blocks; attention is {blocks * by_hand / seen.root.cost.flops.size:.0%} of the work")

# %% [markdown]
# What is missing are the formulas. One run shows how long the sequence is; what moves that number shows only when the
# model runs at other sizes, and which of its sizes may be changed, the model does not say. A family file does.
#
# The class it speaks of is one of diffusers, or one of yours that the file itself defines or imports. Formulas are
# found for what the constructor takes as arguments: the number of heads and the width of one, the sides of a patch.
# A 2 that is written out in the code stays a 2, whatever its letter says.
#
# ## A family: which letters, which inputs
#
# [EasyAnimate](https://github.com/aigc-apps/EasyAnimate) is a video model whose class is in diffusers and which has no
# family here. Asked for it, the package says so:

# %%
from textwrap import shorten

from tracer import families

try:
    tracer.trace("easyanimate")
except tracer.TracerError as refusal:
    print(shorten(str(refusal), 100, placeholder=" ..."))

assert "easyanimate" not in families.names()
assert families.by_model("EasyAnimateTransformer3DModel") is None

# %% [markdown]
# The file is written in four pieces; most of it is data. First the *letters*: config fields that set sizes. A letter
# may set two fields that are always equal (`also`), be printed as its number (patches), or only work in multiples: the
# rotary split of a head takes quarters and eighths of it.

# %%
letters = '''"""EasyAnimate, as diffusers runs it: two streams with weights of their own that meet in one attention."""

from tracer.families.base import Checkpoint, Family, Findings, Input, Letter, Request, nearest
from tracer.frame_steps import Decode, Encode, Vae
from tracer.frames import FrameRule
from tracer.rope import Crop, Placement, Rope3D, quarter


def letters(config):
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", multiple=16),
        Letter("C", "channels", "in_channels", "latent channels", also=("out_channels",)),
        Letter("T", "time_embed", "time_embed_dim", "width of the conditioning vector"),
        Letter("text_dim", "text_dim", "text_embed_dim", "width of the text encoder", number=True),
    ]
'''

# %% [markdown]
# Then the *inputs* of the forward, each with its axes; how a request in pixels becomes latents; and what is refused,
# with the nearest values that work. In this model that is height or width that make no whole patches.

# %%
request = """

def inputs(config):
    text = Input("encoder_hidden_states", "B L text_dim")
    return [Input("hidden_states", "B C F H W"), Input("timestep", "B"), text]


def sizes(config, r):
    frames, rows, columns = (r.frames - 1) // 4 + 1, r.height // 8, r.width // 8
    return {"B": r.batch, "F": frames, "H": rows, "W": columns, "L": r.text_tokens}


def check(config, r):
    found, step = Findings(), 8 * config["patch_size"]
    for side, value in (("height", r.height), ("width", r.width)):
        if value % step:
            found.errors.append(f"--{side} {value} makes no whole patches; use {nearest(value, step)}.")
    return found
"""

# %% [markdown]
# Third, how positions turn queries and keys, as data: a quarter of a head for frames and the rest in halves, places
# spread over a crop of the trained grid. And the frame rule, with the place in the code of each step.

# %%
positions = """

def rope(config):
    p, d = config["patch_size"], config["attention_head_dim"]
    return Rope3D(
        "easyanimate", quarter(d), grid=Crop((60 // p, 90 // p)), placement=Placement("before"),
        axes=("F", "H/p", "W/p"),
        source="models/transformers/transformer_easyanimate.py: EasyAnimateRotaryPosEmbed",
    )


FRAMES = FrameRule(
    Vae(8, 4, 16),
    steps=(
        Encode("pipelines/easyanimate/pipeline_easyanimate.py: prepare_latents"),
        Decode("models/autoencoders/autoencoder_kl_magvit.py: _decode"),
    ),
)
"""

# %% [markdown]
# Last, the family itself, with its checkpoints. Config fields are those that differ from the constructor's defaults,
# and each checkpoint says where it is from and how sure that is. This page has no published config at hand: it takes
# the class's own defaults, names the three fields that have none, and says just that. The 0 stands where a published
# count of parameters would.

# %%
family = """

SIZES = {"in_channels": 16, "out_channels": 16, "patch_size": 2}

FAMILY = Family(
    name="easyanimate",
    title="EasyAnimate",
    model="EasyAnimateTransformer3DModel",
    summary="two streams that meet in one attention",
    checkpoints=(
        Checkpoint("easyanimate-defaults", "", SIZES, Request(2, 49, 384, 672, 256), 0, "bfloat16",
                   "the defaults of the diffusers class, no published config", "derived"),
    ),
    letters=letters, inputs=inputs, sizes=sizes, check=check, rope=rope, frames=FRAMES,
    constraints=lambda config: [f"H and W are multiples of {config['patch_size']} (patch_size)"],
    depths=("num_layers",),
)
"""

# %% [markdown]
# ## Trace it
#
# Families are found by listing folders. `look_in` adds one of yours; for the commands, the variable `TRACER_FAMILIES`
# names it, and `PYTHONPATH` the folder of a module that the file imports. There is nothing to register. Formulas come
# with the trace: the class was run at a few other sizes and configs, and each formula stands there because it predicted
# the run.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

place = TemporaryDirectory()  # it is removed when the notebook ends
folder = Path(place.name)
(folder / "easyanimate.py").write_text(letters + request + positions + family, encoding="utf-8")
families.look_in(folder)

trace = tracer.trace("easyanimate")
trace

# %% [markdown]
# The stages and reasons are the default ones again, the same that named the small model above; this time the axes
# are formulas. Two numbers have none, and the last lines say so; what they are is seen below.
#
# <details markdown="1"><summary>Where does the text meet the video in this model, and where do they part?</summary>
#
# Inside each attention: text in front, then one attention over both, then cut apart. In between they have weights of
# their own (`add_q add_k add_v`, `txt_ff`). That is called a dual stream; [HunyuanVideo](hunyuanvideo.md) is the better
# known case.
#
# </details>

# %%
joined = trace.find("transformer_blocks.*.attn1", "cat")[0].output.shape[2]
assert joined.size == 256 + ((49 - 1) // 4 + 1) * (384 // 16) * (672 // 16)

# the formula where it was not read off, and a run there
longer = tracer.trace("easyanimate", frames=97, formulas=False)
there = longer.find("transformer_blocks.*.attn1", "cat")[0].output.sizes[2]
assert joined.formula.evaluate({**trace.values, "F": longer.values["F"]}) == there
print(joined.formula, "=", joined.size)

# %% [markdown]
# ## What is refused
#
# A size that the class could not put back together ends in a sentence before anything runs:

# %%
for sizes in ({"height": 390}, {"frames": 0}):
    try:
        tracer.trace("easyanimate", **sizes)
    except tracer.TracerError as refusal:
        print(refusal)
assert (390 // 16 * 16, -(-390 // 16) * 16) == (384, 400)  # the nearest, by hand

# %% [markdown]
# ## Frames and positions
#
# With the frame rule, `plan_frames` answers for this model. The second opinion is the real autoencoder class with four
# channels in place of hundreds:

# %%
from diffusers import AutoencoderKLMagvit

tiny = {"block_out_channels": (4,) * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2}
vae = AutoencoderKLMagvit(**tiny).eval()
for asked in (13, 50):
    plan = tracer.plan_frames("easyanimate", asked, costs=False)
    with torch.no_grad():
        decoded = vae.decode(torch.zeros(1, 4, plan.latents, 2, 2)).sample.shape[2]
    assert decoded == plan.frames
    print(plan)

# %% [markdown]
# And the rope that the file describes, held against the tables that the class computes. Positions are spread over a
# crop of the trained grid, and the class rounds where the crop begins. Those are the two numbers without a formula: no
# product of sizes rounds.

# %%
from diffusers import EasyAnimateTransformer3DModel

tiny = {"num_attention_heads": 1, "num_layers": 1, "in_channels": 4, "out_channels": 4, "patch_size": 2}
real = EasyAnimateTransformer3DModel(**tiny)
cos, sin = real.rope_embedding(torch.zeros(1, 4, 13, 48, 84))

rope = tracer.show_rope("easyanimate").rope
ours = rope.tables((13, 24, 42), like=cos)
gap = max((a - b).abs().max().item() for a, b in zip(ours, (cos, sin), strict=True))
assert gap < 1e-4
first, _ = real.rope_embedding.get_resize_crop_region_for_grid((24, 42), 45, 30)
assert [f"a size of {n}." in warning for n, warning in zip(first, trace.header.warnings, strict=True)] == [True, True]
print(rope.split, "numbers of a head turn with frame, row, column; the crop begins at", first)

# %% [markdown]
# ## A note of your own
#
# The default notes say what happens. A note says *why*. It points at a call, claims the axes of its result, gives a
# reason and names what the reason rests on. `misfits` compares claims with the trace, as formulas, so a claim
# that fits this one size by accident does not pass:

# %%
from tracer.notes import Note, misfits

why = "Every latent frame is cut into squares on its own: the convolution sees frames as a batch."
holds = Note("patch-embed", "proj", "conv, stride p", "B·F D H/p W/p", why, "config:patch_size")
lies = Note("patch-embed", "proj", "conv, stride p", "B·F D H/2 W/W", why, "config:patch_size")
stale = Note("patch-embed", "patch_embed.proj", "conv, stride p", "B·F D H/p W/p", why, "config:patch_size")

for note in (holds, lies, stale):
    print(*(misfits(trace, [note]) or ["it holds"]))
assert [len(misfits(trace, [n])) for n in (holds, lies, stale)] == [0, 1, 1]

# %% [markdown]
# Notes go into the file as `notes=lambda config: [...]`, and then replace the default ones. A family with notes of its
# own takes them seriously: at every size and for every checkpoint, each claim has to hold.
#
# ## Your fine-tune, by its folder
#
# Once the class is known, every config of it is: `--from` takes a folder of diffusers, or a `config.json`. Here one
# with 24 layers in place of the default, through the real command:

# %%
import json

config = {"_class_name": "EasyAnimateTransformer3DModel", "num_layers": 24}
config |= {"in_channels": 16, "out_channels": 16, "patch_size": 2}
file = folder / "my-finetune" / "config.json"
file.parent.mkdir()
file.write_text(json.dumps(config))
print(file.read_text())

# %%
import os
import subprocess
import sys

command = [str(Path(sys.executable).with_name("trace-shapes")), "--from", "my-finetune", "--frames", "17"]
environment = os.environ | {"TRACER_FAMILIES": str(folder)}
answer = subprocess.run([*command, "--format", "json"], cwd=folder, env=environment, capture_output=True, check=True)

theirs = tracer.Trace.from_json(answer.stdout.decode())
assert theirs.one("transformer_blocks.*", "EasyAnimateTransformerBlock").repeat == config["num_layers"]
assert theirs.values["F"] == (17 - 1) // 4 + 1
print(theirs.header.model, "·", theirs.header.checkpoint, "·", f"{theirs.header.params:,} parameters")

# %% [markdown]
# ## Where to read on
#
# What the fields of a family mean, one by one: [tracer.families](reference/families.md). The families of this package
# are files of the same kind; start from the one that is most like yours. One that is to be part of the package also has
# its parameters held against the published count, its frame rule against the real pipeline and, where it has notes, its
# FLOPs against a formula written by hand: `CONTRIBUTING.md` lists the steps.
#
# To see how far notes can go, read [CogVideoX](cogvideox.md). To watch your model while it makes a video, read
# [L1 and schedules](l1.md).
