"""FramePack (lllyasviel), as diffusers runs it: HunyuanVideo that makes a video section by section.

Features of the architecture:
- HunyuanVideo's transformer, block for block, with guidance as an embedding
- a forward sees one window of 9 latent frames, however long the video is to be
- earlier latents go in as history, the further away the coarser: 2 frames (the given picture and the nearest frame) in
  patches of 1×2×2, 2 frames in one patch of 2×4×4, 16 frames in patches of 4×8×8
- each frame brings its index in the whole video, which sets its rotary angles; those of coarse patches are averages
- the picture's SigLIP tokens stand in front of the text
- with one sample the padding of the text is cut off, with more it is masked

The same transformer serves both published samplers: backwards from the end (FramePackI2V_HY) and forwards
(FramePack_F1_I2V_HY_20250503).

Sources: diffusers' models/transformers/transformer_hunyuan_video_framepack.py and
pipelines/hunyuan_video/pipeline_hunyuan_video_framepack.py; the fields as third parties load the published weights.
"""

from __future__ import annotations

from tracer.derive import largest_prime
from tracer.families._framepack_notes import notes
from tracer.families._hunyuan_letters import HEADS, MLP, OUT, POOLED, TEXT
from tracer.families._hunyuan_rope import hunyuan_rope
from tracer.families._sizes import latents, refuse_parts
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes
from tracer.frame_steps import Decode, Sections, Vae, counted
from tracer.frames import FrameRule
from tracer.rope.rope3d import Rope3D

CHECKPOINTS = (
    Checkpoint(
        "framepack", "lllyasviel/FramePackI2V_HY", {"has_image_proj": True, "has_clean_x_embedder": True},
        Request(batch=1, frames=91, height=640, width=640, text_tokens=256), 12_874_314_816, "bfloat16",
        "the 19 fields that musubi-tuner's load_packed_model writes down; lllyasviel/FramePack demo_gradio.py",
        "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns
WINDOW = 9  # latent frames of a window (latent_window_size of the pipeline)
HISTORY = {"clean": 2, "history_2x": 2, "history_4x": 16}  # latent frames, and how coarse they are taken
PATCH = 2  # rows and columns of latents in the finest patches of the history, and so in the window's
_VAE = Vae(COMPRESSION, COMPRESSION_T, 16)
_SECTIONS = Sections("pipelines/hunyuan_video/pipeline_hunyuan_video_framepack.py: __call__", _VAE, WINDOW)
IMAGE_TOKENS = 729  # SigLIP on 384×384 pixels: 27·27 squares


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("P", "history", "", "history tokens, fine and coarse"),
        Letter("I", "image_tokens", "", "SigLIP tokens of the given picture"),
        *HEADS,
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        OUT,
        TEXT,
        POOLED,
        Letter("image_dim", "image_dim", "image_proj_dim", "width of the picture's tokens", number=True),
        MLP,
        Letter("r_2", "rows_2x", "", "rows of patches of 4 latents, the last one filled up", number=True),
        Letter("c_2", "columns_2x", "", "columns of such patches", number=True),
        Letter("r_4", "rows_4x", "", "rows of patches of 8 latents, the last one filled up", number=True),
        Letter("c_4", "columns_4x", "", "columns of such patches", number=True),
    ]


def _inputs(config: Config) -> list[Input]:
    inputs = [
        Input("hidden_states", "B C F H W"),
        Input("timestep", "B", "float32"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("encoder_attention_mask", "B L", fill="ones", assume="all text tokens are valid"),
        Input("pooled_projections", "B pooled"),
        Input("image_embeds", "B I image_dim"),
        Input("indices_latents", "F", "int64", fill="count"),
    ]
    if config["guidance_embeds"]:
        inputs.append(Input("guidance", "B"))
    for name, frames in HISTORY.items():
        inputs.append(Input(f"latents_{name}", f"B C {frames} H W"))
        inputs.append(Input(f"indices_latents_{name}", f"{frames}", "int64", fill="count"))
    return inputs


def history(rows: int, columns: int) -> dict[str, int]:
    """Sizes of the history beside a grid of so many patches: rows and columns of the coarse ones, and all tokens.

    1× has 2 frames in patches as fine as the window's, 2× one layer of patches twice as large, 4× four of those
    four times as large.
    """
    sizes = {"r_2": -(-rows // 2), "c_2": -(-columns // 2), "r_4": -(-rows // 4), "c_4": -(-columns // 4)}
    return sizes | {"P": 2 * rows * columns + sizes["r_2"] * sizes["c_2"] + 4 * sizes["r_4"] * sizes["c_4"]}


def _sizes(config: Config, request: Request) -> dict[str, int]:
    step = COMPRESSION * PATCH
    places = latents(request, WINDOW, COMPRESSION)
    return {**places, "I": IMAGE_TOKENS, **history(request.height // step, request.width // step)}


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    for name in ("has_image_proj", "has_clean_x_embedder"):
        if not config[name]:
            found.errors.append(
                f"config field '{name}' is false, and the pipeline needs it; FramePack's weights have it."
            )
    if (config["patch_size"], config["patch_size_t"]) != (PATCH, 1):
        found.errors.append(
            f"patch_size {config['patch_size']} and patch_size_t {config['patch_size_t']} do not go with the history, "
            f"whose finest patches are 1×{PATCH}×{PATCH} in the code; use {PATCH} and 1."
        )
    step = COMPRESSION * PATCH
    refuse_parts(found, r, step, step)
    count, made = _SECTIONS.runs(r.frames), _VAE.frames(_SECTIONS.latents(r.frames))
    found.warnings.append(
        f"{counted(r.frames, 'frame')} {'takes' if r.frames == 1 else 'take'} {counted(count, 'section')}, as up to "
        f"{count * _SECTIONS.chunk:,} do, and {made:,} come out: "
        f"{WINDOW * COMPRESSION_T} for each and one for the picture. No number comes out as asked."
    )
    return found


def _constraints(config: Config) -> list[str]:
    return [
        "B stays as it is: one sample's text is cut, that of more is masked",
        f"H and W are multiples of {PATCH} (patch_size): height and width of {COMPRESSION * PATCH} pixels",
        "d = d_t + d_y + d_x (rope_axes_dim): the rotary parts of the three axes fill a head",
    ]


def _fixed(config: Config) -> dict[str, str]:
    return {"F": f"every forward sees one window of {WINDOW} latent frames (latent_window_size)"}


def _limited(config: Config) -> dict[str, tuple[int, ...]]:
    """One sample takes a path of its own: its text is cut, not masked."""
    return {"B": (1,)}


def _fit(point: dict[str, int], real: Sizes) -> None:
    """A grid whose coarse patches, rounded up, have primes of their own too.

    That takes grids of 4n + 1. In some probe columns are 4n + 2, so that what is filled up differs from that of the
    rows; there c_2 is half of them.
    """
    if "y" not in point:
        return
    own = ("y", "x", "r_2", "c_2", "r_4", "c_4", "P")
    taken = {largest_prime(n) for s, n in point.items() if s not in own} | {2, 3, 5, 7}
    rows, columns, rest = point["y"], point["x"], 1 if point["I"] % 4 == 1 else 2
    apart = set(own) if rest == 1 else set(own) - {"c_2"}
    for first, parts in ((True, {"y", "r_2", "r_4"}), (False, apart)):
        while True:
            point |= {"y": PATCH * rows, "x": PATCH * columns} | history(rows, columns)
            primes = {largest_prime(point[s]) for s in parts}
            if len(primes) == len(parts) and not primes & taken and (first or columns % 4 == rest):
                break
            rows, columns = rows + first, columns + (not first)


def _sums(config: Config) -> list[str]:
    """Window and history as they are joined, with picture and text; and what is filled up in patches of 4 and of 8."""
    window = "F*H*W/4"
    return [
        "L + I", f"{window} + H*W/2", f"{window} + H*W/2 + r_2*c_2", f"{window} + P", f"{window} + P + L + I",
        "4*r_2 - H", "4*c_2 - W", "8*r_4 - H", "8*c_4 - W",
        "2*r_2 - H/2", "2*c_2 - W/2", "4*r_4 - H/2", "4*c_4 - W/2",
    ]  # fmt: skip


def _short(config: Config) -> dict[str, tuple[str, str, str]]:
    return {
        "S": ("tokens", f"F*(H/{PATCH})*(W/{PATCH})", "video tokens of the window"),
        "D": ("hidden", "h*d", "width of the residual stream"),
    }


def _rope(config: Config) -> Rope3D:
    return hunyuan_rope(
        "framepack",
        config,
        source="models/transformers/transformer_hunyuan_video_framepack.py: HunyuanVideoFramepackRotaryPosEmbed",
        axes=("F", f"H/{PATCH}", f"W/{PATCH}"),
        remark="the pipeline hands in the frames' positions, section by section; shown as 0, 1, 2, ... . The packed "
        "history, which stands before them, turns too: its coarse tokens by means of cosines and sines, which make "
        "them shorter",
    )


FAMILY = Family(
    name="framepack",
    title="FramePack",
    model="HunyuanVideoFramepackTransformer3DModel",
    summary="HunyuanVideo in sections, with a history that is coarser the older it is",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=_fixed,
    limited=_limited,
    fit=_fit,
    sums=_sums,
    short=_short,
    depths=("num_layers", "num_single_layers", "num_refiner_layers"),
    notes=notes,
    frames=FrameRule(
        _VAE,
        steps=(
            _SECTIONS,
            Decode("models/autoencoders/autoencoder_kl_hunyuan_video.py: _decode"),
        ),
        history=((2, 1, 2), (2, 2, 4), (16, 4, 8)),
    ),
    rope=_rope,
)
