"""The Chinese article on code for 3D rotary positions.

The code that it reads is that of SCAIL and Kaleido, by its names. None of it is installed here: it is measured on this
package's ropes of those models, or on diffusers' Wan, which has the same split and the same pairs.
"""

from __future__ import annotations

from claims import _rope_measures as m
from claims.claim import UNSAID, Article, Claim, Part

ARTICLE = Article(
    key="rope",
    title="An explanation of code for 3D rotary positions, in Chinese",
    author=None,
    url=None,
    about="A class for 3D rotary positions, line by line: how a head is split, frequencies, rotation, coordinates, and "
    "what it is good for. The code that it reads is by its names that of SCAIL and Kaleido, and is not installed here: "
    "claims about it are measured on this package's account of those ropes, or on diffusers' Wan, which has the same "
    "split and the same pairs.",
    right="It goes through a real implementation in the order in which one has to understand it: split, frequencies, "
    "fusion, rotation. The core of it is right: lengths are kept and scores depend on offsets.",
)

_ESSENCE = "1. Essence of position encoding"
_SPLIT = "2. Extension to three dimensions"
_TENSORS = "3. Frequency tensors"
_TURN = "4. The rotation"
_INDEX = "Technical points, 1. Position indices"
_FAST = "Technical points, 2. Efficiency"
_ATTENTION = "Technical points, 3. Attention"
_UNIFIED = "Innovations, 1. One code for space and time"
_LONG = "Innovations, 2. Interpolation for long sequences"
_MODAL = "Innovations, 3. Modalities"
_VALUE = "Core value for video generation"
_END = "Summary"

SCAIL = "zai-org/SCAIL dit_video_crossattn_sc_xc.py:382-645, at 33122ea3"
KALEIDO = "CriliasMiller/Kaleido dit_video_crossattn.py:332-520, at e54b5e75"
SAT = "zai-org/CogVideo sat/dit_video_concat.py"
PNP = "zai-org/SCAIL notuse/dit_video_concat_pnp.py:244-340, at 33122ea3"
EMBEDDINGS = "diffusers models/embeddings.py"


CLAIMS = (
    Claim(
        "rope/angle", _ESSENCE,
        "A token is turned by its position times a frequency.",
        "So it is; the tables hold the cosines and sines of these products.",
        (
            Part("Wan's tables are cosines and sines of positions times frequencies", True, True,
                 m.grows_with_position),
        ),
        "diffusers models/transformers/transformer_wan.py:354-390",
    ),
    Claim(
        "rope/theta", _ESSENCE,
        "Frequencies are powers of 10000.",
        "In SCAIL, Kaleido, CogVideoX and Wan. It is a choice and not part of the method: HunyuanVideo has 256.",
        (
            Part("theta of Wan's frame axis", 10000.0, 10000.0, m.wan_theta, 1e-3),
            Part("theta of CogVideoX's", 10000.0, 10000.0, m.cogvideox_theta, 1e-3),
            Part("theta of HunyuanVideo's", UNSAID, 256.0, m.hunyuanvideo_theta, 1e-3),
        ),
        f"{SCAIL}; diffusers models/transformers/transformer_hunyuan_video.py:478-508",
    ),
    Claim(
        "rope/exponent", _ESSENCE,
        "The exponent of the k-th frequency is -2k over the total width of the head.",
        "Over the width of the axis' own part, so that every axis spans fast to slow. With the whole head below, the "
        "frequencies of an axis would end long before.",
        (
            Part("what stands below -2k in the frame axis, head of 64", 64.0, 16.0, lambda: m.exponent_of(64), 1e-4),
        ),
        f"{EMBEDDINGS}:692-700; {SCAIL}",
    ),
    Claim(
        "rope/split-rule", _SPLIT,
        "A head of d is split into d - 4 (d//6) for time and 2 (d//6) each for height and width.",
        "That is the rule of SCAIL, Kaleido and Wan.",
        (
            Part("columns along frame, row, column in Wan's tables, d = 128", (44, 42, 42), (44, 42, 42),
                 lambda: m.wan_split(128)),
            Part("the same, d = 64", (24, 20, 20), (24, 20, 20), lambda: m.wan_split(64)),
        ),
        f"{SCAIL}; {KALEIDO}; diffusers models/transformers/transformer_wan.py:354-416",
    ),
    Claim(
        "rope/split-192", _SPLIT,
        "For a head of 192 that makes 64 for each axis.",
        "The only usual size at which the three are equal.",
        (
            Part("columns along frame, row, column in tables with that rule", (64, 64, 64), (64, 64, 64),
                 lambda: m.wan_split(192)),
        ),
    ),
    Claim(
        "rope/split-in-general", _SPLIT,
        "The rule is presented as the way in which video transformers share out a head.",
        "CogVideoX has a quarter and three eighths twice, and HunyuanVideo three numbers in its config. At no usual "
        "size do they agree with the rule.",
        (
            Part("split of CogVideoX, head of 64", (24, 20, 20), (16, 24, 24), lambda: m.cogvideox_split(64)),
            Part("CogVideoX's rule for a head of 192", (64, 64, 64), (48, 72, 72), lambda: m.cogvideox_split(192)),
            Part("split of HunyuanVideo, head of 128", (44, 42, 42), (16, 56, 56), m.hunyuanvideo_split),
        ),
        f"{EMBEDDINGS}:692-694; diffusers models/transformers/transformer_hunyuan_video.py:478-508",
    ),
    Claim(
        "rope/balanced", _END,
        "Splitting in proportion balances what space and time can hold.",
        "The rule makes the parts as equal as pairs allow. HunyuanVideo gives frames 16 of 128 and works, too.",
        (
            Part("largest over smallest part is below 1.1, d = 128", True, True,
                 lambda: max(m.wan_split(128)) < 1.1 * min(m.wan_split(128))),
        ),
    ),
    Claim(
        "rope/shapes", _TENSORS,
        "Frequencies of an axis are (T, dim_t//2); all three, broadcast and joined, are (T, H, W, D) with D the sum of "
        "the parts.",
        "With one step between that the text leaves out: every frequency is written twice, once for each number of its "
        "pair. Joined as they stand, halves would add up to half of D.",
        (
            Part("shape of one axis' frequencies, 13 frames and 64 numbers", (13, 32), (13, 32), lambda: m.shapes()[0]),
            Part("shape of the joined tables on a grid of 13×4×6, head of 192", (13, 4, 6, 192), (13, 4, 6, 192),
                 lambda: m.shapes()[1]),
        ),
        f"{EMBEDDINGS}:703-720",
    ),
    Claim(
        "rope/rotation", _TURN,
        "A vector times the cosine plus its quarter turn times the sine is multiplication by a complex number.",
        "With a quarter turn that fits the pairs.",
        (
            Part("both are what diffusers' rotation gives", True, True, m.formula_holds),
        ),
        f"{EMBEDDINGS}:952-1007",
    ),
    Claim(
        "rope/rotate-half", _TURN,
        "rotate_half makes (-c, -d, a, b) of (a, b, c, d).",
        "In this code the function of that name pairs neighbours and makes (-b, a, -d, c). Across the halves turns "
        "another one, rotate_half_false, used with interleaved_rope=False, which neither published config has. Tables "
        "of one kind with the turn of the other are no rotation: lengths change.",
        (
            Part("quarter turn of (1, 2, 3, 4), neighbours paired", (-3.0, -4.0, 1.0, 2.0), (-2.0, 1.0, -4.0, 3.0),
                 lambda: m.rotated_half(halves=False)),
            Part("quarter turn across halves, the other function's", UNSAID, (-3.0, -4.0, 1.0, 2.0),
                 lambda: m.rotated_half(halves=True)),
            Part("lengths change by more than a tenth where the two kinds are mixed", UNSAID, True,
                 lambda: m.norm_error("half", "interleaved") > 0.1),
        ),
        f"{SAT}:248-407; {SCAIL}; {KALEIDO} and configs/video_model/dit_crossattn_14B_wanvae.yaml:59-60",
    ),
    Claim(
        "rope/neighbours", _TURN,
        "Neighbouring frames and pixels are turned to neighbouring directions.",
        "On the whole: the mean cosine falls over the first three places along every axis. Single pairs do as they "
        "please; the fastest turns by a radian from one frame to the next and has been round after six.",
        (
            Part("mean cosine falls from 0 over 1 and 2 to 3 places apart, SCAIL's rope", True, True,
                 m.falls("scail")),
        ),
    ),
    Claim(
        "rope/coordinates", _INDEX,
        "A PNP mode takes coordinates for each token, and leaves tokens alone whose coordinates are -1.",
        "One class of that code does it, in a folder called notuse. In the two that have the six-way split the flag is "
        "there, but reads an attribute that is never set, so that it raises; -1 means nothing to them.",
        (
            Part("in the class where it works, given places get the angles that a grid has there", True, True,
                 m.free_places),
            Part("there, -1 leaves a token as it is", True, True, lambda: m.masked("sat-pnp")),
            Part("in the rope with the six-way split, -1 leaves a token as it is", True, False,
                 lambda: m.masked("scail")),
        ),
        f"{PNP}; {SCAIL}; {KALEIDO}",
    ),
    Claim(
        "rope/x-and-y", _INDEX,
        "Of the coordinates, x is the horizontal one and y the vertical one.",
        "The code calls them so, but the table is (T, H, W) and is indexed in the order t, x, y: what is called x "
        "chooses a row.",
        (
            Part("axis that x, the second coordinate, moves along", "column", "row", lambda: m.axis_of_coordinate(1)),
            Part("axis that y, the third, moves along", "row", "column", lambda: m.axis_of_coordinate(2)),
        ),
        PNP,
    ),
    Claim(
        "rope/cached", _FAST,
        "Cosines and sines of all positions are computed once and kept.",
        "In SCAIL and Kaleido, as in diffusers' Wan. The class with coordinates keeps angles, and takes cosines and "
        "sines at every call; diffusers' HunyuanVideo computes its tables in every forward.",
        (
            Part("what diffusers' Wan keeps", ("freqs_cos", "freqs_sin"), ("freqs_cos", "freqs_sin"), m.kept),
        ),
        f"{SCAIL}; {KALEIDO}; {PNP}",
    ),
    Claim(
        "rope/einsum", _FAST,
        "Outer products by einsum, and broadcasting, make the tables.",
        "Both give what diffusers computes with torch.outer and expand.",
        (
            Part("einsum and broadcasting make CogVideoX's table", True, True, m.table_by_einsum),
        ),
        f"{SAT}:248-407",
    ),
    Claim(
        "rope/relative", _ATTENTION,
        "The product of a turned query with a turned key depends on the difference of their positions alone.",
        "In float64 to rounding, as long as one convention is used for both.",
        (
            Part("q·k at four places with the same offset differs by less than 1e-11", True, True,
                 lambda: m.score_spread("scail") < 1e-11),
            Part("the same in CogVideoX's original rope", True, True, lambda: m.score_spread("sat-pnp") < 1e-11),
        ),
    ),
    Claim(
        "rope/queries-and-keys", f"{_ATTENTION}; {_END}",
        "Queries and keys are turned before their product; attention itself stays as it is.",
        "CogVideoX's attention turns these two and nothing else, and of them only the video's tokens. The original "
        "code has an option that turns values as well.",
        (
            Part("what CogVideoX's attention hands to the rotation", ("q", "k"), ("q", "k"), m.what_is_turned),
            Part("more parameters with rotary positions than without", 0, 0,
                 lambda: m.parameters(rotary=True) - m.parameters(rotary=False)),
        ),
        f"diffusers models/attention_processor.py:2321-2327; {SAT}, rot_v",
    ),
    Claim(
        "rope/coupled", _UNIFIED,
        "How a token is turned is decided by frame, row and column together, which couples space and time.",
        "A head as a whole is turned by all three, but each of its pairs by one alone: the parts stand side by side. "
        "What is coupled is left to the weights.",
        (
            Part("pairs of a head of 128 that a coordinate turns", 64, 64, lambda: m.mixed_pairs()[0]),
            Part("some of them are turned by more than one coordinate", True, False, lambda: m.mixed_pairs()[1] > 0),
        ),
    ),
    Claim(
        "rope/interpolation-arguments", _LONG,
        "The arguments time_interpolation and height_interpolation scale the position indices.",
        "The class takes them and does not read them, in CogVideoX's original code and in both descendants. diffusers' "
        "function does not even take them. They work where CogVideoX-2b's sine table is made.",
        (
            Part("diffusers' rotary positions of CogVideoX take an interpolation", True, False,
                 m.interpolation_arguments),
        ),
        f"{SAT}:83-92 and 248-407; {SCAIL}; {KALEIDO}",
    ),
    Claim(
        "rope/ntk", _LONG,
        "Such scaling is extrapolation of the NTK-aware kind.",
        "Scaling of indices is linear interpolation: it slows all frequencies alike. NTK-aware scaling raises theta, "
        "and so leaves the fastest pair as it is. None of these models does that.",
        (
            Part("the fastest frequency is left as it is by CogVideoX-2b's interpolation of 1.875", True, False,
                 lambda: abs(m.slowed(0) - 1) < 0.01),
            Part("factor by which its fastest and its slowest frequency are slowed", UNSAID, (1.875, 1.875),
                 lambda: (m.slowed(0), m.slowed(11)), 1e-3),
        ),
        f"{EMBEDDINGS}:119-130; {SAT}:83-92",
    ),
    Claim(
        "rope/interpolation-maps-back", f"{_LONG}; {_END}",
        "Scaling position indices brings longer videos and larger pictures back into the trained range.",
        "True of the method, wherever it is used. That a model works on what it is then given does not follow.",
        (
            Part("divided positions of a grid of 66×68×120 stay within angles of 33×45×80, HunyuanVideo", True, True,
                 m.brought_back),
        ),
    ),
    Claim(
        "rope/1080p-to-4k", _LONG,
        "A model trained on 1080p videos can be given 4K videos, and keeps its sense of place by interpolation.",
        "We know of no such model or test. CogVideoX was trained for 480×720 and 768×1360.",
        unchecked="An example without a model, a setting or a result.",
    ),
    Claim(
        "rope/interleaved-layout", _MODAL,
        "interleaved_rope chooses whether frequencies are arranged alternating or in blocks.",
        "It chooses which two numbers of a head make a pair: neighbours, or numbers half a head apart.",
        (
            Part("columns of the first two pairs with it", (0, 1, 2, 3), (0, 1, 2, 3), lambda: m.pairs_of("scail")),
            Part("columns of the first two pairs without", (0, 64, 1, 65), (0, 64, 1, 65),
                 lambda: m.pairs_of("scail-half")),
        ),
        f"{SCAIL}; {KALEIDO}",
    ),
    Claim(
        "rope/interleaved-modalities", _MODAL,
        "That choice adapts the code to the features of different modalities.",
        "It has to match the weights and says nothing of the data. With the columns of queries and keys reordered "
        "either layout gives the other's scores.",
        (
            Part("the layouts differ in more than the order of a head's numbers", True, False,
                 lambda: not m.same_scores_reordered()),
        ),
    ),
    Claim(
        "rope/motion", f"{_UNIFIED}; {_VALUE}",
        "Turning by frames captures the paths of things and makes consistent motion easier to learn.",
        "Plausible; the article names no comparison.",
        unchecked="It takes training with and without it.",
    ),
    Claim(
        "rope/pixels", _VALUE,
        "The spatial angles are tied to pixel coordinates.",
        "To the places of tokens. In HunyuanVideo a token is a patch of 2×2 latents of 8×8 pixels; in CogVideoX 1.0 "
        "places are spread over a fixed grid, so that they are tied to shares of the picture.",
        (
            Part("pixels from one position to the next, HunyuanVideo", 1.0, 16.0, m.pixels_per_position),
        ),
        "diffusers models/transformers/transformer_hunyuan_video.py:489",
    ),
    Claim(
        "rope/any-resolution", _VALUE,
        "Positions can be made for other resolutions, such as 1080p after 720p.",
        "Tables can be made for any grid within the table's end, and the smaller grid's are part of the larger's. "
        "Rows of 1080 are no multiple of 16, so that pipelines ask for 1088; how good the pictures are is another "
        "question.",
        (
            Part("Wan's tables of 45×80 tokens are those of 68×120 cut off", True, True, m.tables_nest),
        ),
    ),
    Claim(
        "rope/no-parameters", _VALUE,
        "Beside learned positions, rotary positions need no parameters.",
        "Of themselves they need none. But one does not exclude the other: CogVideoX-5b-I2V has rotary positions and a "
        "learned table as well.",
        (
            Part("more parameters with rotary positions than without, small CogVideoX", 0, 0,
                 lambda: m.parameters(rotary=True) - m.parameters(rotary=False)),
            Part("numbers in the position table of CogVideoX-5b-I2V, a model with rotary positions", 0, 54_607_872,
                 m.learned_table),
        ),
        "diffusers models/embeddings.py:492-493; SAT configs/cogvideox_5b_i2v.yaml, learnable_pos_embed",
    ),
    Claim(
        "rope/15-percent", _VALUE,
        "Inference is about 15 % faster than with learned positions.",
        "No source is given. Learned positions are one addition in front of the first block, rotary ones a rotation of "
        "queries and keys in every block, so it is hard to see how the latter could save time.",
        unchecked="A number without a model, a machine or a measurement.",
    ),
    Claim(
        "rope/isometry", _END,
        "The rotation keeps the length of a vector.",
        "In float64 to rounding, with either layout, as long as tables and rotation are of the same one.",
        (
            Part("lengths change by less than 1e-14, neighbours", True, True,
                 lambda: m.norm_error("interleaved", "interleaved") < 1e-14),
            Part("lengths change by less than 1e-14, halves", True, True,
                 lambda: m.norm_error("half", "half") < 1e-14),
        ),
    ),
    Claim(
        "rope/sora", _END,
        "This design is a core part of Sora and VideoPoet.",
        "Nothing public shows it. Models that can be read, HunyuanVideo, Wan and CogVideoX among them, "
        "have it in three forms.",
        unchecked="Neither model's code is public.",
    ),
)  # fmt: skip
